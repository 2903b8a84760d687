"""What an exported file's metrics lose on validation cells beside the network it came from.

Shapes: P molecules of the part, T tasks of the file.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import BundleError
from graphadapt.export.collate import Inputs, inputs_for
from graphadapt.export.contract_parts import Precision, PrecisionName
from graphadapt.export.repeated_runs import Ask
from graphadapt.export.rounding import BOUNDS
from graphadapt.objective.metrics import Evaluation, higher_is_better
from graphadapt.objective.scoring import score_cells
from graphadapt.run import Run

__all__ = ["batches_of", "check_loss", "metric_losses", "score_file", "unmeasured_loss"]

_GRAPHS = 64
"""Molecules of one run."""


def batches_of(run: Run, reads: tuple[str, ...], rows_P: NDArray[np.int64]) -> Iterator[Inputs]:
    """Molecules of the run's store, arranged as a file reads them."""
    store, blocks = run.dataset.store, run.inputs.blocks
    for start in range(0, len(rows_P), _GRAPHS):
        rows = rows_P[start : start + _GRAPHS]
        features = np.asarray(store.features(blocks)[rows], np.float32) if blocks else None
        yield inputs_for(reads, [store.molecule(int(row)) for row in rows], features)


def score_file(
    run: Run, tasks: tuple[str, ...], ask: Ask, reads: tuple[str, ...], part: str = "valid"
) -> Evaluation:
    """Metrics of a file on a part's cells of its tasks.

    Raises:
        BundleError: if an answer is no finite number.
    """
    data, names = run.dataset, [task.name for task in run.inputs.tasks]
    columns = np.array([names.index(name) for name in tasks])
    rows = np.flatnonzero(data.cells(part)[:, columns].any(axis=1))
    answers = [ask(inputs)[:, : len(columns)] for inputs in batches_of(run, reads, rows)]
    answers_PT = np.concatenate(answers) if answers else np.empty((0, len(columns)))
    if not np.isfinite(answers_PT).all():
        raise BundleError(
            f"{np.count_nonzero(~np.isfinite(answers_PT))} answers of the file to {part} molecules "
            "are no finite numbers, so nothing was written: the model diverged, or its values are "
            "too large for the precision"
        )
    return score_cells(data, answers_PT, rows, data.cells(part)[np.ix_(rows, columns)], columns)


def metric_losses(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each mean loses that both have: points of a metric in [0, 1], a share of an RMSE.

    Example:
        >>> metric_losses({"ap": 0.5, "rmse": 2.0}, {"ap": 0.25, "rmse": 2.5})
        {'ap': 0.25, 'rmse': 0.25}
    """
    return {
        metric: value - after[metric]
        if higher_is_better(metric)
        else (after[metric] - value) / max(value, 1e-12)
        for metric, value in before.items()
        if metric in after
    }


def check_loss(
    name: PrecisionName, before: Evaluation, after: Evaluation, *, force: bool
) -> Precision:
    """What a lower precision costs; refused if that is too much or unknown, unless it is forced.

    Raises:
        BundleError: naming the metric that loses most, or a task and why it has no metric.
    """
    loss, bound = metric_losses(before.mean, after.mean), BOUNDS[name]
    fault = _unmeasured(name, before, loss) or _excess(name, loss, bound)
    if fault and not force:
        raise BundleError(
            f"{fault}, so nothing was written; take fp32, or --force if that is good enough"
        )
    return Precision(
        name=name, loss=loss, unmeasured=before.skipped, bound=bound, forced=bool(fault)
    )


def unmeasured_loss(
    name: PrecisionName, tasks: Sequence[str], missing: str, *, force: bool
) -> Precision:
    """What is recorded of a lower precision where no molecules are at hand to measure it on.

    Args:
        name: of the precision.
        tasks: of the file.
        missing: why there are no molecules.
        force: whether the precision is accepted unmeasured.

    Raises:
        BundleError: if it is not; and for int8, whose scales are set by training molecules.
    """
    if name == "int8":
        raise BundleError(
            f"int8 takes its scales from the run's training molecules, which must be at hand, "
            f"forced or not ({missing}), so nothing was written; bring them back, or take fp32"
        )
    if not force:
        raise BundleError(
            f"what {name} costs is unmeasured ({missing}), so nothing was written; take fp32, or "
            "--force if that is good enough"
        )
    unmeasured = dict.fromkeys(tasks, missing)
    return Precision(name=name, unmeasured=unmeasured, bound=BOUNDS[name], forced=True)


def _unmeasured(name: PrecisionName, before: Evaluation, loss: Mapping[str, float]) -> str:
    """Why nothing, or less than before, can be said of the loss; empty where it is measured."""
    lost = sorted(before.mean.keys() - loss.keys())
    if lost:
        return f"what {name} costs is unmeasured: it leaves no {', '.join(lost)} on validation"
    if loss:
        return ""
    first = ", ".join(f"{task!r}: {why}" for task, why in list(before.skipped.items())[:1])
    return f"what {name} costs is unmeasured: no task has a metric on validation ({first})"


def _excess(name: PrecisionName, loss: Mapping[str, float], bound: float) -> str:
    """Which metric loses most, if that is more than it may; no number is more."""
    over = {metric: value for metric, value in loss.items() if not value <= bound}
    worst = max(over, key=lambda metric: over[metric], default="")
    if not worst:
        return ""
    return f"{name} costs {over[worst]:.4f} of {worst} on validation, more than {bound}"
