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
    """Split molecules into batches of like size.

    Args:
        sizes_G: atoms of each molecule.
        most_atoms: atoms of a batch; a larger molecule is a batch of its own.
        shares: how many batches there should be at least, where there is enough for all.

    Returns:
        Positions of the molecules of each batch, the largest molecules first.

    Example:
        >>> [batch.tolist() for batch in batches_by_size([3, 9, 4, 2], 9)]
        [[1], [2, 0, 3]]
    """
    sizes = np.asarray(sizes_G, np.int64)
    share = -(-int(sizes.sum()) // shares)
    limit = min(most_atoms, max(share, _FEWEST_ATOMS))
    order_G = np.argsort(-sizes, kind="stable")
    batches: list[list[int]] = []
    atoms = limit
    for row, size in zip(order_G.tolist(), sizes[order_G].tolist(), strict=True):
        atoms += size
        if atoms > limit:
            batches.append([])
            atoms = size
        batches[-1].append(row)
    return [np.array(batch, np.int64) for batch in batches]
