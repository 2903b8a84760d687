"""Atoms that message passing cannot tell apart, so that each kind of them is computed once.

Shapes: A atoms, C columns, U distinct rows, S neighbour slots.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["distinct_rows", "indistinguishable", "surroundings"]

_MULTIPLIERS = np.random.default_rng(2511_03981).integers(1, 2**62, 256, np.int64) * 2 + 1
_ROUNDS = 8  # tells all atoms apart in most batches of drug-like molecules


def distinct_rows(rows_AC: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find equal rows, exactly.

    Rows are sorted by a 64-bit sum that wraps, which is several times faster than sorting the rows
    themselves. The result is compared with the rows: should two different ones share their sum,
    they are sorted as they are.

    Args:
        rows_AC: at most 256 columns.

    Returns:
        Where each distinct row stands first, ``(U,)``, and which of them each row equals, ``(A,)``.

    Example:
        >>> first, which = distinct_rows(np.array([[1, 2], [3, 4], [1, 2]]))
        >>> bool(which[0] == which[2]), len(first)
        (True, 2)
    """
    sums_A = rows_AC @ _MULTIPLIERS[: rows_AC.shape[1]]
    _, first_U, which_A = np.unique(sums_A, return_index=True, return_inverse=True)
    if not np.array_equal(rows_AC[first_U[which_A]], rows_AC):
        _, first_U, which_A = np.unique(rows_AC, axis=0, return_index=True, return_inverse=True)
    return first_U, which_A.reshape(-1)


def indistinguishable(
    colour_A: NDArray[np.int64], neighbour_AS: NDArray[np.int64], code_AS: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split atoms by colour, then by their neighbours, until nothing more splits.

    This is colour refinement (Weisfeiler and Leman, 1968). Atoms that end in one class have equal
    colours and equal neighbours, class by class and bond by bond. So they hold equal embeddings in
    every layer of a network that sums messages, and one row can stand for all of them.

    Args:
        colour_A: what tells atoms apart to begin with, from 0.
        neighbour_AS: index of the atom in each slot, ``A`` where the slot is empty.
        code_AS: bond code of each slot, the same number in every empty slot.

    Returns:
        One atom of each class, ``(U,)``, and the class of each atom, ``(A,)``.
    """
    sums_A = _mixed_sums(colour_A, neighbour_AS, code_AS)
    first_U, which_A = distinct_rows(np.stack([colour_A, sums_A], axis=1))
    while True:
        around_AS = surroundings(which_A, neighbour_AS, code_AS)
        found = len(first_U)
        first_U, which_A = distinct_rows(np.column_stack([which_A, around_AS]))
        if len(first_U) == found:
            return first_U, which_A


def surroundings(
    colour_A: NDArray[np.int64], neighbour_AS: NDArray[np.int64], code_AS: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Colours and bonds around each atom as sorted numbers, ``(A, S)``."""
    seen_AS = np.append(colour_A, -1)[neighbour_AS] * 64 + code_AS
    seen_AS.sort(axis=1)
    return seen_AS


def _mixed_sums(
    colour_A: NDArray[np.int64], neighbour_AS: NDArray[np.int64], code_AS: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Numbers that mostly tell atoms apart as refinement would, without a sort a round.

    Equal surroundings give equal numbers. Should different ones do so too, the exact rounds that
    follow split them.
    """
    factor_AS = _MULTIPLIERS[code_AS]
    sums_A = colour_A
    for multiplier in _MULTIPLIERS[-_ROUNDS:]:
        sums_A = sums_A * multiplier
        sums_A ^= sums_A >> 29
        sums_A = sums_A + (np.append(sums_A, 0)[neighbour_AS] * factor_AS).sum(axis=1)
    return sums_A
