"""Molecules with labels as a reader found them, before they are checked and featurised.

Shapes: G molecules, T tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.names import choose_names
from graphadapt.data.ragged import GraphColumns
from graphadapt.data.store import TaskInfo, TaskKind

__all__ = ["UNPARSABLE", "MoleculeSource", "Rejected", "detect_kind"]

UNPARSABLE: Final = "unparsable SMILES"
"""Reason of a rejected row that is no molecule."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row, or one label of a row, that is not used as it was written."""

    row: int
    """Row of the source, as :attr:`MoleculeSource.row_numbers` counts."""

    smiles: str
    reason: str
    """Few words that are counted together, such as ``unparsable SMILES``."""

    task: str = ""
    """The label's task; empty when the whole row is meant."""

    detail: str = ""
    """What is particular to this row."""


@dataclass(frozen=True, kw_only=True)
class MoleculeSource:
    """What every reader returns and ``prepare`` takes."""

    name: str
    """Where the molecules come from, for messages and the record."""

    smiles: list[str]
    labels: NDArray[np.float32]
    """``(G, T)``, NaN where there is none."""

    tasks: tuple[TaskInfo, ...]
    row_numbers: NDArray[np.int64]
    """``(G,)`` row of each molecule in its file, from 1."""

    split: NDArray[np.uint8] | None = None
    """``(G, T)`` codes of the source's own split, if it has one."""

    split_name: str = "official"
    """What the source's own split is called."""

    metric: str | None = None
    """``rocauc``, ``ap`` or ``rmse`` where the source prescribes one."""

    flags: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """``(G, T)`` marks of cells, such as ``cliff``."""

    columns: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """``(G,)`` molecule-level features of the user's own."""

    graphs: GraphColumns | None = None
    """Ready-made graphs, used instead of those of the SMILES."""

    curated: bool = False
    """A published set: rows stay one for one, duplicates and rows without label included."""

    rejected: tuple[Rejected, ...] = ()
    """What the reader could not use."""

    warnings: tuple[str, ...] = ()
    """What the user should know about the reading."""

    def __len__(self) -> int:
        return len(self.smiles)

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in the order of the label columns."""
        return [task.name for task in self.tasks]

    def take(self, rows: NDArray[np.integer]) -> "MoleculeSource":
        """The molecules at ``rows`` only, in that order."""
        return replace(
            self,
            smiles=[self.smiles[row] for row in rows.tolist()],
            labels=self.labels[rows],
            row_numbers=self.row_numbers[rows],
            split=None if self.split is None else self.split[rows],
            flags={name: flag_GT[rows] for name, flag_GT in self.flags.items()},
            columns={name: column_G[rows] for name, column_G in self.columns.items()},
            graphs=None if self.graphs is None else self.graphs.take(rows),
        )

    def choose_tasks(self, names: Sequence[str]) -> "MoleculeSource":
        """The named tasks only; molecules that lose every label stay.

        Raises:
            DataError: for a name that is no task, with the nearest.
        """
        chosen = choose_names(names, self.task_names, f"task of {self.name}")
        return replace(
            self,
            labels=self.labels[:, chosen],
            tasks=tuple(self.tasks[index] for index in chosen),
            split=None if self.split is None else self.split[:, chosen],
            flags={name: flag_GT[:, chosen] for name, flag_GT in self.flags.items()},
        )


def detect_kind(labels_G: NDArray[np.float32]) -> TaskKind:
    """``binary`` if every label is 0 or 1 (no label at all included), else ``regression``."""
    binary = np.isnan(labels_G) | (labels_G == 0) | (labels_G == 1)
    return "binary" if binary.all() else "regression"
