"""Answers for SMILES from a bundle: featurise, batch by size, run, put back in order.

Shapes: G molecules, M molecule features, T tasks.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.store import TaskInfo
from graphadapt.errors import DataError
from graphadapt.export.collate import largest_degree
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.outcome import Outcome
from graphadapt.serve.answer_cache import AnswerCache
from graphadapt.serve.arranging import Arranged, Arranger
from graphadapt.serve.bundle_reader import Bundle, read_bundle
from graphadapt.serve.engine import Engine
from graphadapt.serve.part import Part, Predictions
from graphadapt.serve.provider_chain import provider_chain
from graphadapt.serve.reader import (
    WINDOW,
    Columns,
    Read,
    Reader,
    columns_at,
    columns_between,
    listed_columns,
    listed_texts,
    windows,
)
from graphadapt.serve.tuning import Tuning, Tunings, chosen_tunings
from graphadapt.serve.workers import Call, Workers

__all__ = ["Answered", "Predictor"]

_ATOMS: Final = 32
"""Of a molecule, about: where runs are large, so many more are read that there is one a thread."""


class Answered(NamedTuple):
    """What one run gave."""

    part: Part
    places: NDArray[np.int64]
    answers: NDArray[np.float32]
    is_last: bool
    """Of its part."""


class Predictor:
    """A bundle, open and ready to answer; any number of threads may ask it at once.

    Molecules are shared out by batches, and each batch is run by one thread. So threads never wait
    for each other within a batch, which a busy machine would punish, and an answer depends on their
    number by no more than rounding.

    Args:
        bundle: folder of a bundle, or one that was read.
        providers: ``cpu``, ``cuda``, ``tensorrt``, ``gpu`` (CUDA, else the CPU) or ONNX Runtime's
            own names, the preferred first; default is the CPU.
        threads: that answer at the same time; default is what was tuned, else one for each core on
            the CPU.
        atoms_per_run: atoms in one batch; default is what was tuned, else depends on the provider.
        strict: whether the first provider has to serve; otherwise the next of the chain does.
        cache: answers that are remembered; default none.
        tuning: settings in the place of those in ``tuning.json`` beside the bundle.
        workers: threads to share with other predictors, in the place of ``threads``.

    Raises:
        BundleError: if the bundle cannot be trusted.
        DependencyError: if ONNX Runtime or a provider does not work.
        ConfigError: if a setting cannot work.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        *,
        atoms_per_run: int | None = None,
        strict: bool = False,
        cache: int = 0,
        tuning: Tuning | None = None,
        workers: Workers | None = None,
    ) -> None:
        bundle = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
        self.contract = bundle.contract
        threads = threads if workers is None else workers.threads
        tunings, aside = chosen_tunings(bundle, tuning)
        tunings = Tunings(*(each.insisting(threads, atoms_per_run) for each in tunings))
        self._engine = Engine(bundle, provider_chain(providers), tunings, strict=strict)
        self.remarks = (*(aside if self._engine.on_cpu else ()), *self._engine.passed_over)
        """What the user should know: providers that do not serve, a tuning that was left aside."""
        self.tuning = tuning = self._engine.tuning
        """The settings in use."""
        self.providers = self._engine.providers
        """What the session really runs on."""
        self.cache = AnswerCache(cache) if cache else None
        self._own_workers = workers is None
        self._workers = workers or Workers(tuning.workers)
        self._reader = Reader([self.contract.feature_blocks], with_structures=cache > 0)
        self._arranger = Arranger(
            self.contract,
            tuning.atoms_per_run,
            self.threads if self._engine.on_cpu else 1,
            keeps_shapes=self._engine.keeps_shapes,
        )
        self._window = max(WINDOW, self.threads * tuning.atoms_per_run // _ATOMS)

    @property
    def tasks(self) -> tuple[TaskInfo, ...]:
        """What is answered, in the order of the columns."""
        return self.contract.tasks

    @property
    def threads(self) -> int:
        """That answer at the same time."""
        return self._workers.threads

    @property
    def atoms_per_run(self) -> int:
        """Atoms in one batch."""
        return self.tuning.atoms_per_run

    @property
    def compositions(self) -> tuple[str, ...]:
        """Names of the mixes that can be asked for, of the adapters form; empty in the others."""
        return self._engine.compositions

    def predict(
        self,
        smiles: Iterable[str],
        columns: Mapping[str, Iterable[float]] | None = None,
        *,
        composition: str | None = None,
    ) -> Predictions:
        """Answer every task for every SMILES; a molecule that cannot be read fails alone.

        Reading goes on while what was read is answered.

        Args:
            smiles: any number of molecules.
            columns: the user's own feature columns, where the model reads them, each as long as
                ``smiles``.
            composition: name of the mix to answer by, in the adapters form; default is the first.

        Raises:
            DataError: if a column is missing or not as long as ``smiles``, or that is one text.
            ConfigError: if there is no such composition.
        """
        texts = listed_texts(smiles)
        own = listed_columns(columns, self.contract.own_columns, len(texts))
        mix = self._engine.composition(composition)
        cuts = windows(len(texts), self._window)
        parts = (
            self._part_of_texts(texts[start:stop], columns_between(own, start, stop), mix)
            for start, stop in cuts
        )
        return Predictions.joined(list(self._answered(parts, mix, alone=len(cuts) == 1)))

    def predict_outcomes(
        self, outcomes: Sequence[Outcome], *, composition: str | None = None
    ) -> Predictions:
        """Answer molecules that were featurised elsewhere, with the bundle's feature blocks.

        Args:
            outcomes: any number, errors among them.
            composition: name of the mix to answer by.

        Raises:
            ConfigError: if there is no such composition.
        """
        mix = self._engine.composition(composition)
        (predictions,) = self._answered([self._part_of_outcomes(outcomes)], mix, alone=True)
        return predictions

    def predict_parts(
        self, parts: Iterable[Sequence[Outcome]], *, composition: str | None = None
    ) -> Iterator[Predictions]:
        """Answer a stream of featurised molecules, part by part and in order.

        The next parts are taken while those before are answered, a few batches ahead at most, so
        memory does not grow with the stream.

        Args:
            parts: molecules whose answers are given together.
            composition: name of the mix to answer by.

        Raises:
            ConfigError: if there is no such composition.
        """
        mix = self._engine.composition(composition)
        return self._answered((self._part_of_outcomes(each) for each in parts), mix, alone=False)

    def answer(
        self,
        molecules: Sequence[MoleculeArrays],
        features_GM: NDArray[np.float32] | None = None,
        *,
        composition: str | None = None,
    ) -> NDArray[np.float32]:
        """Answer featurised molecules, ``(G, T)``.

        Args:
            molecules: any number; none has more bonds at an atom than the bundle takes.
            features_GM: one row a molecule, if the model reads features.
            composition: name of the mix to answer by.

        Raises:
            DataError: if features are missing or of another shape, or an atom has too many bonds.
            ConfigError: if there is no such composition.
        """
        batches = self._arranger.arrange(molecules, features_GM)
        return self.run(batches, len(molecules), composition=composition)

    def arrange(
        self, molecules: Sequence[MoleculeArrays], features_GM: NDArray[np.float32] | None = None
    ) -> list[Arranged]:
        """Only the first half of :meth:`answer`: the model's inputs, batch by batch."""
        return list(self._arranger.arrange(molecules, features_GM))

    def run(
        self, batches: Iterable[Arranged], count: int, *, composition: str | None = None
    ) -> NDArray[np.float32]:
        """Only the second half of :meth:`answer`: run the batches of ``count`` molecules.

        Molecules that no batch holds are answered by NaN.
        """
        mix = self._engine.composition(composition)
        answers = np.full((count, len(self.tasks)), np.nan, np.float32)
        calls = (Call(partial(self._run, each, mix), alone=each.alone) for each in batches)
        for rows, found in self._workers.each(calls):
            answers[rows] = found[:, : len(self.tasks)]
        return answers

    def close(self) -> None:
        """End the predictor's own threads; what is in flight is answered first."""
        if self._own_workers:
            self._workers.close()
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def composition(self, name: str | None = None) -> str:
        """The composition that is meant; the first where none is named, "" in other forms.

        Raises:
            ConfigError: that lists those that exist.
        """
        return self._engine.composition(name)

    def open_part(self, texts: Sequence[str], columns: Columns, mix: str) -> Part:
        """A part of a request, with the answers that are remembered already."""
        own = [columns[name] for name in self.contract.own_columns]
        keys: list[Hashable] = list(zip([mix] * len(texts), texts, *own, strict=True))
        return Part(len(texts), self._engine.width, keys, self.cache)

    def fill_part(self, part: Part, read: Read, mix: str) -> None:
        """Take what became of the texts that the part was waiting for."""
        rows = part.waiting
        outcomes = dict(zip(rows, read.outcomes, strict=True))
        structures = {}
        if self.cache is not None:
            named = [mix.encode() + b"|" + each for each in read.structures]
            structures = dict(zip(rows, named, strict=True))
        part.read(outcomes, self._problems(outcomes), structures)

    def calls(self, part: Part, mix: str, *, alone: bool) -> Iterator[Call[Answered]]:
        """The runs that a part needs; one without any molecules if it needs none.

        Args:
            part: read.
            mix: the composition.
            alone: whether nothing else is asked beside it.
        """
        if not part.molecules:
            nothing = np.zeros(0, np.int64), np.zeros((0, self._engine.width), np.float32)
            yield Call(partial(Answered, part, *nothing, True), alone=True)
            return
        arrays = [each.arrays for each in part.molecules]
        for batch in self._arranger.arrange(arrays, part.features()):
            batch = batch._replace(alone=batch.alone and alone)
            yield Call(partial(self._answer, part, batch, mix), alone=batch.alone)

    def _answered(self, parts: Iterable[Part], mix: str, *, alone: bool) -> Iterator[Predictions]:
        calls = (call for part in parts for call in self.calls(part, mix, alone=alone))
        for done in self._workers.each(calls):
            done.part.put(done.places, done.answers)
            if done.is_last:
                yield done.part.predictions(self.tasks)

    def _answer(self, part: Part, batch: Arranged, mix: str) -> Answered:
        return Answered(part, *self._run(batch, mix), batch.is_last)

    def _run(self, batch: Arranged, mix: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        found = self._engine.run(batch.inputs, mix, alone=batch.alone, recurs=batch.recurs)
        return batch.rows, found[: len(batch.rows)]  # the rest stands for nothing

    def _part_of_texts(self, texts: Sequence[str], columns: Columns, mix: str) -> Part:
        part = self.open_part(texts, columns, mix)
        if len(part.waiting) == len(texts):
            self.fill_part(part, self._reader.read(texts, columns), mix)
        elif part.waiting:
            waiting = [texts[row] for row in part.waiting]
            self.fill_part(part, self._reader.read(waiting, columns_at(columns, part.waiting)), mix)
        return part

    def _part_of_outcomes(self, outcomes: Sequence[Outcome]) -> Part:
        part, by_row = Part(len(outcomes), self._engine.width), dict(enumerate(outcomes))
        part.read(by_row, self._problems(by_row), {})
        return part

    def _problems(self, outcomes: Mapping[int, Outcome]) -> dict[int, str]:
        """Why some molecules cannot be answered."""
        found = {row: self._problem(outcome) for row, outcome in outcomes.items()}
        return {row: problem for row, problem in found.items() if problem}

    def _problem(self, outcome: Outcome) -> str:
        if isinstance(outcome, DataError):
            return str(outcome)
        if self.contract.reads == ("features",):
            return ""
        most = self.contract.most_bonds
        if len(outcome.arrays.bonds) <= most:
            return ""
        bonds = largest_degree(outcome.arrays)
        return f"an atom has {bonds} bonds; the model takes at most {most}" if bonds > most else ""
