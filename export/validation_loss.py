"""What an exported file's metrics lose on validation cells beside the network it came from.

Shapes: P molecules of the part, T tasks of the file.
"""

from collections.abc import Iterator, Mapping

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

__all__ = ["batches_of", "check_loss", "metric_losses", "score_file"]

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
    """Metrics of a file on a part's cells of its tasks."""
    data, names = run.dataset, [task.name for task in run.inputs.tasks]
    columns = np.array([names.index(name) for name in tasks])
    rows = np.flatnonzero(data.cells(part)[:, columns].any(axis=1))
    answers = [ask(inputs)[:, : len(columns)] for inputs in batches_of(run, reads, rows)]
    answers_PT = np.concatenate(answers) if answers else np.empty((0, len(columns)))
    return score_cells(data, answers_PT, rows, data.cells(part)[np.ix_(rows, columns)], columns)


def metric_losses(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each mean loses: points of a metric in [0, 1], a share of itself of an RMSE.

    Example:
        >>> metric_losses({"ap": 0.5, "rmse": 2.0}, {"ap": 0.25, "rmse": 2.5})
        {'ap': 0.25, 'rmse': 0.25}
    """
    return {
        metric: value - after[metric]
        if higher_is_better(metric)
        else (after[metric] - value) / max(value, 1e-12)
        for metric, value in before.items()
    }


def check_loss(
    name: PrecisionName, before: Evaluation, after: Evaluation, *, force: bool
) -> Precision:
    """What a lower precision costs; more than its bound is refused unless it is forced.

    Raises:
        BundleError: naming the metric that loses most.
    """
    loss, bound = metric_losses(before.mean, after.mean), BOUNDS[name]
    worst = max(loss, key=lambda metric: loss[metric], default=None)
    over = worst is not None and not loss[worst] <= bound
    if over and not force:
        raise BundleError(
            f"{name} costs {loss[str(worst)]:.4f} of {worst} on validation, more than {bound}, so "
            "nothing was written; take fp32, or --force if that is good enough"
        )
    return Precision(name=name, loss=loss, bound=bound, forced=over)
