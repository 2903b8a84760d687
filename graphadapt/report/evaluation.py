"""A run scored on one part of its split, with and without molecules that train another task.

Official splits may be drawn task by task, so a test molecule of one task can be a training
molecule of another; results are given both ways.

Shapes: G molecules of the store, P rows asked for, T tasks.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.data.dataset import Dataset
from graphadapt.objective.metrics import Evaluation
from graphadapt.objective.scoring import score_cells
from graphadapt.report.table import Cell, format_table
from graphadapt.routing.composition import single_task
from graphadapt.run import Run

__all__ = [
    "PartReport",
    "answers_of",
    "evaluate_part",
    "task_table",
    "trains_another_task",
]

Composition = Tensor | Literal["each"]


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """Scores on one part, and on its cells of molecules that train no other task."""

    part: str
    composition: dict[str, float] | Literal["each"]
    """Weight of each task of the mix; ``each`` asks every task by itself."""

    everything: Evaluation
    unshared: Evaluation
    """Without the cells of molecules that train another task."""

    cells: int
    shared: int
    """Cells of molecules that train another task."""

    def to_dict(self) -> dict[str, Any]:
        """Plain nested tables for JSON."""
        return asdict(self) | {
            "everything": self.everything.to_dict(),
            "unshared": self.unshared.to_dict(),
        }


def evaluate_part(run: Run, part: str, composition: Composition) -> PartReport:
    """Score every task on the labelled cells of a part.

    Args:
        run: its model as it is.
        part: ``train``, ``valid`` or ``test``.
        composition: w, ``(T,)``, or ``each`` to ask every task by itself; matters only to a model
            with adapters inside its backbone.
    """
    data = run.dataset
    rows = data.rows(part)
    cells_PT = data.cells(part)[rows]
    shared_PT = cells_PT & trains_another_task(data)[rows]
    answers_PT = answers_of(run, part, composition)
    return PartReport(
        part=part,
        composition="each" if isinstance(composition, str) else _weights(run, composition),
        everything=score_cells(data, answers_PT, rows, cells_PT),
        unshared=score_cells(data, answers_PT, rows, cells_PT & ~shared_PT),
        cells=int(cells_PT.sum()),
        shared=int(shared_PT.sum()),
    )


def answers_of(run: Run, part: str, composition: Composition) -> NDArray[np.float32]:
    """Answers for the molecules of a part, ``(P, T)``; under ``each``, NaN outside its cells."""
    rows = run.dataset.rows(part)
    if not isinstance(composition, str):
        return _predict(run, rows, composition)
    if not run.model.sites:
        return _predict(run, rows, run.everyone)
    names = [task.name for task in run.inputs.tasks]
    cells_PT = run.dataset.cells(part)[rows]
    answers_PT = np.full(cells_PT.shape, np.nan, np.float32)
    for t, name in enumerate(names):
        asked = cells_PT[:, t]
        answers_PT[asked, t] = _predict(run, rows[asked], single_task(name, names))[:, t]
    return answers_PT


def trains_another_task(data: Dataset) -> NDArray[np.bool_]:
    """Cells whose molecule holds a training cell of some other task, ``(G, T)``."""
    train_GT = data.cells("train")
    return train_GT.sum(axis=1, keepdims=True) > train_GT


def task_table(evaluation: Evaluation, *, markdown: bool = False) -> str:
    """Every task's cells and metrics, the skipped ones with dashes, and their means."""
    metrics = list(evaluation.mean)
    rows: list[list[Cell]] = [
        [name, int(values["cells"]), *(values.get(metric) for metric in metrics)]
        for name, values in evaluation.tasks.items()
    ]
    rows.append(["mean", None, *(evaluation.mean[metric] for metric in metrics)])
    return format_table(["task", "cells", *metrics], rows, markdown=markdown)


def _predict(run: Run, rows_P: NDArray[np.int64], composition_T: Tensor) -> NDArray[np.float32]:
    rows, w = torch.from_numpy(rows_P), composition_T.to(run.feed.device)
    return run.feed.predict(run.model, rows, w).cpu().numpy()


def _weights(run: Run, composition_T: Tensor) -> dict[str, float]:
    tasks = zip(run.inputs.tasks, composition_T.tolist(), strict=True)
    return {task.name: weight for task, weight in tasks if weight}
