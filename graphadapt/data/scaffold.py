"""Split molecules by their Murcko scaffold, as OGB does: rare scaffolds test, common ones train.

Shapes: G molecules.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol
from rdkit.Chem.Scaffolds import MurckoScaffold

from graphadapt.data.split import DEFAULT_FRACTIONS, TEST, TRAIN, VALID, check_fractions

__all__ = ["murcko_scaffold", "scaffold_split"]


def murcko_scaffold(mol: Mol) -> str | None:
    """Canonical SMILES of the ring systems and what joins them, with chirality.

    Molecules without a ring share the empty scaffold. None where RDKit cannot cut the molecule,
    which happens for a few that it parses.
    """
    try:
        scaffold: str = MurckoScaffold.MurckoScaffoldSmiles(  # type: ignore[no-untyped-call]
            mol=mol, includeChirality=True
        )
    except (ValueError, RuntimeError):
        return None
    return scaffold


def scaffold_split(
    scaffolds: Sequence[str | None], fractions: Sequence[float] = DEFAULT_FRACTIONS
) -> NDArray[np.uint8]:
    """Code of every molecule, no scaffold in two parts, ``(G,)``.

    Scaffolds go in order of size, larger first (of equal ones the later first): into training
    while it has room, else into validation while both together have room, else into the test part.
    The order of molecules matters, their number of threads or a seed do not.

    Args:
        scaffolds: scaffold of each molecule; a molecule with None is a scaffold of its own.
        fractions: shares of train, valid and test.
    """
    check_fractions(fractions)
    members: dict[str | int, list[int]] = {}
    for row, scaffold in enumerate(scaffolds):
        members.setdefault(row if scaffold is None else scaffold, []).append(row)
    room = fractions[0] * len(scaffolds)
    room_of_both = (fractions[0] + fractions[1]) * len(scaffolds)
    codes_G = np.full(len(scaffolds), TEST, np.uint8)
    in_train = in_valid = 0
    for rows in sorted(members.values(), key=lambda rows: (len(rows), rows[0]), reverse=True):
        if in_train + len(rows) <= room:
            codes_G[rows] = TRAIN
            in_train += len(rows)
        elif in_train + in_valid + len(rows) <= room_of_both:
            codes_G[rows] = VALID
            in_valid += len(rows)
    return codes_G
