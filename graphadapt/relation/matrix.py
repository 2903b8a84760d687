"""The task relation matrix as a checked value that saves, loads and lists its edges.

Axes: T tasks, E directed edges (2 per related pair).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import CheckpointError, DataError

__all__ = ["Relation", "strongest_neighbours"]

FORMAT = 1
TIE = 1e-9  # rounding noise of a correlation; a closer pair counts as equally strong


@dataclass(frozen=True, eq=False)
class Relation:
    """How strongly every pair of tasks is related.

    Raises:
        DataError: if a matrix has another shape than (T, T), or ``weights`` is not symmetric,
            leaves [0, 1] or has a nonzero diagonal.
    """

    weights: NDArray[np.float32]
    """(T, T) in [0, 1], symmetric, zero diagonal: what prior, sampler and regulariser read."""

    signed: NDArray[np.float32]
    """(T, T) in [-1, 1] before clipping and pruning, for inspection; 0 where undefined."""

    overlap: NDArray[np.int32]
    """(T, T) co-measured molecules behind each value; 0 where labels played no part."""

    kind: str
    """The construction that made it."""

    task_names: tuple[str, ...]
    """T names, in the order of rows and columns."""

    def __post_init__(self) -> None:
        shape = (len(self.task_names),) * 2
        for name in ("weights", "signed", "overlap"):
            given = getattr(self, name).shape
            if given != shape:
                raise DataError(f"relation.{name} has shape {given}; {shape[0]} tasks need {shape}")
        self._check_weights()

    def _check_weights(self) -> None:
        if not np.array_equal(self.weights, self.weights.T):
            raise DataError("relation weights are not symmetric; average each pair of entries")
        if not ((self.weights >= 0) & (self.weights <= 1)).all():
            raise DataError("relation weights leave [0, 1]; clip or rescale them")
        if np.diagonal(self.weights).any():
            raise DataError("relation weights have a nonzero diagonal; no task neighbours itself")

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Source, target and weight of every nonzero entry, both directions, each ``(E,)``."""
        source_E, target_E = np.nonzero(self.weights)
        return source_E, target_E, self.weights[source_E, target_E]

    def save(self, folder: Path) -> None:
        """Write ``relation.npz`` and ``relation.json`` into ``folder``, made if absent."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "relation.npz.part").open("wb") as file:
            np.savez_compressed(
                file, weights=self.weights, signed=self.signed, overlap=self.overlap
            )
        os.replace(folder / "relation.npz.part", folder / "relation.npz")
        about = {"format": FORMAT, "kind": self.kind, "tasks": list(self.task_names)}
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (folder / "relation.json.part").write_text(text + "\n", encoding="utf-8")
        os.replace(folder / "relation.json.part", folder / "relation.json")

    @classmethod
    def load(cls, folder: Path) -> "Relation":
        """Read what :meth:`save` wrote.

        Raises:
            CheckpointError: if a file is absent, damaged or of a newer format.
        """
        try:
            about = json.loads((folder / "relation.json").read_text(encoding="utf-8"))
            version = about["format"]
            if version != FORMAT:
                raise CheckpointError(
                    f"{folder} holds relation format {version!r}; this version reads {FORMAT}"
                )
            # np.load leaves a damaged file open, so it is opened here
            with (folder / "relation.npz").open("rb") as file:
                columns = np.load(file, allow_pickle=False)
                weights, signed, overlap = (columns[n] for n in ("weights", "signed", "overlap"))
            return cls(weights, signed, overlap, about["kind"], tuple(about["tasks"]))
        except CheckpointError:
            raise
        except (OSError, EOFError, BadZipFile, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{folder} holds no readable relation matrix ({error}); save it again"
            ) from error

    @classmethod
    def from_weights(
        cls, weights_TT: NDArray[np.float32], kind: str, task_names: Sequence[str]
    ) -> "Relation":
        """A relation that no labels were used for: ``signed`` equals ``weights``."""
        overlap_TT = np.zeros(weights_TT.shape, np.int32)
        return cls(weights_TT, weights_TT, overlap_TT, kind, tuple(task_names))


def strongest_neighbours(weights_TT: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Keep the strongest entries of every row, then every pair that either end kept.

    So a task may end with more than ``count`` neighbours: those that chose it. Entries as strong
    as the last one kept are kept too, so that the order of the tasks never matters.

    Args:
        weights_TT: symmetric, not negative.
        count: m, entries kept per row before symmetrising, at least 1.
    """
    if count >= len(weights_TT):
        return weights_TT
    weakest_T1 = -np.partition(-weights_TT, count - 1, axis=1)[:, count - 1 : count]
    kept_TT = np.where(weights_TT >= weakest_T1 - TIE, weights_TT, 0.0)
    return np.maximum(kept_TT, kept_TT.T)
