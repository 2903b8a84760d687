"""Which molecules are answered in one run of the network.

Shapes: G molecules.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["batches_by_size"]

_FEWEST_ATOMS = 128
"""Atoms that are worth a run of their own."""


def batches_by_size(
    sizes_G: Sequence[int], most_atoms: int, shares: int = 1
) -> list[NDArray[np.int64]]:
    """Split molecules into batches of like size and about equally many atoms.

    Args:
        sizes_G: atoms of each molecule.
        most_atoms: atoms of a batch, about.
        shares: the number of batches is a multiple of this, where there are atoms enough.

    Returns:
        Positions of the molecules of each batch, the largest molecules first.

    Example:
        >>> [batch.tolist() for batch in batches_by_size([30, 90, 40, 20], 90)]
        [[1], [2, 0, 3]]
    """
    if not len(sizes_G):
        return []
    order_G = np.argsort(-np.asarray(sizes_G, np.int64), kind="stable")
    end_G = np.cumsum(np.asarray(sizes_G, np.int64)[order_G])
    count = _batch_count(int(end_G[-1]), most_atoms, shares)
    # A molecule belongs to the batch that its middle atom falls into.
    middle_G = end_G - np.asarray(sizes_G)[order_G] / 2
    batch_G = (middle_G * count / end_G[-1]).astype(np.int64)
    borders = np.flatnonzero(np.diff(batch_G)) + 1
    return np.split(order_G, borders)


def _batch_count(atoms: int, most_atoms: int, shares: int) -> int:
    needed = -(-atoms // most_atoms)
    shared = -(-needed // shares) * shares
    return shared if atoms >= shared * _FEWEST_ATOMS else max(needed, atoms // _FEWEST_ATOMS, 1)
