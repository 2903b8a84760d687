"""How well scores rank positives above negatives: ROC-AUC and average precision.

Axes: N cells of one task.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["average_precision", "roc_auc"]

Floats = NDArray[np.floating[Any]]


def roc_auc(score_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    r"""Chance that a positive scores above a negative, ties counting half; NaN for one class.

    Example:
        >>> roc_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
        0.875
    """
    if positive_N.all() or not positive_N.any():
        return math.nan
    hits, alarms = _threshold_counts(score_N, positive_N)
    doubled = (np.diff(alarms, prepend=0) * (hits + np.r_[0, hits[:-1]])).sum()
    return float(doubled / 2 / (int(hits[-1]) * int(alarms[-1])))


def average_precision(score_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    r"""Precision averaged over recall; NaN for one class, as OGB leaves such a task out.

    .. math:: AP = \sum_n (R_n - R_{n-1}) P_n

    over the distinct scores as thresholds, highest first, without interpolation.
    """
    if positive_N.all() or not positive_N.any():
        return math.nan
    hits, alarms = _threshold_counts(score_N, positive_N)
    return float((np.diff(hits, prepend=0) * (hits / (hits + alarms))).sum() / hits[-1])


def _threshold_counts(
    score_N: Floats, positive_N: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and false positives at every distinct score taken as threshold, highest first."""
    order = np.argsort(-score_N, kind="stable")
    last_of_ties = np.r_[np.flatnonzero(np.diff(score_N[order])), len(order) - 1]
    hits = np.cumsum(positive_N[order], dtype=np.int64)[last_of_ties]
    return hits, last_of_ties + 1 - hits
