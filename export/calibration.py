"""One temperature a binary task, fitted on validation cells and folded into the head.

Shapes: N labelled cells of one task, T tasks.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphadapt.data.store import TaskInfo
from graphadapt.export.contract_parts import Calibration
from graphadapt.freeze import FrozenModel

__all__ = ["expected_calibration_error", "fit_temperatures", "temper"]

Floats = NDArray[np.floating[Any]]

FEWEST_CELLS = 50
"""Labelled cells of a task, and a fifth as many of each class, below which nothing is fitted."""

_BINS = 15
_LOW, _HIGH = math.log(0.05), math.log(20.0)
_STEPS = 60  # golden sections narrow the range of 6 to 1e-12
_GOLDEN = (math.sqrt(5) - 1) / 2


def expected_calibration_error(probability_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    r"""How far probabilities are from the shares of positives, in [0, 1].

    .. math:: \sum_b \frac{N_b}{N} \left| \bar y_b - \bar p_b \right|

    over 15 bins of equal width.

    References:
        Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015.

    Example:
        >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
        0.4
    """
    bin_N = np.minimum((probability_N * _BINS).astype(np.int64), _BINS - 1)
    gap_N = probability_N - positive_N
    sums = np.bincount(bin_N, weights=gap_N, minlength=_BINS)
    return float(np.abs(sums).sum() / len(gap_N))


def fit_temperatures(
    tasks: Sequence[TaskInfo], logits_PT: Floats, labels_PT: Floats
) -> dict[str, Calibration]:
    """The temperature of every binary task that has cells enough, by name.

    Args:
        tasks: of the columns.
        logits_PT: of the validation molecules.
        labels_PT: their labels, NaN outside of the validation cells.
    """
    found = {}
    for t, task in enumerate(tasks):
        held_P = ~np.isnan(labels_PT[:, t])
        positive_N = labels_PT[held_P, t] > 0.5
        fewer = min(int(positive_N.sum()), int((~positive_N).sum()))
        if task.kind != "binary" or held_P.sum() < FEWEST_CELLS or fewer < FEWEST_CELLS // 5:
            continue
        logit_N = logits_PT[held_P, t].astype(np.float64)
        temperature = _fit(logit_N, positive_N)
        found[task.name] = Calibration(
            temperature=temperature,
            cells=len(logit_N),
            before=expected_calibration_error(_sigmoid(logit_N), positive_N),
            after=expected_calibration_error(_sigmoid(logit_N / temperature), positive_N),
        )
    return found


@torch.no_grad()
def temper(frozen: FrozenModel, calibration: dict[str, Calibration]) -> None:
    """Divide the logits of the calibrated tasks, by the head's weights; changed in place."""
    temperature_T = torch.tensor(
        [calibration[t.name].temperature if t.name in calibration else 1.0 for t in frozen.tasks],
        dtype=torch.float64,
        device=frozen.head.weight.device,
    )
    frozen.head.weight.copy_(frozen.head.weight.double() / temperature_T[:, None])
    frozen.head.bias.copy_(frozen.head.bias.double() / temperature_T)


def _fit(logit_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    """The temperature of the least cross-entropy, which has one minimum in 1/τ; golden sections."""
    low, high = _LOW, _HIGH
    for _ in range(_STEPS):
        step = _GOLDEN * (high - low)
        if _loss(logit_N, positive_N, high - step) <= _loss(logit_N, positive_N, low + step):
            high = low + step
        else:
            low = high - step
    return math.exp((low + high) / 2)


def _loss(logit_N: Floats, positive_N: NDArray[np.bool_], log_temperature: float) -> float:
    scaled_N = logit_N / math.exp(log_temperature)
    return float((np.logaddexp(0.0, scaled_N) - positive_N * scaled_N).mean())


def _sigmoid(logit_N: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -logit_N))
