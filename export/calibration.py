"""Calibrated probabilities: one map a binary task, fitted on validation cells, part of the model.

Shapes: N labelled cells of one task, P molecules, T tasks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from graphadapt.data.store import TaskInfo
from graphadapt.export.contract_parts import Calibration, CalibrationMethod
from graphadapt.export.isotonic import fit_knots
from graphadapt.export.probability_table import ProbabilityTable
from graphadapt.freeze import FrozenModel

__all__ = [
    "FEWEST_CELLS",
    "calibrate",
    "calibration_record",
    "expected_calibration_error",
    "fit_calibration",
    "left_out",
    "log_loss",
]

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.bool_]

FEWEST_CELLS: Final[dict[CalibrationMethod, int]] = {"temperature": 50, "isotonic": 200}
"""Labelled cells of a task, and a fifth as many of each class, below which nothing is fitted: a
table has up to sixteen numbers where a temperature is one."""

_BINS: Final = 15
_LOW, _HIGH = math.log(0.05), math.log(20.0)
_HALVINGS: Final = 45
"""They narrow the range of temperatures, 6 on a log scale, to 2e-13."""

_FOLDS: Final = 5
_SUREST: Final = 1e-12
"""Nearest to 0 and 1 that a probability counts as in a log loss, which would have no end."""


def expected_calibration_error(probability_N: Floats, positive_N: Labels) -> float:
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


def log_loss(probability_N: Floats, positive_N: Labels) -> float:
    """Mean of minus the logarithm of what the true class was given, in nats.

    Example:
        >>> log_loss(np.array([0.5, 0.25]), np.array([True, False])).__round__(3)
        0.49
    """
    given_N = np.where(positive_N, probability_N, 1 - probability_N)
    return float(-np.log(given_N.clip(_SUREST, 1.0)).mean())


def fit_calibration(
    tasks: Sequence[TaskInfo],
    logits_PT: Floats,
    labels_PT: Floats,
    method: CalibrationMethod = "temperature",
) -> dict[str, Calibration]:
    """The map of every binary task that has cells enough, by name.

    A table of a single knot would give every molecule the same probability, which is what isotonic
    regression makes of a model no better than chance; such a task has no map.

    Args:
        tasks: of the columns.
        logits_PT: of the validation molecules.
        labels_PT: their labels, NaN outside of the validation cells.
        method: of all maps.
    """
    found = {}
    for t, task in enumerate(tasks):
        held_P = ~np.isnan(labels_PT[:, t])
        positive_N = labels_PT[held_P, t] > 0.5
        if task.kind != "binary" or not _suffices(positive_N, FEWEST_CELLS[method]):
            continue
        part = _measured(_FITS[method], logits_PT[held_P, t].astype(np.float64), positive_N)
        if part.method == "temperature" or len(part.logits) > 1:
            found[task.name] = part
    return found


def left_out(
    tasks: Sequence[TaskInfo],
    labels_PT: Floats,
    found: Mapping[str, Calibration],
    method: CalibrationMethod,
) -> dict[str, str]:
    """Why each binary task that :func:`fit_calibration` found no map for has none, by name."""
    reasons = {}
    for t, task in enumerate(tasks):
        if task.kind != "binary" or task.name in found:
            continue
        positive_N = labels_PT[~np.isnan(labels_PT[:, t]), t] > 0.5
        reasons[task.name] = (
            "higher scores go with no more positives, so one probability would answer for all"
            if _suffices(positive_N, FEWEST_CELLS[method])
            else f"{len(positive_N)} cells, {_rarer(positive_N)} of the rarer class"
        )
    return reasons


def calibration_record(
    method: CalibrationMethod,
    left_out: Mapping[str, str],
    after: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What a contract records of a calibration beside its maps, as plain values.

    Args:
        method: that was asked for.
        left_out: binary tasks without a map, and why.
        after: metrics of the calibrated answers on validation cells, where tables, which are level
            in parts, tie molecules; a temperature keeps their order.
    """
    cells = FEWEST_CELLS[method]
    return {
        "method": method,
        "fewest_cells": cells,
        "fewest_of_a_class": cells // 5,
        "left_out": dict(left_out),
        "after": dict(after or {}),
    }


