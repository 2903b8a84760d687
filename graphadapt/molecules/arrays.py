"""Featurised molecules as arrays, apart from how they are made: reading them needs no RDKit.

Axes: N atoms, B bonds, G molecules.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MoleculeArrays", "MoleculeBatch"]


class MoleculeArrays(NamedTuple):
    """One molecule as three columns.

    OGB's directed edges follow as ``(i, j), (j, i)`` for each bond ``(i, j)`` in turn.
    """

    atoms: NDArray[np.uint8]
    """Feature indices of each atom, ``(N, 9)``, columns as in ``ATOM_FEATURES``."""

    bonds: NDArray[np.int16]
    """Begin and end atom of each bond in RDKit's order, ``(B, 2)``, in ``[0, N)``."""

    bond_features: NDArray[np.uint8]
    """Feature indices of each bond, ``(B, 3)``, columns as in ``BOND_FEATURES``."""


class MoleculeBatch(NamedTuple):
    """Several molecules behind each other: the columns of :class:`MoleculeArrays` and counts."""

    atoms: NDArray[np.uint8]
    """``(ΣN, 9)``."""

    bonds: NDArray[np.int16]
    """``(ΣB, 2)``, counted within each molecule."""

    bond_features: NDArray[np.uint8]
    """``(ΣB, 3)``."""

    atom_counts: NDArray[np.int64]
    """N of each molecule, ``(G,)``."""

    bond_counts: NDArray[np.int64]
    """B of each molecule, ``(G,)``."""
