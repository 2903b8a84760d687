"""What became of a source: molecules and cells per task and split, and rejects by reason.

Shapes: G molecules, T tasks. The store is counted a stretch of molecules at a time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.names import listed_names
from graphadapt.data.source import Rejected
from graphadapt.data.split import SPLIT_CODES, TRAIN
from graphadapt.data.store import GraphStore, TaskKind

__all__ = ["PrepareReport", "TaskCount", "report_on"]

_SHOWN_TASKS: Final = 40
_STRETCH: Final = 4096
_PARTS: Final = (*SPLIT_CODES, "unused")


@dataclass(frozen=True, slots=True)
class TaskCount:
    """Labelled cells of one task."""

    name: str
    kind: TaskKind
    units: str
    train: int
    valid: int
    test: int
    unused: int
    positives: int | None
    """Cells labelled 1; None for a regression."""

    @property
    def cells(self) -> tuple[int, int, int, int]:
        """Labelled cells that train, validate, test, and take no part."""
        return self.train, self.valid, self.test, self.unused


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareReport:
    """Everything ``prepare`` has to tell."""

    store: str
    source: str
    molecules: int
    unlabelled: int
    """Molecules without any label, which only published and unlabelled sets keep."""

    split: str
    features: dict[str, int]
    """Width of every feature block by kind."""

    tasks: tuple[TaskCount, ...]
    rejected_rows: dict[str, int]
    """Rows that were left out or merged, by reason."""

    rejected_labels: dict[str, int]
    """Single labels that were left out, by reason."""

    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """A table for people; of more than 40 tasks the first 40 and a sum."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.molecules:,} molecules from {self.source} in {self.store}"
        if self.unlabelled:
            yield f"{self.unlabelled:,} of them without any label"
        for kind, width in self.features.items():
            yield f"features: {kind}, {width:,} column{'' if width == 1 else 's'}"
        if self.tasks:
            yield f"split: {self.split}"
            yield ""
            yield from _table(self.tasks)
        for title, counts in (("rows", self.rejected_rows), ("labels", self.rejected_labels)):
            if counts:
                yield ""
                yield f"{title} left out (see rejected.csv):"
                yield from (f"  {number:>9,}  {reason}" for reason, number in counts.items())


def report_on(
    store: GraphStore, rejected: Sequence[Rejected], warnings: Sequence[str]
) -> PrepareReport:
    """Count a finished store."""
    counts = _counted(store)
    tasks = tuple(_task_counts(store, counts))
    return PrepareReport(
        store=str(store.folder),
        source=store.source,
        molecules=len(store),
        unlabelled=counts.unlabelled,
        split=str(store.settings["split"]),
        features={block.kind: store.features([block]).shape[1] for block in store.feature_blocks},
        tasks=tasks,
        rejected_rows=_by_reason(each for each in rejected if not each.task),
        rejected_labels=_by_reason(each for each in rejected if each.task),
        warnings=(*warnings, *_task_warnings(tasks, counts, str(store.settings["split"]))),
    )


@dataclass
class _Counts:
    """Sums over molecules, ``(T,)`` each."""

    cells: dict[str, NDArray[np.int64]]
    """Labelled cells by part."""

    labelled: NDArray[np.int64]
    positives: NDArray[np.int64]
    zeros: NDArray[np.int64]
    training_zeros: NDArray[np.int64]
    training_ones: NDArray[np.int64]
    unlabelled: int = 0
    """Molecules without any label."""


def _counted(store: GraphStore) -> _Counts:
    nothing = np.zeros(len(store.tasks), np.int64)
    sums = _Counts(dict.fromkeys(SPLIT_CODES, nothing), nothing, nothing, nothing, nothing, nothing)
    for start in range(0, len(store), _STRETCH):
        rows = np.arange(start, min(start + _STRETCH, len(store)))
        labels_GT, split_GT = store.labels_float(rows), np.asarray(store.split[rows])
        labelled_GT, training_GT = ~np.isnan(labels_GT), split_GT == TRAIN
        sums.cells = {
            name: sums.cells[name] + (split_GT == code).sum(0) for name, code in SPLIT_CODES.items()
        }
        sums.labelled = sums.labelled + labelled_GT.sum(0)
        sums.positives = sums.positives + (labels_GT == 1).sum(0)
        sums.zeros = sums.zeros + (labels_GT == 0).sum(0)
        sums.training_zeros = sums.training_zeros + ((labels_GT == 0) & training_GT).sum(0)
        sums.training_ones = sums.training_ones + ((labels_GT == 1) & training_GT).sum(0)
        sums.unlabelled += int((~labelled_GT.any(1)).sum())
    return sums


