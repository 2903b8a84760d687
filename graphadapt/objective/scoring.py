"""Answers scored by what a dataset says of itself: its labels, its metric, its flagged cells.

Shapes: P molecules that were asked, Q tasks of the answers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.dataset import Dataset
from graphadapt.objective.metrics import Evaluation, evaluate_tasks

__all__ = ["score_cells"]


def score_cells(
    data: Dataset,
    answers_PQ: NDArray[np.floating[Any]],
    rows_P: NDArray[np.int64],
    cells_PQ: NDArray[np.bool_],
    columns: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Metrics of given answers on given cells.

    Args:
        data: labels and flags.
        answers_PQ: logits or probabilities, and values in the labels' units.
        rows_P: molecules of the answers' rows.
        cells_PQ: which of them count.
        columns: tasks of the answers' columns; all by default.
    """
    columns = np.arange(len(data.tasks)) if columns is None else columns
    place = np.ix_(rows_P, columns)
    return evaluate_tasks(
        answers_PQ,
        data.labels[place],
        cells_PQ,
        [data.tasks[column] for column in columns],
        metric=data.store.metric,
        ogb_set=data.store.ogb_set,
        flags={name: marked[place] for name, marked in data.flags.items()},
    )
