"""The part of a prepared store that one run sees: its tasks, labels and split.

Shapes: G molecules, T tasks. Missing labels are NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from graphadapt.config import DataConfig
from graphadapt.data.split import TEST, TRAIN, VALID, carve_validation
from graphadapt.data.store import GraphStore, TaskInfo
from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureBlock

__all__ = ["Dataset"]

PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Chosen tasks of a store, with a validation part."""

    store: GraphStore
    tasks: tuple[TaskInfo, ...]
    labels: NDArray[np.float32]
    """(G, T) in original units."""

    split: NDArray[np.uint8]
    """(G, T), the part of every labelled cell."""

    flags: Mapping[str, NDArray[np.bool_]]
    """(G, T) marks by name, such as ``cliff``."""

    @classmethod
    def select(cls, store: GraphStore, config: DataConfig, seed: int) -> "Dataset":
        """Take the configured tasks; carve validation cells where the split has none.

        Raises:
            DataError: if a task does not exist, one has no training cell, or there is no task.
        """
        if not store.tasks:
            raise DataError(
                f"{store.folder} has no task to train; prepare a table that has a column of labels"
            )
        columns = _columns([task.name for task in store.tasks], config.tasks)
        labels = store.labels_float()[:, columns]
        split = carve_validation(
            np.asarray(store.split)[:, columns], config.validation_fraction, seed
        )
        tasks = tuple(store.tasks[column] for column in columns)
        empty = [t.name for t, n in zip(tasks, (split == TRAIN).sum(axis=0), strict=True) if not n]
        if empty:
            raise DataError(
                f"no training label for {', '.join(empty)}; leave them out with data.tasks, or "
                "prepare again with another split"
            )
        flags = {name: np.asarray(store.flags(name))[:, columns] for name in store.flag_names}
        return cls(store, tasks, labels, split, flags)

    @property
    def is_binary(self) -> NDArray[np.bool_]:
        """(T,) whether each task is a yes or no."""
        return np.array([task.kind == "binary" for task in self.tasks])

    def cells(self, part: str) -> NDArray[np.bool_]:
        """(G, T) labelled cells of ``train``, ``valid`` or ``test``."""
        if part not in PARTS:
            raise DataError(f"no part {part!r} of a split; parts are {', '.join(PARTS)}")
        return self.split == PARTS[part]

    def rows(self, part: str) -> NDArray[np.int64]:
        """Molecules that hold a cell of a part, ascending."""
        return np.flatnonzero(self.cells(part).any(axis=1))

    def labels_of(self, part: str) -> NDArray[np.float32]:
        """(G, T) labels of one part, NaN elsewhere."""
        return np.where(self.cells(part), self.labels, np.float32(np.nan))

    def feature_blocks(self, kinds: Sequence[str]) -> tuple[FeatureBlock, ...]:
        """The store's blocks of these kinds, in the order asked for.

        Raises:
            DataError: if the store was prepared without one of them.
        """
        return tuple(self.store.feature_block(kind) for kind in kinds)


def _columns(known: Sequence[str], wanted: Sequence[str]) -> list[int]:
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"tasks are {', '.join(known)}"
            raise DataError(f"no task {name!r} in the store; {hint}")
    return [known.index(name) for name in wanted] or list(range(len(known)))
