"""Answers for SMILES from a bundle: featurise, batch by size, run, put back in order.

Shapes: G molecules, M molecule features, T tasks.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.store import TaskInfo
from graphadapt.errors import ConfigError, DataError
from graphadapt.export.collate import Inputs, inputs_for, largest_degree
from graphadapt.export.contract import ANSWERS
from graphadapt.export.session import CPU, open_session
from graphadapt.molecules.featurise import MoleculeArrays
from graphadapt.molecules.outcome import FeaturisedMolecule, Outcome
from graphadapt.molecules.parallel import featurise_many
from graphadapt.serve.batches import batches_by_size
from graphadapt.serve.bundle_reader import read_bundle

__all__ = ["ATOMS_PER_RUN", "Arranged", "Predictions", "Predictor"]

ATOMS_PER_RUN = 1024
"""Atoms in one run on a CPU; more gain nothing, and fewer can be shared out."""

_ATOMS_PER_DEVICE_RUN = 16_384
"""Atoms in one run elsewhere, where a run costs the same whether it is full or not."""

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


class Arranged(NamedTuple):
    """One batch, ready to run."""

    rows: NDArray[np.int64]
    """Positions of its molecules."""

    inputs: Inputs
    alone: bool
    """Whether there is no other batch to share the threads with."""


class Predictor:
    """A bundle, open and ready to answer.

    Molecules are shared out by batches, and each batch is run by one thread. So threads never wait
    for each other within a batch, which a busy machine would punish, and an answer does not depend
    on their number.

    Args:
        folder: of a bundle.
        providers: ONNX Runtime's providers, the preferred first; default is the CPU.
        threads: that answer at the same time; default is one for each core on the CPU.
        atoms_per_run: atoms in one batch; default depends on the provider.

    Raises:
        BundleError: if the bundle cannot be trusted.
        DependencyError: if ONNX Runtime or a provider does not work.
        ConfigError: if ``threads`` or ``atoms_per_run`` is below 1.
    """

    def __init__(
        self,
        folder: str | Path,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        *,
        atoms_per_run: int | None = None,
    ) -> None:
        bundle = read_bundle(folder)
        self.contract = bundle.contract
        asked = tuple(providers or (CPU,))
        on_cpu = asked[0] == CPU
        self.threads = threads if threads is not None else (_cores() if on_cpu else 1)
        default = ATOMS_PER_RUN if on_cpu and self._reads_graphs else _ATOMS_PER_DEVICE_RUN
        self.atoms_per_run = atoms_per_run if atoms_per_run is not None else default
        if min(self.threads, self.atoms_per_run) < 1:
            raise ConfigError(
                f"threads={self.threads} and atoms_per_run={self.atoms_per_run} must be at least 1"
            )
        self._session = open_session(bundle.model, asked)
        self.providers = tuple(self._session.get_providers())
        """What the session really runs on."""
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    @property
    def tasks(self) -> tuple[TaskInfo, ...]:
        """What is answered, in the order of the columns."""
        return self.contract.tasks

    def predict(
        self, smiles: Sequence[str], columns: Mapping[str, Sequence[float]] | None = None
    ) -> Predictions:
        """Answer every task for every SMILES; a molecule that cannot be read fails alone.

        Args:
            smiles: any number of molecules.
            columns: the user's own feature columns, where the model reads them, each as long as
                ``smiles``.

        Raises:
            DataError: if a column is missing or not as long as ``smiles``.
        """
        self._check_columns(columns or {})
        blocks = self.contract.feature_blocks
        outcomes = featurise_many(smiles, blocks, columns=columns, processes=1)
        return self.predict_outcomes(list(outcomes))

    def predict_outcomes(self, outcomes: Sequence[Outcome]) -> Predictions:
        """Answer molecules that were featurised elsewhere, with the bundle's feature blocks."""
        failures: dict[int, str] = {}
        rows, molecules = [], []
        for row, outcome in enumerate(outcomes):
            problem = self._problem(outcome)
            if problem:
                failures[row] = problem
            elif isinstance(outcome, FeaturisedMolecule):
                rows.append(row)
                molecules.append(outcome)
        values = np.full((len(outcomes), len(self.tasks)), np.nan, np.float32)
        if rows:
            answers = self.answer([each.arrays for each in molecules], self._features(molecules))
            unusable = np.flatnonzero(~np.isfinite(answers).all(axis=1))
            answers[unusable] = np.nan
            values[rows] = answers
            failures |= {rows[place]: _NOT_FINITE for place in unusable.tolist()}
        return Predictions(self.tasks, values, failures)

    def answer(
        self, molecules: Sequence[MoleculeArrays], features_GM: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Answer featurised molecules, ``(G, T)``.

        Args:
            molecules: any number; none has more bonds at an atom than the bundle takes.
            features_GM: one row a molecule, if the model reads features.
        """
        return self.run(self._arranged(molecules, features_GM), len(molecules))

    def arrange(
        self, molecules: Sequence[MoleculeArrays], features_GM: NDArray[np.float32] | None = None
    ) -> list[Arranged]:
        """Only the first half of :meth:`answer`: the model's inputs, batch by batch."""
        return list(self._arranged(molecules, features_GM))

    def run(self, batches: Iterable[Arranged], count: int) -> NDArray[np.float32]:
        """Only the second half of :meth:`answer`: run the batches of ``count`` molecules."""
        answers = np.empty((count, len(self.tasks)), np.float32)
        for rows, found in self._results(iter(batches)):
            answers[rows] = found
        return answers

    def _arranged(
        self, molecules: Sequence[MoleculeArrays], features_GM: NDArray[np.float32] | None
    ) -> Iterator[Arranged]:
        sizes = [len(each.atoms) for each in molecules]
        batches = batches_by_size(sizes, self.atoms_per_run, self.threads)
        for rows in batches:
            features = None if features_GM is None else features_GM[rows]
            chosen = [molecules[row] for row in rows]
            merge = sum(sizes[row] for row in rows) >= self.contract.merge_from
            inputs = inputs_for(self.contract.reads, chosen, features, merge=merge)
            yield Arranged(rows, inputs, alone=len(batches) == 1)

    def _results(
        self, batches: Iterator[Arranged]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Run batches on the pool while the next ones are arranged; few are in flight."""
        flying: deque[tuple[NDArray[np.int64], Future[NDArray[np.float32]]]] = deque()
        for batch in batches:
            if self._pool is None or batch.alone:
                yield batch.rows, _run(self._session, batch.inputs)
                continue
            flying.append((batch.rows, self._pool.submit(_run, self._session, batch.inputs)))
            if len(flying) > 4 * self.threads:
                rows, future = flying.popleft()
                yield rows, future.result()
        for rows, future in flying:
            yield rows, future.result()

    @property
    def _reads_graphs(self) -> bool:
        return self.contract.reads != ("features",)

    def _problem(self, outcome: Outcome) -> str:
        """Why a molecule cannot be answered; empty if it can."""
        if isinstance(outcome, DataError):
            return str(outcome)
        bonds = largest_degree(outcome.arrays)
        if self._reads_graphs and bonds > self.contract.most_bonds:
            return f"an atom has {bonds} bonds; the model takes at most {self.contract.most_bonds}"
        return ""

    def _features(self, molecules: Sequence[FeaturisedMolecule]) -> NDArray[np.float32] | None:
        if not self.contract.feature_blocks:
            return None
        rows = [np.concatenate(each.features, dtype=np.float32) for each in molecules]
        return np.stack(rows)

    def _check_columns(self, columns: Mapping[str, Sequence[float]]) -> None:
        own = self.contract.own_columns
        missing = [name for name in own if name not in columns]
        if missing:
            raise DataError(
                f"the model reads the feature columns {', '.join(own)}; "
                f"missing: {', '.join(missing)}"
            )


def _run(session: Any, inputs: Inputs) -> NDArray[np.float32]:
    answers: NDArray[np.float32] = session.run([ANSWERS.name], inputs)[0]
    return answers


def _cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