def _by_reason(rejected: Iterator[Rejected]) -> dict[str, int]:
    return dict(Counter(each.reason for each in rejected).most_common())


def _task_counts(store: GraphStore, counts: _Counts) -> Iterator[TaskCount]:
    for index, task in enumerate(store.tasks):
        parts = {name: int(cells[index]) for name, cells in counts.cells.items()}
        yield TaskCount(
            task.name,
            task.kind,
            task.units,
            **parts,
            unused=int(counts.labelled[index]) - sum(parts.values()),
            positives=int(counts.positives[index]) if task.kind == "binary" else None,
        )


def _one_class(tasks: Sequence[TaskCount], counts: _Counts) -> list[str]:
    """Yes-or-no tasks whose training labels, or all labels if none trains, are of one class."""
    trains_T = counts.cells["train"] > 0
    zeros_T = np.where(trains_T, counts.training_zeros, counts.zeros)
    ones_T = np.where(trains_T, counts.training_ones, counts.positives)
    one_class_T = (zeros_T > 0) != (ones_T > 0)
    return [
        task.name
        for task, is_so in zip(tasks, one_class_T.tolist(), strict=True)
        if task.kind == "binary" and is_so
    ]


def _task_warnings(tasks: Sequence[TaskCount], counts: _Counts, split: str) -> Iterator[str]:
    """Tasks that cannot be learnt as they are."""
    untrained = [task.name for task in tasks if not task.train]
    one_class = _one_class(tasks, counts)
    if untrained:
        hint = "; molecules of one scaffold stay together, so try --split random"
        yield (
            f"{len(untrained)} of {len(tasks)} tasks without training label: "
            f"{listed_names(untrained)}{hint if split == 'scaffold' else ''}"
        )
    if one_class:
        yield (
            f"{len(one_class)} of {len(tasks)} tasks with one class only among their training "
            f"labels (all labels, where none trains): {listed_names(one_class)}"
        )


def _table(tasks: Sequence[TaskCount]) -> Iterator[str]:
    """A header, one line a task and their sum; columns that say nothing are left out."""
    shown = tasks[:_SHOWN_TASKS]
    sums = dict(
        zip(_PARTS, map(sum, zip(*(task.cells for task in tasks), strict=True)), strict=True)
    )
    columns = [
        _column("task", [task.name for task in shown], "all tasks"),
        _column("kind", [task.kind for task in shown]),
        *(
            _column(part, [f"{getattr(task, part):,}" for task in shown], f"{sums[part]:,}")
            for part in _PARTS
            if part != "unused" or sums[part]
        ),
        _column("positive", [_positives(task) for task in shown]),
        _column("units", [task.units for task in shown]),
    ]
    lines = ["  ".join(cells).rstrip() for cells in zip(*filter(None, columns), strict=True)]
    yield from lines if len(tasks) > 1 else lines[:-1]
    if len(tasks) > len(shown):
        yield f"{len(tasks) - len(shown)} more tasks are in the sum; --json lists all"


def _positives(task: TaskCount) -> str:
    return "" if task.positives is None else f"{task.positives:,}"


def _column(title: str, cells: Sequence[str], total: str = "") -> list[str]:
    """Cells of one width, numbers to the right; no cells if all are blank."""
    if not any(cells):
        return []
    width = max(map(len, (title, *cells, total)))
    is_number = all(cell.replace(",", "").isdigit() for cell in cells if cell)
    pad = str.rjust if is_number else str.ljust
    return [pad(cell, width) for cell in (title, *cells, total)]
