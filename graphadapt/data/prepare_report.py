"""What became of a source: molecules and cells per task and split, and rejects by reason."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from graphadapt.data.names import listed_names
from graphadapt.data.source import Rejected
from graphadapt.data.split import SPLIT_CODES, TRAIN
from graphadapt.data.store import GraphStore, TaskKind

__all__ = ["PrepareReport", "TaskCount", "report_on"]

_SHOWN_TASKS: Final = 40
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
            yield f"features: {kind}, {width:,} columns"
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
    tasks = tuple(_task_counts(store))
    return PrepareReport(
        store=str(store.folder),
        source=store.source,
        molecules=len(store),
        unlabelled=int(np.isnan(store.labels_float()).all(axis=1).sum()),
        split=str(store.settings["split"]),
        features={block.kind: store.features([block]).shape[1] for block in store.feature_blocks},
        tasks=tasks,
        rejected_rows=_by_reason(each for each in rejected if not each.task),
        rejected_labels=_by_reason(each for each in rejected if each.task),
        warnings=(*warnings, *_task_warnings(store, tasks)),
    )


def _by_reason(rejected: Iterator[Rejected]) -> dict[str, int]:
    return dict(Counter(each.reason for each in rejected).most_common())


def _task_counts(store: GraphStore) -> Iterator[TaskCount]:
    split_GT = np.asarray(store.split)
    labels_GT = store.labels_float()
    cells = {name: (split_GT == code).sum(0).tolist() for name, code in SPLIT_CODES.items()}
    labelled = (~np.isnan(labels_GT)).sum(0).tolist()
    positives = (labels_GT == 1).sum(0).tolist()
    for index, task in enumerate(store.tasks):
        parts = {name: counts[index] for name, counts in cells.items()}
        yield TaskCount(
            task.name,
            task.kind,
            task.units,
            **parts,
            unused=labelled[index] - sum(parts.values()),
            positives=positives[index] if task.kind == "binary" else None,
        )


def _task_warnings(store: GraphStore, tasks: Sequence[TaskCount]) -> Iterator[str]:
    """Tasks that cannot be learnt as they are."""
    labels_GT, train_GT = store.labels_float(), store.cells(TRAIN)
    zeros_T = ((labels_GT == 0) & train_GT).any(0)
    ones_T = ((labels_GT == 1) & train_GT).any(0)
    untrained = [task.name for task in tasks if not task.train]
    one_class = [
        task.name
        for index, task in enumerate(tasks)
        if task.kind == "binary" and task.train and zeros_T[index] != ones_T[index]
    ]
    if untrained:
        yield f"{len(untrained)} of {len(tasks)} tasks without training label: " + listed_names(
            untrained
        )
    if one_class:
        yield (
            f"{len(one_class)} of {len(tasks)} tasks with one class only among their training "
            f"labels: {listed_names(one_class)}"
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
