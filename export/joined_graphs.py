"""Several molecules as one graph: what both layouts of an exported network start from. No torch.

Shapes: A atoms of the batch, B bonds, S slots, G graphs.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.vocabulary import BOND_CODES, bond_code

__all__ = ["MAX_SLOTS", "SILENT", "JoinedGraphs", "join_graphs"]

MAX_SLOTS: Final = 64
"""Most bonds of one atom; more is an error, never a truncation."""

SILENT: Final = BOND_CODES
"""Bond code of the message that is always zero."""


class JoinedGraphs(NamedTuple):
    """Several molecules as one graph."""

    atoms: NDArray[np.int64]
    """(A, 9)."""

    graph: NDArray[np.int64]
    """(A,) graph of each atom."""

    degree: NDArray[np.int64]
    """(A,) bonds of each atom."""

    neighbour: NDArray[np.int64]
    """(S, A) atom at the other end, ``A`` in an empty slot."""

    code: NDArray[np.int64]
    """(S, A) bond code, ``SILENT`` in an empty slot."""


def join_graphs(molecules: Sequence[MoleculeArrays]) -> JoinedGraphs:
    """Put molecules into one graph.

    Raises:
        DataError: if an atom has more than ``MAX_SLOTS`` bonds, or there are no molecules.
    """
    if not molecules:
        raise DataError("a batch of no molecules cannot be arranged; give at least one")
    sizes_G = np.array([len(each.atoms) for each in molecules])
    bonds_G = np.array([len(each.bonds) for each in molecules])
    atoms = np.concatenate([each.atoms for each in molecules]).astype(np.int64)
    first_atom_B = (np.cumsum(sizes_G) - sizes_G).repeat(bonds_G)
    ends_B2 = np.concatenate([each.bonds for each in molecules]) + first_atom_B[:, None]
    code_B = bond_code(np.concatenate([each.bond_features for each in molecules]))
    graph = np.arange(len(molecules)).repeat(sizes_G)
    return JoinedGraphs(atoms, graph, *_slots(ends_B2, code_B, len(atoms)))


def _slots(
    ends_B2: NDArray[np.int64], code_B: NDArray[np.uint8], atom_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Degree, neighbours and bond codes of every atom; as many slots as the largest degree."""
    target_E = ends_B2.reshape(-1)
    degree_A = np.bincount(target_E, minlength=atom_count)
    slots = max(1, int(degree_A.max()))
    if slots > MAX_SLOTS:
        raise DataError(
            f"an atom of the batch has {slots} bonds; the exported network takes {MAX_SLOTS}"
        )
    order_E = target_E.argsort()
    atom_E = target_E[order_E]
    slot_E = np.arange(len(atom_E)) - (np.cumsum(degree_A) - degree_A)[atom_E]
    neighbour = np.full((slots, atom_count), atom_count)
    code = np.full((slots, atom_count), SILENT)
    neighbour[slot_E, atom_E] = ends_B2[:, ::-1].reshape(-1)[order_E]
    code[slot_E, atom_E] = code_B[order_E // 2]
    return degree_A, neighbour, code
