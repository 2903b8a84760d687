"""What freezing costs: the composed model's metric minus the frozen network's, on validation.

Shapes: P molecules of the part, T tasks of the model, Q tasks of the frozen network.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphadapt.freeze import FrozenModel, Selection, freeze, reestimate_norms
from graphadapt.objective.scoring import score_cells
from graphadapt.report.table import Cell, format_table
from graphadapt.routing.composition import uniform_composition, weighted_composition
from graphadapt.run import Run
from graphadapt.trainer.precision import autocast

__all__ = ["FreezeGap", "freeze_run", "gap_table", "measure_gap"]


@dataclass(frozen=True, kw_only=True)
class FreezeGap:
    """Metrics of a composed model and of its frozen network on the same cells."""

    part: str
    soft: dict[str, float]
    """Mean of each metric over the requested tasks, from the model as it was trained."""

    frozen: dict[str, float]
    tasks: dict[str, dict[str, float]]
    """Soft minus frozen of every metric, by task."""

    @property
    def gap(self) -> dict[str, float]:
        """Soft minus frozen of every mean."""
        return {metric: self.soft[metric] - self.frozen[metric] for metric in self.soft}

    def to_dict(self) -> dict[str, Any]:
        """Plain nested tables for JSON."""
        return asdict(self) | {"gap": self.gap}


def freeze_run(
    run: Run,
    *,
    tasks: Sequence[str] = (),
    composition_T: Tensor | None = None,
    selection: Selection | None = None,
) -> FrozenModel:
    """Freeze a run's model and settle its batch norms for the composition.

    Running statistics of a backbone that was trained with adapters inside mix all compositions;
    they are estimated anew, over training molecules. A frozen backbone keeps those it came with.

    Args:
        run: trained.
        tasks: requested task names; empty keeps all.
        composition_T: w; default is uniform over the requested tasks.
        selection: which adapters to keep; default keeps all mass.

    Raises:
        ConfigError: for a task the model does not have, or one given twice.
    """
    if composition_T is None:
        names = [task.name for task in run.inputs.tasks]
        composition_T = uniform_composition(tasks or names, names)
    frozen = freeze(run.model, tasks=tasks, composition_T=composition_T, selection=selection)
    if run.model.sites and run.config.backbone.train != "frozen":
        reestimate_norms(frozen, run.training_batches())
    return frozen


@torch.no_grad()
def measure_gap(run: Run, frozen: FrozenModel, part: str = "valid") -> FreezeGap:
    """Score both networks on a part's cells of the requested tasks.

    Args:
        run: what ``frozen`` was made from; asked under the composition that it was frozen for.
        frozen: such as :func:`freeze_run` makes.
        part: ``train``, ``valid`` or ``test``.
    """
    data = run.dataset
    names = [task.name for task in run.inputs.tasks]
    columns = np.array([names.index(task.name) for task in frozen.tasks])
    rows = np.flatnonzero(data.cells(part)[:, columns].any(axis=1))
    cells_PQ = data.cells(part)[np.ix_(rows, columns)]
    w = weighted_composition(frozen.composition, names).to(run.feed.device)
    soft_PT = run.feed.predict(run.model, torch.from_numpy(rows), w).cpu().numpy()
    frozen_PQ = _answer(run, frozen, torch.from_numpy(rows)).cpu().numpy()
    soft = score_cells(data, soft_PT[:, columns], rows, cells_PQ, columns)
    hard = score_cells(data, frozen_PQ, rows, cells_PQ, columns)
    return FreezeGap(
        part=part,
        soft=soft.mean,
        frozen=hard.mean,
        tasks={
            name: {
                metric: value - hard.tasks[name][metric]
                for metric, value in values.items()
                if metric != "cells"
            }
            for name, values in soft.tasks.items()
        },
    )


def gap_table(found: FreezeGap, *, markdown: bool = False) -> str:
    """One row a metric."""
    rows: list[list[Cell]] = [
        [metric, found.soft[metric], found.frozen[metric], found.gap[metric]]
        for metric in found.soft
    ]
    return format_table(["metric", "composed", "frozen", "gap"], rows, digits=4, markdown=markdown)


def _answer(run: Run, frozen: FrozenModel, rows_P: Tensor) -> Tensor:
    feed = run.feed
    parts = []
    for rows in torch.split(rows_P, 512):
        with autocast(feed.precision, feed.device):
            parts.append(frozen(feed.table.gather(rows)).float())
    return torch.cat(parts)
