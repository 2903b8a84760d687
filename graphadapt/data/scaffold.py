"""Split molecules by their Murcko scaffold, as OGB does: rare scaffolds test, common ones train.

Shapes: G molecules.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from graphadapt.data.split import DEFAULT_FRACTIONS, TEST, TRAIN, VALID, check_fractions

__all__ = ["murcko_scaffold", "scaffold_split"]


def murcko_scaffold(mol: Mol) -> str | None:
    """Canonical SMILES of the ring systems and what joins them, with chirality.

    Molecules without a ring share the empty scaffold. None where RDKit cannot cut the molecule,
    which happens for a few that it parses.
    """
    # It brings in modules of RDKit that slow every other call to RDKit by a tenth.
    from rdkit.Chem.Scaffolds import MurckoScaffold

    try:
        scaffold: str = MurckoScaffold.MurckoScaffoldSmiles(  # type: ignore[no-untyped-call]
            mol=mol, includeChirality=True
        )
    except (ValueError, RuntimeError):
        return None
    return scaffold


def scaffold_split(
    scaffold_G: NDArray[np.int64], fractions: Sequence[float] = DEFAULT_FRACTIONS
) -> NDArray[np.uint8]:
    """Code of every molecule, no scaffold in two parts, ``(G,)``.

    Scaffolds go in order of size, larger first (of equal ones the later first): into training
    while it has room, else into validation while both together have room, else into the test part.
    The order of molecules matters, their number of threads or a seed do not.

    Args:
        scaffold_G: number of each molecule's scaffold; one with -1 is a scaffold of its own.
        fractions: shares of train, valid and test.
    """
    check_fractions(fractions)
    own_G = np.arange(len(scaffold_G)) + scaffold_G.max(initial=0) + 1
    _, first, group_G, sizes = np.unique(
        np.where(scaffold_G < 0, own_G, scaffold_G),
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    order = np.lexsort((first, sizes))[::-1]
    codes = np.empty(len(sizes), np.uint8)
    codes[order] = _filled(sizes[order].tolist(), len(scaffold_G), fractions)
    return codes[group_G]


def _filled(sizes: Sequence[int], total: int, fractions: Sequence[float]) -> list[int]:
    """The part that each of some groups goes into."""
    room = fractions[0] * total
    room_of_both = (fractions[0] + fractions[1]) * total
    parts = []
    in_train = in_valid = 0
    for size in sizes:
        if in_train + size <= room:
            parts.append(TRAIN)
            in_train += size
        elif in_train + in_valid + size <= room_of_both:
            parts.append(VALID)
            in_valid += size
        else:
            parts.append(TEST)
    return parts
