"""From scores and labels to a rising table of few knots: isotonic regression. No torch.

Shapes: N scored cells, U distinct scores in rising order, B blocks of them or knots.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["KNOTS", "fit_knots", "pool_adjacent_violators"]

Floats = NDArray[np.floating[Any]]

KNOTS: Final = 16
"""Most knots of a table."""

_STEEPEST: Final = 4.0
"""Most that a table may rise over the spread of its scores: sixteen times as steep as the sigmoid
of standard scores, and no steeper, so that a rounded score has but a rounded answer."""

_NARROWEST: Final = 1 / 64
"""Least distance of two knots, as a share of the spread: half precision can tell them apart."""

_FAR: Final = 10
"""Largest score in spreads; where scores lie farther from 0 than they vary, that counts."""

_COUNT, _SCORE, _POSITIVE = range(3)
"""Rows of a table of blocks: sums over their cells of 1, the score and the label."""


def pool_adjacent_violators(value_U: Floats, weight_U: Floats) -> NDArray[np.int64]:
    r"""Where the blocks of isotonic regression begin, ``(B,)``.

    The means of the blocks rise, and of all rising sequences they are nearest to the values,

    .. math:: \min_{m_1 \le \dots \le m_U} \sum_u w_u (y_u - m_u)^2 .

    Neighbours that do not rise share their block's mean in the answer, so all runs that do not rise
    are pooled at once, and again until every one does.

    Args:
        value_U: y, in the order in which m has to rise; at least one.
        weight_U: w, above 0.

    References:
        Ayer et al., An Empirical Distribution Function for Sampling with Incomplete Information,
        1955.

    Example:
        >>> pool_adjacent_violators(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)).tolist()
        [0, 1, 3]
    """
    first_B = np.arange(len(value_U))
    total_U, total_B, weight_B = value_U * weight_U, value_U * weight_U, weight_U
    while True:
        mean_B = total_B / weight_B
        rises_B = np.append(True, mean_B[1:] > mean_B[:-1])
        if rises_B.all():
            return first_B
        first_B = first_B[rises_B]
        total_B = np.add.reduceat(total_U, first_B)
        weight_B = np.add.reduceat(weight_U, first_B)


def fit_knots(
    score_N: Floats, positive_N: NDArray[np.bool_], most: int = KNOTS
) -> tuple[Floats, Floats]:
    """Scores and probabilities of a calibrating table's knots, each ``(B,)`` and rising.

    A knot is a block of isotonic regression: its mean score, and its share of positives. Between
    knots the table is to be linear, which is nearer to the truth than steps, and keeps scores apart
    that steps would tie; beyond the outer knots it is level. Blocks are joined where the table
    would be too steep or its knots too close for rounding, and then, where they are more than
    ``most``, those whose joining costs the least squared error. No probability is nearer to 0 or 1
    than ``1 / (N + 2)``, so no answer is surer than N cells can show.

    Args:
        score_N: finite; at least one.
        positive_N: labels.
        most: knots.

    References:
        Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability
        Estimates, 2002. The knots: Oron and Flournoy, Centered Isotonic Regression, 2017; ours
        are fewer, and level beyond the outer ones.
    """
    score_U, which_N, count_U = np.unique(score_N, return_inverse=True, return_counts=True)
    positive_U = np.bincount(which_N, weights=positive_N, minlength=len(score_U))
    first_B = pool_adjacent_violators(positive_U / count_U, count_U.astype(np.float64))
    sums_3U = np.stack([count_U, count_U * score_U, positive_U])
    spread = max(float(np.std(score_N)), float(np.abs(score_N).max()) / _FAR)
    blocks_3B = _joined(np.add.reduceat(sums_3U, first_B, axis=1), spread, most)
    least = 1 / (len(score_N) + 2)
    share_B = blocks_3B[_POSITIVE] / blocks_3B[_COUNT]
    return blocks_3B[_SCORE] / blocks_3B[_COUNT], share_B.clip(least, 1 - least)


def _joined(blocks_3B: Floats, spread: float, most: int) -> Floats:
    """Neighbouring blocks made one, until they are apart enough and few enough."""
    while blocks_3B.shape[1] > 1:
        count_B = blocks_3B[_COUNT]
        _, gap, rise = np.diff(blocks_3B / count_B)
        lack = np.maximum(rise / _STEEPEST, _NARROWEST) * spread - gap
        if lack.max() > 0:
            pair = int(lack.argmax())
        elif blocks_3B.shape[1] > most:
            cost = rise**2 * count_B[1:] * count_B[:-1] / (count_B[1:] + count_B[:-1])
            pair = int(cost.argmin())
        else:
            break
        blocks_3B[:, pair] += blocks_3B[:, pair + 1]
        blocks_3B = np.delete(blocks_3B, pair + 1, axis=1)
    return blocks_3B
