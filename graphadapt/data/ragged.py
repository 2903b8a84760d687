"""Arrays of rows with an unequal number of items each, kept as one column and offsets.

Shapes: G graphs, N atoms, B bonds; offsets ``(G + 1,)`` begin at 0 and end at the column's length.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.molecules.arrays import MoleculeArrays

__all__ = ["GraphColumns", "offsets_of", "ragged_positions"]


def offsets_of(counts_G: NDArray[np.integer]) -> NDArray[np.int64]:
    """First item of every row, and the end, ``(G + 1,)``.

    Example:
        >>> offsets_of(np.array([2, 0, 3])).tolist()
        [0, 2, 2, 5]
    """
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts_G, dtype=np.int64)])


def ragged_positions(
    offsets: NDArray[np.int64], rows: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the items of ``rows`` lie in the column, and the offsets of the result.

    A row may be asked for more than once and in any order.

    Example:
        >>> positions, taken = ragged_positions(np.array([0, 2, 2, 5]), np.array([2, 0]))
        >>> positions.tolist(), taken.tolist()
        ([2, 3, 4, 0, 1], [0, 3, 5])
    """
    starts = np.asarray(offsets)[rows]
    counts = np.asarray(offsets)[np.asarray(rows) + 1] - starts
    taken = offsets_of(counts)
    positions = np.arange(taken[-1], dtype=np.int64) + np.repeat(starts - taken[:-1], counts)
    return positions, taken


class GraphColumns(NamedTuple):
    """Many molecules as columns; :class:`MoleculeArrays` is the same for one."""

    atoms: NDArray[np.uint8]
    """``(ΣN, 9)``."""

    bonds: NDArray[np.int16]
    """``(ΣB, 2)`` ends counted within the molecule, each bond once."""

    bond_features: NDArray[np.uint8]
    """``(ΣB, 3)``."""

    atom_offsets: NDArray[np.int64]
    """``(G + 1,)``."""

    bond_offsets: NDArray[np.int64]
    """``(G + 1,)``."""

    @classmethod
    def from_molecules(cls, molecules: Sequence[MoleculeArrays]) -> "GraphColumns":
        """Join molecules, in their order."""
        atoms = [np.zeros((0, 9), np.uint8), *(each.atoms for each in molecules)]
        bonds = [np.zeros((0, 2), np.int16), *(each.bonds for each in molecules)]
        features = [np.zeros((0, 3), np.uint8), *(each.bond_features for each in molecules)]
        return cls(
            np.concatenate(atoms),
            np.concatenate(bonds),
            np.concatenate(features),
            np.cumsum([len(block) for block in atoms], dtype=np.int64),
            np.cumsum([len(block) for block in bonds], dtype=np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence["GraphColumns"]) -> "GraphColumns":
        """Join the molecules of several, part after part."""
        whole = cls.from_molecules(
            [MoleculeArrays(part.atoms, part.bonds, part.bond_features) for part in parts]
        )
        return whole._replace(
            atom_offsets=_joined_offsets([part.atom_offsets for part in parts], whole.atom_offsets),
            bond_offsets=_joined_offsets([part.bond_offsets for part in parts], whole.bond_offsets),
        )

    @property
    def molecules(self) -> int:
        """G."""
        return len(self.atom_offsets) - 1

    def take(self, rows: NDArray[np.integer]) -> "GraphColumns":
        """The molecules at ``rows``, in that order."""
        atom_positions, atom_offsets = ragged_positions(self.atom_offsets, rows)
        bond_positions, bond_offsets = ragged_positions(self.bond_offsets, rows)
        return GraphColumns(
            self.atoms[atom_positions],
            self.bonds[bond_positions],
            self.bond_features[bond_positions],
            atom_offsets,
            bond_offsets,
        )

    def molecule(self, row: int) -> MoleculeArrays:
        """One molecule, as views of the columns."""
        atoms = slice(self.atom_offsets[row], self.atom_offsets[row + 1])
        bonds = slice(self.bond_offsets[row], self.bond_offsets[row + 1])
        return MoleculeArrays(self.atoms[atoms], self.bonds[bonds], self.bond_features[bonds])


def _joined_offsets(
    parts: Sequence[NDArray[np.int64]], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Offsets of rows whose columns stand one after the other, from ``starts`` on."""
    shifted = [part[1:] + start for part, start in zip(parts, starts[:-1], strict=True)]
    return np.concatenate([np.zeros(1, np.int64), *shifted])
