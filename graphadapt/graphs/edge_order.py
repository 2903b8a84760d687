"""The directed edges of every molecule, sorted by their target.

Shapes: M molecules, B bonds of all of them, E = 2B directed edges.
"""

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.ragged import GraphColumns

__all__ = ["edges_by_target"]

_CHUNK = 1 << 16


def edges_by_target(columns: GraphColumns) -> NDArray[np.integer]:
    """Each molecule's edges in the order of their targets, ``(B, 2)``, two to a row.

    A bond (i, j) that is the molecule's k-th is its edges 2k, i -> j, and 2k + 1, j -> i. Edges
    with the same target stand bond by bond. Sorting all molecules once, here, saves a sort of every
    batch: molecules follow one another in a batch, and so do their sorted edges. Beside the result
    memory is bounded, as molecules are sorted in chunks.

    Example:
        A chain of three atoms, whose edges into atom 1 are the first and the last.

        >>> from graphadapt.molecules.featurise import featurise_smiles
        >>> columns = GraphColumns.from_molecules([featurise_smiles("CCO")])
        >>> columns.bonds.tolist(), edges_by_target(columns).tolist()
        ([[0, 1], [1, 2]], [[1, 0], [3, 2]])
    """
    largest = 2 * int(np.diff(columns.bond_offsets).max(initial=0))
    order = np.empty(columns.bonds.shape, np.int16 if largest < 2**15 else np.int32)
    for first in range(0, columns.molecules, _CHUNK):
        end = min(first + _CHUNK, columns.molecules)
        bonds = slice(columns.bond_offsets[first], columns.bond_offsets[end])
        order[bonds] = _sorted_edges(
            columns.bonds[bonds],
            np.diff(columns.bond_offsets[first : end + 1]),
            columns.atom_offsets[first:end],
        )
    return order


def _sorted_edges(
    bonds_B2: NDArray[np.integer], bonds_M: NDArray[np.int64], first_atom_M: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Order within each of the M molecules that the bonds belong to."""
    target_B2 = bonds_B2[:, ::-1] + np.repeat(first_atom_M, bonds_M)[:, None]
    order_E = np.argsort(target_B2.ravel(), kind="stable")
    first_edge_M = 2 * (np.cumsum(bonds_M) - bonds_M)
    return order_E.reshape(-1, 2) - np.repeat(first_edge_M, bonds_M)[:, None]