@torch.no_grad()
def calibrate(frozen: FrozenModel, calibration: Mapping[str, Calibration]) -> None:
    """Make a model answer by the maps: temperatures in its head, tables behind it.

    Args:
        frozen: changed in place.
        calibration: by task; others stay as they are.
    """
    temperature_T = torch.tensor(
        [calibration[t.name].temperature if t.name in calibration else 1.0 for t in frozen.tasks],
        dtype=torch.float64,
        device=frozen.head.weight.device,
    )
    frozen.head.weight.copy_(frozen.head.weight.double() / temperature_T[:, None])
    frozen.head.bias.copy_(frozen.head.bias.double() / temperature_T)
    if any(each.logits for each in calibration.values()):
        table = ProbabilityTable(frozen.tasks, calibration)
        frozen.calibration = table.to(frozen.head.weight.device)


def _suffices(positive_N: Labels, cells: int) -> bool:
    """Whether there are so many cells, and a fifth as many of the rarer class."""
    return len(positive_N) >= cells and _rarer(positive_N) >= cells // 5


def _rarer(positive_N: Labels) -> int:
    """Cells of the rarer class."""
    return min(int(positive_N.sum()), int((~positive_N).sum()))


class _Map(NamedTuple):
    """From logits to probabilities, by the fields of a :class:`Calibration`."""

    method: CalibrationMethod
    temperature: float = 1.0
    logits: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def answers(self, logit_N: Floats) -> Floats:
        """Probabilities, ``(N,)``."""
        if self.logits:
            return np.interp(logit_N, self.logits, self.probabilities)
        return _sigmoid(logit_N / self.temperature)


def _temperature(logit_N: Floats, positive_N: Labels) -> _Map:
    """Of the least log loss, which has one minimum in 1/τ: halving to where its slope is 0."""
    low, high = _LOW, _HIGH
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        excess_N = _sigmoid(logit_N / math.exp(middle)) - positive_N
        if excess_N @ logit_N > 0:  # too sure
            low = middle
        else:
            high = middle
    return _Map("temperature", math.exp((low + high) / 2))


def _isotonic(logit_N: Floats, positive_N: Labels) -> _Map:
    logit_B, probability_B = fit_knots(logit_N, positive_N)
    return _Map("isotonic", 1.0, tuple(logit_B.tolist()), tuple(probability_B.tolist()))


_FITS: Final[dict[CalibrationMethod, Callable[[Floats, Labels], _Map]]] = {
    "temperature": _temperature,
    "isotonic": _isotonic,
}


def _measured(
    fit: Callable[[Floats, Labels], _Map], logit_N: Floats, positive_N: Labels
) -> Calibration:
    """A map of all cells; what it gains on them, and what such maps gain on cells left out."""
    found, held_out_N = fit(logit_N, positive_N), np.empty_like(logit_N)
    fold_N = _folds(positive_N)
    for fold in range(_FOLDS):
        out_N = fold_N == fold
        held_out_N[out_N] = fit(logit_N[~out_N], positive_N[~out_N]).answers(logit_N[out_N])
    before_N, after_N = _sigmoid(logit_N), found.answers(logit_N)
    return Calibration(
        **found._asdict(),
        cells=len(logit_N),
        before=expected_calibration_error(before_N, positive_N),
        after=expected_calibration_error(after_N, positive_N),
        held_out=expected_calibration_error(held_out_N, positive_N),
        log_loss_before=log_loss(before_N, positive_N),
        log_loss_after=log_loss(after_N, positive_N),
        log_loss_held_out=log_loss(held_out_N, positive_N),
    )


def _folds(positive_N: Labels) -> NDArray[np.int64]:
    """A number below five for each cell, by chance, either class evenly over all, ``(N,)``."""
    random, fold_N = np.random.default_rng(0), np.empty(len(positive_N), np.int64)
    for members in (np.flatnonzero(positive_N), np.flatnonzero(~positive_N)):
        fold_N[random.permutation(members)] = np.arange(len(members)) % _FOLDS
    return fold_N


def _sigmoid(logit_N: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -logit_N))
