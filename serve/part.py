"""Some molecules of a request on their way: read, looked up, answered, put back in order.

Shapes: G molecules of the part, W numbers of an answer, T tasks, M molecule features.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.store import TaskInfo
from graphadapt.molecules.outcome import FeaturisedMolecule, Outcome, feature_table
from graphadapt.serve.answer_cache import AnswerCache, molecule_key

__all__ = ["Part", "Predictions"]

_NOT_FINITE = "the model's answer is not a finite number"


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers in the order of the molecules."""

    tasks: tuple[TaskInfo, ...]
    values: NDArray[np.float32]
    """(G, T): probabilities of binary tasks, values in the task's units of regression tasks; NaN
    for a molecule that could not be answered."""

    failures: Mapping[int, str] = field(default_factory=dict)
    """Position of each molecule that could not be answered, and why."""

    applicability: NDArray[np.float32] | None = None
    """(G,), in [0, 1], where the bundle gives it: the share of training molecules that lie at least
    as far from their centre; NaN for a molecule that could not be answered."""

    @classmethod
    def joined(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Answers of at least one part, behind each other."""
        if len(parts) == 1:
            return parts[0]
        failures: dict[int, str] = {}
        start = 0
        for part in parts:
            failures |= {start + place: text for place, text in part.failures.items()}
            start += len(part.values)
        figures = [part.applicability for part in parts if part.applicability is not None]
        return cls(
            parts[0].tasks,
            np.concatenate([part.values for part in parts]),
            failures,
            np.concatenate(figures) if figures else None,
        )


class Part:
    """What is known so far of some molecules asked of one bundle.

    Args:
        count: G.
        width: W.
        texts: key of each given text, where answers are remembered.
        cache: where they are.
    """

    def __init__(
        self,
        count: int,
        width: int,
        texts: Sequence[Hashable] = (),
        cache: AnswerCache | None = None,
    ) -> None:
        self._values = np.full((count, width), np.nan, np.float32)
        self._failures: dict[int, str] = {}
        self._texts, self._cache = texts, cache
        self._structures: dict[int, bytes] = {}
        self.waiting: list[int] = list(range(count))
        """Places of the molecules that are still to be read."""
        self.rows: list[int] = []
        """Places of the molecules that are to be answered by a run."""
        self.molecules: list[FeaturisedMolecule] = []
        """Those molecules."""
        if cache is not None:
            self._fill(self.waiting, cache.by_text(texts))
            self.waiting = [row for row in self.waiting if np.isnan(self._values[row, 0])]

    def read(
        self,
        outcomes: Mapping[int, Outcome],
        problems: Mapping[int, str],
        structures: Mapping[int, bytes],
    ) -> None:
        """Take what became of the texts that were waiting.

        Args:
            outcomes: of the molecules, by place.
            problems: why some of them cannot be answered.
            structures: digest of each molecule's structure, where answers are remembered.
        """
        self._failures |= problems
        found = {
            row: outcome
            for row, outcome in outcomes.items()
            if row not in problems and isinstance(outcome, FeaturisedMolecule)
        }
        if self._cache is not None:
            self._structures = {row: molecule_key(structures[row], found[row]) for row in found}
            keys = [self._texts[row] for row in found]
            known = self._cache.by_structure(keys, list(self._structures.values()))
            self._fill(list(found), known)
            found = {row: each for row, each in found.items() if np.isnan(self._values[row, 0])}
        self.waiting = []
        self.rows, self.molecules = list(found), list(found.values())

    def features(self) -> NDArray[np.float32] | None:
        """Features of the molecules that are to be answered, (G, M); None where there are none."""
        return feature_table(self.molecules)

    def put(self, places: NDArray[np.int64], answers_GW: NDArray[np.float32]) -> None:
        """Take the answers to some of ``molecules``; what is no number is a failure."""
        rows = [self.rows[place] for place in places.tolist()]
        finite_GW = np.isfinite(answers_GW)
        if not finite_GW.all():
            sound_G = np.asarray(finite_GW.all(axis=1))
            self._failures |= {rows[place]: _NOT_FINITE for place in np.flatnonzero(~sound_G)}
            rows = [row for row, sound in zip(rows, sound_G.tolist(), strict=True) if sound]
            answers_GW = answers_GW[sound_G]
        self._values[rows] = answers_GW
        if self._cache is not None:
            structures = [self._structures[row] for row in rows]
            self._cache.remember([self._texts[row] for row in rows], structures, answers_GW)

    def predictions(self, tasks: tuple[TaskInfo, ...]) -> Predictions:
        """Everything, once every run has been put."""
        values, count = self._values, len(tasks)
        figures = values[:, count] if values.shape[1] > count else None
        return Predictions(tasks, values[:, :count], self._failures, figures)

    def _fill(self, rows: Sequence[int], answers: Sequence[NDArray[np.float32] | None]) -> None:
        for row, answer in zip(rows, answers, strict=True):
            if answer is not None:
                self._values[row] = answer
