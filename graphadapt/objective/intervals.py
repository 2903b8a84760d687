"""Bootstrap intervals: how sure a mean over tasks, seeds or sampled cases is.

Axes: S seeds (runs), T tasks, N values, B resamples.
"""

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError

__all__ = ["bootstrap_mean", "paired_difference"]

RESAMPLES = 10_000

Floats = NDArray[np.float64]


def paired_difference(
    a_ST: Floats, b_ST: Floats, seed: int = 0, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean of ``a - b`` with its interval, paired over tasks and seeds.

    Seeds and tasks are resampled independently of each other, each with all of its row or column,
    so that runs that share a seed, or a task that all runs find hard, count once. With a single
    seed only tasks are resampled.

    Args:
        a_ST: a metric per seed and task.
        b_ST: the same of the other method, in the same order.
        seed: of the resampling.
        confidence: mass between the ends, in (0, 1).

    Returns:
        Mean, lower end, upper end (percentiles of the resampled means).

    Raises:
        DataError: if the shapes differ or a value is missing.

    Example:
        >>> paired_difference(np.ones((2, 3)), np.zeros((2, 3)))
        (1.0, 1.0, 1.0)
    """
    if a_ST.shape != b_ST.shape or a_ST.ndim != 2 or a_ST.size == 0:
        raise DataError(
            f"{a_ST.shape} and {b_ST.shape} cannot be paired; give (seeds, tasks) twice"
        )
    difference_ST = np.asarray(a_ST, np.float64) - b_ST
    if not np.isfinite(difference_ST).all():
        raise DataError("a score is missing or infinite; compare the tasks that every run scored")
    random = np.random.default_rng(seed)
    seeds, tasks = difference_ST.shape
    share_BS = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    share_BT = random.multinomial(tasks, np.full(tasks, 1 / tasks), RESAMPLES) / tasks
    mean_B = ((share_BS @ difference_ST) * share_BT).sum(axis=1)
    return _with_ends(float(difference_ST.mean()), mean_B, confidence)


def bootstrap_mean(
    values_N: Floats, seed: int = 0, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean of independent values with its interval; three NaN if there are none."""
    if len(values_N) == 0:
        return np.nan, np.nan, np.nan
    random = np.random.default_rng(seed)
    means = [random.choice(values_N, len(values_N)).mean() for _ in range(RESAMPLES // 10)]
    return _with_ends(float(np.mean(values_N)), np.array(means), confidence)


def _with_ends(mean: float, mean_B: Floats, confidence: float) -> tuple[float, float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(mean_B, [tail, 1 - tail])
    return mean, float(low), float(high)
