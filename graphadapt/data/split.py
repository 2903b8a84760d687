"""Which label cells train, validate and test.

Shapes: G graphs, T tasks. A split is a uint8 code for each label cell (molecule × task), because
official splits may differ from task to task.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError

__all__ = [
    "DEFAULT_FRACTIONS",
    "SPLIT_CODES",
    "TEST",
    "TRAIN",
    "UNUSED",
    "VALID",
    "carve_validation",
    "check_fractions",
    "column_split",
    "molecule_split_to_cells",
    "random_split",
]

TRAIN: Final = 0
VALID: Final = 1
TEST: Final = 2
UNUSED: Final = 255
"""The cell has no label, or takes no part."""

SPLIT_CODES: Final = {"train": TRAIN, "valid": VALID, "test": TEST}
"""Name of every code that takes part, in the order of reports."""

DEFAULT_FRACTIONS: Final = (0.8, 0.1, 0.1)
"""Shares of train, valid and test, as OGB's scaffold split has them."""

_WORDS = {
    **SPLIT_CODES,
    "training": TRAIN,
    "val": VALID,
    "validation": VALID,
    "dev": VALID,
    "": UNUSED,
    "unused": UNUSED,
}


def check_fractions(fractions: Sequence[float]) -> None:
    """Refuse shares that are not three numbers of [0, 1] that add up to 1, train above 0."""
    shares = list(fractions)
    if (
        len(shares) != 3
        or min(shares) < 0
        or shares[0] == 0
        or not math.isclose(sum(shares), 1, abs_tol=1e-6)
    ):
        raise DataError(
            f"fractions {shares} cannot split molecules; "
            "give train, valid and test shares that add up to 1, such as 0.8, 0.1, 0.1"
        )


def random_split(
    count: int, fractions: Sequence[float] = DEFAULT_FRACTIONS, seed: int = 0
) -> NDArray[np.uint8]:
    """Code of every molecule under a seeded random split, ``(G,)``.

    Training takes ``floor(fraction * G)`` molecules but at least one, validation the next share,
    test the rest.
    """
    check_fractions(fractions)
    order = np.random.default_rng(seed).permutation(count)
    first = max(1, int(fractions[0] * count + 1e-9))
    second = max(first, int((fractions[0] + fractions[1]) * count + 1e-9))
    codes_G = np.full(count, TEST, np.uint8)
    codes_G[order[:first]] = TRAIN
    codes_G[order[first:second]] = VALID
    return codes_G


def column_split(words: Sequence[str], name: str) -> NDArray[np.uint8]:
    """Code of every molecule from words such as ``train``, ``valid``, ``test``, ``(G,)``.

    Capitals and blanks around do not matter, ``val``, ``validation``, ``dev`` and ``training`` are
    understood, and a blank or ``unused`` cell takes no part.

    Raises:
        DataError: if a word is none of these, or none of them says ``train``.
    """
    plain = [word.strip().lower() for word in words]
    unknown = Counter(word for word in plain if word not in _WORDS)
    if unknown:
        listed = ", ".join(f"{word!r} ({times}x)" for word, times in unknown.most_common(5))
        raise DataError(
            f"split column {name!r} holds {listed}; use train, valid, test, or blank for unused"
        )
    codes_G = np.fromiter((_WORDS[word] for word in plain), np.uint8, len(plain))
    if not (codes_G == TRAIN).any():
        raise DataError(f"split column {name!r} names no training molecule; write 'train' in some")
    return codes_G


def molecule_split_to_cells(
    codes_G: NDArray[np.uint8], labelled_GT: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Give each labelled cell its molecule's code and every other cell UNUSED, ``(G, T)``."""
    return np.where(labelled_GT, codes_G[:, None], np.uint8(UNUSED)).astype(np.uint8, copy=False)


def carve_validation(
    split_GT: NDArray[np.uint8], fraction: float, seed: int = 0
) -> NDArray[np.uint8]:
    """A copy of the split in which every task that can has a validation part.

    Only tasks without a validation cell are touched. A random share of the molecules that train
    such a task is drawn, and all their training cells of such tasks become validation, so that no
    molecule both trains and validates them. A task that the draw missed gets one more molecule, if
    there is one that is no task's last; a task that the draw would leave without a training cell
    keeps them all, and stays without validation.

    Args:
        split_GT: codes of the cells.
        fraction: share of molecules, between 0 and 1.
        seed: of the draw.

    Returns:
        New codes, ``(G, T)``.
    """
    if not 0 < fraction < 1:
        raise DataError(f"validation fraction {fraction} is not between 0 and 1; try 0.1")
    lacking_T = ~(split_GT == VALID).any(0)
    candidates_GT = (split_GT == TRAIN) & lacking_T
    molecules = np.flatnonzero(candidates_GT.any(1))
    order = np.random.default_rng(seed).permutation(molecules)
    chosen_G = np.zeros(len(split_GT), np.bool_)
    chosen_G[order[: round(fraction * len(order))]] = True
    for task in np.flatnonzero(candidates_GT.sum(0) >= 2):
        if not candidates_GT[chosen_G, task].any():
            left_T = candidates_GT[~chosen_G].sum(0)
            rows = order[candidates_GT[order, task]]
            spare = rows[~(candidates_GT[rows] & (left_T <= 1)).any(1)]
            chosen_G[spare[:1]] = True
    moved_GT = candidates_GT & chosen_G[:, None]
    moved_GT &= (candidates_GT & ~moved_GT).any(0)
    return np.where(moved_GT, np.uint8(VALID), split_GT)
