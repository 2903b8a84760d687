"""What is reported: ROC-AUC, average precision and RMSE per task, and their means.

Axes: G molecules, T tasks, N cells of one task.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.store import TaskInfo
from graphadapt.errors import DataError
from graphadapt.objective.ogb_evaluator import official_mean
from graphadapt.objective.ranking import average_precision, roc_auc

__all__ = ["Evaluation", "evaluate_tasks", "higher_is_better", "root_mean_square_error"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of every task, their means, and the tasks that could not be scored."""

    metric: str
    """What ``score`` is made from: ``rocauc``, ``ap`` or ``rmse``; ``mixed`` with both kinds."""

    tasks: dict[str, dict[str, float]]
    """Task to ``cells`` and its metrics, such as ``rmse`` and ``cliff_rmse``."""

    mean: dict[str, float]
    """Each metric's mean over the tasks that have it, each task counting once."""

    skipped: dict[str, str]
    """Task to the reason why it has no score; as in OGB, means leave it out."""

    score: float
    """One number to choose models by, higher is better; NaN if no task could be scored.

    The mean metric, with its sign turned for RMSE. For a library of both kinds, the mean over
    tasks of the binary metric or ``1 - rmse / standard deviation of the labels``.
    """

    def to_dict(self) -> dict[str, Any]:
        """Plain nested tables for JSON; a score of NaN becomes None."""
        return asdict(self) | {"score": None if math.isnan(self.score) else self.score}


def evaluate_tasks(
    predictions_GT: Floats,
    labels_GT: Floats,
    mask_GT: NDArray[np.bool_],
    tasks: Sequence[TaskInfo],
    *,
    metric: str | None = None,
    flags: Mapping[str, NDArray[np.bool_]] | None = None,
    ogb_set: str = "",
) -> Evaluation:
    """Score every task on its labelled cells inside a mask.

    Binary tasks get ROC-AUC and average precision, regression tasks RMSE. A flag, such as
    ``cliff``, adds each metric on the flagged cells alone (``cliff_rmse``).

    Args:
        predictions_GT: logits or probabilities, and values in the labels' units.
        labels_GT: labels, NaN where missing.
        mask_GT: the cells to score, such as those of the test split.
        tasks: T tasks, whose kind decides their metrics.
        metric: which metric ``score`` takes for binary tasks; ``rocauc`` unless ``ap`` is given.
        flags: name to flagged cells, ``(G, T)``.
        ogb_set: name of the OGB set that this is a split of, such as ``ogbg-molpcba``. If all of
            its tasks are given, ogb's own ``Evaluator`` computes the mean of its metric.

    Raises:
        DataError: if shapes differ, a prediction that counts is not finite, or ogb has no such set.
    """
    scored_GT = mask_GT & ~np.isnan(labels_GT)
    _check(predictions_GT, scored_GT, tasks)
    groups = {"": scored_GT} | {f"{k}_": scored_GT & v for k, v in (flags or {}).items()}
    table: dict[str, dict[str, float]] = {}
    skipped: dict[str, str] = {}
    for t, task in enumerate(tasks):
        label_N = labels_GT[scored_GT[:, t], t]
        if reason := _unscorable(label_N, task.kind):
            skipped[task.name] = reason
        table[task.name] = {"cells": len(label_N)}
        for prefix, cells_GT in groups.items():
            cells = np.flatnonzero(cells_GT[:, t])
            found = _scores(predictions_GT[cells, t], labels_GT[cells, t], task.kind)
            table[task.name] |= {prefix + name: value for name, value in found.items()}
    mean = _means(table)
    if ogb_set:
        mean |= official_mean(ogb_set, predictions_GT, np.where(scored_GT, labels_GT, np.nan))
    binary = "ap" if metric == "ap" else "rocauc"
    chosen, score = _choose(binary, table, tasks, mean, _spreads(labels_GT, scored_GT))
    return Evaluation(metric=chosen, tasks=table, mean=mean, skipped=skipped, score=score)


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of the metric, flagged or not, is the better one."""
    return not metric.endswith("rmse")


def root_mean_square_error(value_N: Floats, label_N: Floats) -> float:
    """RMSE in the labels' units; NaN without cells."""
    if len(value_N) == 0:
        return math.nan
    return float(np.sqrt(np.square(value_N.astype(np.float64) - label_N).mean()))


def _scores(value_N: Floats, label_N: Floats, kind: str) -> dict[str, float]:
    """The metrics that are defined on these cells."""
    if _unscorable(label_N, kind):
        return {}
    if kind == "regression":
        return {"rmse": root_mean_square_error(value_N, label_N)}
    positive_N = label_N > 0.5
    return {"rocauc": roc_auc(value_N, positive_N), "ap": average_precision(value_N, positive_N)}


def _unscorable(label_N: Floats, kind: str) -> str:
    """Why these cells have no score; empty if they have."""
    if len(label_N) == 0:
        return "no labelled cell"
    positives = int((label_N > 0.5).sum())
    if kind == "binary" and positives in (0, len(label_N)):
        return f"one class only: {positives} of {len(label_N)} cells are positive"
    return ""


def _means(table: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    metrics = dict.fromkeys(key for values in table.values() for key in values if key != "cells")
    return {
        metric: float(np.mean([values[metric] for values in table.values() if metric in values]))
        for metric in metrics
    }


def _choose(
    binary: str,
    table: Mapping[str, Mapping[str, float]],
    tasks: Sequence[TaskInfo],
    mean: Mapping[str, float],
    spread_T: Floats,
) -> tuple[str, float]:
    """Name and value of the score that models are chosen by.

    Among tasks of both kinds a regression counts by ``1 - rmse / spread``, and not at all where the
    scored labels are all alike, as a binary task of one class does not.
    """
    kinds = {task.kind for task in tasks}
    if kinds == {"binary"}:
        return binary, mean.get(binary, math.nan)
    if kinds == {"regression"}:
        return "rmse", -mean.get("rmse", math.nan)
    merits = [
        values[binary] if binary in values else 1.0 - values["rmse"] / float(spread)
        for values, spread in zip(table.values(), spread_T, strict=True)
        if binary in values or ("rmse" in values and spread > 0)
    ]
    return "mixed", float(np.mean(merits)) if merits else math.nan


def _spreads(labels_GT: Floats, scored_GT: NDArray[np.bool_]) -> Floats:
    """Standard deviation of every task's scored labels, ``(T,)``; 0 where all are alike."""
    columns = [label_G[cell_G] for label_G, cell_G in zip(labels_GT.T, scored_GT.T, strict=True)]
    return np.array([found.std() if found.size and np.ptp(found) else 0.0 for found in columns])


def _check(predictions_GT: Floats, scored_GT: NDArray[np.bool_], tasks: Sequence[TaskInfo]) -> None:
    if not predictions_GT.shape == scored_GT.shape == (len(scored_GT), len(tasks)):
        raise DataError(
            f"predictions {predictions_GT.shape}, labelled cells {scored_GT.shape} and "
            f"{len(tasks)} tasks do not fit; give (molecules, tasks) twice"
        )
    bad_T = (scored_GT & ~np.isfinite(predictions_GT)).sum(axis=0)
    if bad_T.any():
        worst = int(bad_T.argmax())
        raise DataError(
            f"{bad_T[worst]} predictions of task {tasks[worst].name!r} are not finite: the model "
            "diverged; lower the learning rate or clip harder"
        )
