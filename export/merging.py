"""Atoms that message passing cannot tell apart, so that each kind of them is computed once.

Shapes: A atoms, C columns, U distinct ones, S neighbour slots. Tables hold a column for each atom,
because sums down short columns are several times faster than along short rows.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Classes",
    "distinct",
    "distinct_columns",
    "indistinguishable",
    "surroundings",
    "with_nobody",
]

Classes = tuple[NDArray[np.int64], NDArray[np.int64]]
"""A partition: one member of each class, ``(U,)``, and the class of each member, ``(A,)``."""

_MULTIPLIERS = np.random.default_rng(2511_03981).integers(1, 2**62, 256, np.int64) * 2 + 1
_ROUNDS = 7  # tells all atoms apart in most batches of drug-like molecules
_BOND_BITS = 6
_NOBODY = np.zeros(1, np.int64)


def with_nobody(values_A: NDArray[np.int64]) -> NDArray[np.int64]:
    """One more value, 0, for the atom that an empty slot names, ``(A + 1,)``."""
    return np.concatenate((values_A, _NOBODY))


def distinct(keys_A: NDArray[np.int64]) -> Classes:
    """Find equal numbers; classes stand in the order of their numbers.

    Example:
        >>> first, which = distinct(np.array([7, 3, 7]))
        >>> which.tolist(), np.array([7, 3, 7])[first].tolist()
        ([1, 0, 1], [3, 7])
    """
    order_A = keys_A.argsort()
    ranked_A = keys_A[order_A]
    is_new_A = np.empty(len(keys_A), np.bool_)
    is_new_A[:1] = True
    np.not_equal(ranked_A[1:], ranked_A[:-1], out=is_new_A[1:])
    which_A = np.empty(len(keys_A), np.int64)
    which_A[order_A] = is_new_A.cumsum() - 1
    return order_A[is_new_A], which_A


def distinct_columns(table_CA: NDArray[np.int64]) -> Classes:
    """Find equal columns, exactly.

    Columns are told apart by a 64-bit sum that wraps, and the result is compared with the columns.
    Should two different ones share their sum, they are sorted as they are.

    Args:
        table_CA: at most 256 rows.
    """
    first_U, which_A = distinct(_MULTIPLIERS[: len(table_CA)] @ table_CA)
    if len(first_U) == len(which_A):
        return first_U, which_A
    if not (table_CA[:, first_U[which_A]] == table_CA).all():
        _, first_U, which_A = np.unique(table_CA, axis=1, return_index=True, return_inverse=True)
    return first_U, which_A.reshape(-1)


def indistinguishable(
    colour_A: NDArray[np.int64], neighbour_SA: NDArray[np.int64], code_SA: NDArray[np.int64]
) -> Classes:
    """Split atoms by colour, then by their neighbours, until nothing more splits.

    This is colour refinement (Weisfeiler and Leman, 1968). Atoms that end in one class have equal
    colours and equal neighbours, class by class and bond by bond. So they hold equal embeddings in
    every layer of a network that sums messages, and one row can stand for all of them.

    Args:
        colour_A: what tells atoms apart to begin with, from 0.
        neighbour_SA: index of the atom in each slot, ``A`` where the slot is empty.
        code_SA: bond code of each slot, the same number in every empty slot; below 64.
    """
    sums_A = _mixed_sums(colour_A, neighbour_SA, code_SA)
    first_U, which_A = distinct_columns(np.stack([colour_A, sums_A]))
    found = 0
    while found < len(first_U) < len(which_A):
        found = len(first_U)
        around_SA = surroundings(which_A, neighbour_SA, code_SA)
        first_U, which_A = distinct_columns(np.concatenate([which_A[None], around_SA]))
    return _in_place((first_U, which_A))


def surroundings(
    colour_A: NDArray[np.int64], neighbour_SA: NDArray[np.int64], code_SA: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Colours and bonds around each atom as sorted numbers, ``(S, A)``."""
    seen_SA = (with_nobody(colour_A) << _BOND_BITS).take(neighbour_SA) + code_SA
    seen_SA.sort(axis=0)
    return seen_SA


def _in_place(classes: Classes) -> Classes:
    """The same classes, in the order of the atoms that stand for them.

    Rows of atoms that are neighbours then lie close in memory, worth a few percent of a run.
    """
    first_U, which_A = classes
    order_U = np.argsort(first_U)
    place_U = np.empty_like(order_U)
    place_U[order_U] = np.arange(len(order_U))
    return first_U[order_U], place_U[which_A]


def _mixed_sums(
    colour_A: NDArray[np.int64], neighbour_SA: NDArray[np.int64], code_SA: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Numbers that mostly tell atoms apart as refinement would, without a sort a round.

    Equal surroundings give equal numbers. Should different ones do so too, the exact rounds that
    follow split them.
    """
    factor_SA = _MULTIPLIERS[code_SA]
    sums_A = with_nobody(colour_A)
    atoms_A = sums_A[:-1]
    for multiplier in _MULTIPLIERS[-_ROUNDS:]:
        sums_A *= multiplier
        sums_A ^= sums_A >> 29
        atoms_A += np.add.reduce(sums_A.take(neighbour_SA) * factor_SA)
    return atoms_A
