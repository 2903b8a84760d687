"""Which molecule each SMILES is: its canonical form, and its scaffold where a split asks for it.

Runs over processes in chunks; results come back in order, and a molecule that cannot be parsed
comes back as the error that says so.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

from rdkit import Chem
from rdkit.rdBase import BlockLogs

from graphadapt.data.scaffold import murcko_scaffold
from graphadapt.errors import DataError
from graphadapt.molecules.featurise import parse_smiles
from graphadapt.molecules.process_map import available_cores, process_map
from graphadapt.progress import track

__all__ = ["Identity", "identify", "identify_many"]

_CHUNK: Final = 512
_FEWEST_FOR_PROCESSES: Final = 10_000
"""Starting processes takes about as long as naming this many molecules."""


class Identity(NamedTuple):
    """Two texts that tell molecules apart."""

    canonical: str
    """RDKit's canonical isomeric SMILES."""

    scaffold: str | None
    """Murcko scaffold; None if it was not asked for or RDKit cannot cut this molecule."""


def identify(smiles: str, *, scaffold: bool = False) -> Identity | DataError:
    """Parse one molecule and name it; the error is returned, not raised.

    Example:
        >>> identify("OC(C)c1ccccc1", scaffold=True)
        Identity(canonical='CC(O)c1ccccc1', scaffold='c1ccccc1')
    """
    try:
        mol = parse_smiles(smiles)
        return Identity(Chem.MolToSmiles(mol), murcko_scaffold(mol) if scaffold else None)
    except DataError as error:
        return DataError(str(error))
    except RuntimeError as error:  # what RDKit's failed invariants become
        return DataError(f"RDKit fails on {smiles!r}: {' '.join(str(error).split())}")


def identify_many(
    smiles: Sequence[str],
    *,
    scaffold: bool = False,
    processes: int | None = None,
    shown: bool = True,
) -> Iterator[Identity | DataError]:
    """Name molecules, in order.

    Args:
        smiles: molecules.
        scaffold: whether their scaffolds are asked for too.
        processes: how many share the work; by default all cores for more than 10,000 molecules,
            else this one alone.
        shown: whether progress goes to standard error.
    """
    if processes is None:
        processes = available_cores() if len(smiles) > _FEWEST_FOR_PROCESSES else 1
    chunks = (smiles[start : start + _CHUNK] for start in range(0, len(smiles), _CHUNK))
    named = process_map(partial(_identify_chunk, scaffold=scaffold), chunks, processes)
    return track(chain.from_iterable(named), len(smiles), "reading molecules", shown=shown)


def _identify_chunk(smiles: Sequence[str], *, scaffold: bool) -> list[Identity | DataError]:
    with BlockLogs():
        return [identify(text, scaffold=scaffold) for text in smiles]
