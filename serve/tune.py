"""Which session settings answer a bundle fastest on this machine, by trying them.

One setting after the other is varied from the best so far: all its values are open at once, timed
in turns so that a slow spell meets each, and another value takes over only where it is clearly
faster. Another value under which answers differ by more than the bundle's tolerance is out.

Shapes: G molecules, T tasks.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError, DataError
from graphadapt.export.contract import BundleContract
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.outcome import FeaturisedMolecule, feature_table
from graphadapt.molecules.parallel import featurise_many
from graphadapt.molecules.process_map import available_cores
from graphadapt.progress import Progress
from graphadapt.serve.bundle_reader import Bundle
from graphadapt.serve.predictor import Predictor
from graphadapt.serve.tuning import Tuning, default_tuning

__all__ = ["Sample", "Trial", "TuningPlan", "sample_of", "tune"]

_CLEARLY: Final = 1.03
"""Times that another value has to be faster to take over."""


class Sample(NamedTuple):
    """Molecules that a bundle is timed on, and what it reads of them."""

    molecules: Sequence[MoleculeArrays]
    features: NDArray[np.float32] | None

    def cut(self, start: int, stop: int) -> "Sample":
        """Some of them."""
        features = None if self.features is None else self.features[start:stop]
        return Sample(self.molecules[start:stop], features)


def sample_of(contract: BundleContract, smiles: Sequence[str], count: int) -> Sample:
    """So many molecules of those that can be read, over and over where there are fewer.

    The user's own columns are filled by chance.

    Raises:
        DataError: if none can be read.
    """
    random = np.random.default_rng(0)
    columns = {name: random.normal(size=len(smiles)).tolist() for name in contract.own_columns}
    outcomes = featurise_many(smiles, contract.feature_blocks, columns=columns, processes=1)
    found = [each for each in outcomes if isinstance(each, FeaturisedMolecule)]
    if not found:
        raise DataError(f"none of {len(smiles)} molecules can be read; give at least one that can")
    found = list(islice(cycle(found), count))
    return Sample([each.arrays for each in found], feature_table(found))


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningPlan:
    """How long to try.

    Raises:
        ConfigError: if there is nothing to time.
    """

    blocks: int = 7
    """Turns of every value."""

    singles: int = 24
    """Molecules that are answered one by one in a turn."""

    together: int = 512
    """Molecules that are answered together in a turn."""

    def __post_init__(self) -> None:
        if min(self.blocks, self.singles, self.together) < 1:
            raise ConfigError(f"{self} times nothing; use 1 or more of each")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One value of one setting, tried beside the others."""

    answers: str
    """``one`` molecule at a time, or ``many`` together."""

    setting: str
    value: str
    milliseconds: float
    """Of one molecule."""

    difference: float
    """Largest of any answer from the default settings', as a share of its task's largest."""

    taken: bool
    """Whether it goes on into what is tried next."""


class _Step(NamedTuple):
    answers: str
    setting: str
    values: tuple[Any, ...]

    def applied(self, tuning: Tuning, value: Any) -> Tuning:
        """The tuning with one value of this setting."""
        if self.answers == "one":
            return replace(tuning, one=replace(tuning.one, **{self.setting: value}))
        if self.setting == "workers":
            threads = max(1, available_cores() // value)
            return replace(tuning, workers=value, many=replace(tuning.many, threads=threads))
        if self.setting == "atoms_per_run":
            return replace(tuning, atoms_per_run=value)
        return replace(tuning, many=replace(tuning.many, **{self.setting: value}))


def tune(
    bundle: Bundle, sample: Sample, plan: TuningPlan | None = None, *, shown: bool = False
) -> tuple[Tuning, list[Trial]]:
    """Find the fastest settings on the CPU.

    Args:
        bundle: to be tuned.
        sample: of molecules like those that it will answer, at least one.
        plan: how long to try.
        shown: whether progress is shown.

    Returns:
        The fastest settings, and everything that was tried.
    """
    plan = plan or TuningPlan()
    sample = sample.cut(0, max(plan.singles, plan.together))
    tuning, trials = default_tuning(bundle.contract), list[Trial]()
    with Predictor(bundle, tuning=tuning) as predictor:
        expected_GT = predictor.answer(*sample)
    steps = _steps(tuning)
    with Progress(len(steps), "tune", shown=shown) as progress:
        for step in steps:
            tuning, found = _tried(bundle, step, tuning, sample, plan, expected_GT)
            trials += found
            progress.update(1, f"{step.answers}: {step.setting}")
    return tuning, trials


def _steps(default: Tuning) -> list[_Step]:
    """What is varied, in this order; each with the default's value among the others."""
    halvings = [available_cores() // 2**power for power in range(available_cores().bit_length())]
    threads = tuple(sorted({1, *halvings}))
    levels, switch = ("all", "extended", "basic"), (True, False)
    atoms = tuple(int(default.atoms_per_run * share) for share in (0.5, 1, 2, 4))
    return [
        _Step("one", "threads", threads),
        _Step("one", "optimisation", levels),
        _Step("one", "arena", switch),
        _Step("many", "workers", threads),
        _Step("many", "atoms_per_run", atoms),
        _Step("many", "optimisation", levels),
        _Step("many", "arena", switch),
    ]


def _tried(
    bundle: Bundle,
    step: _Step,
    tuning: Tuning,
    sample: Sample,
    plan: TuningPlan,
    expected_GT: NDArray[np.float32],
) -> tuple[Tuning, list[Trial]]:
    """Time all values of one setting; the tuning with the best of them."""
    candidates = {value: step.applied(tuning, value) for value in step.values}
    with ExitStack() as stack:
        opened = {
            value: stack.enter_context(Predictor(bundle, tuning=each))
            for value, each in candidates.items()
        }
        pieces = list(_pieces(step.answers, sample, plan))
        off = {value: _off(each, pieces, expected_GT) for value, each in opened.items()}
        seconds = _timed(opened, pieces, plan.blocks)
    before = next((value for value in candidates if candidates[value] == tuning), step.values[0])
    parity = bundle.contract.parity
    allowed = max(parity.allowed, 2 * parity.largest_error)
    sound = [value for value in candidates if value == before or off[value] <= allowed]
    best = _clearly_fastest(before, {value: seconds[value] for value in sound})
    trials = [
        Trial(
            answers=step.answers,
            setting=step.setting,
            value=str(value),
            milliseconds=1e3 * statistics.median(seconds[value]),
            difference=off[value],
            taken=value == best,
        )
        for value in candidates
    ]
    return candidates[best], trials


def _timed(
    opened: Mapping[Any, Predictor], pieces: Sequence[Sample], blocks: int
) -> dict[Any, list[float]]:
    """Seconds a molecule of every value in every block; each block starts with another value."""
    values = list(opened)
    found: dict[Any, list[float]] = {value: [] for value in values}
    for block in range(blocks):
        first = block % len(values)
        for value in values[first:] + values[:first]:
            found[value].append(_turn(opened[value], pieces))
    return found


def _turn(predictor: Predictor, pieces: Sequence[Sample]) -> float:
    """Seconds a molecule, after a call that is not timed."""
    predictor.answer(*pieces[0])
    start = time.perf_counter()
    for piece in pieces:
        predictor.answer(*piece)
    return (time.perf_counter() - start) / sum(len(piece.molecules) for piece in pieces)


def _pieces(answers: str, sample: Sample, plan: TuningPlan) -> Iterator[Sample]:
    """What is asked in a turn."""
    if answers == "many":
        yield sample.cut(0, plan.together)
        return
    for place in range(min(plan.singles, len(sample.molecules))):
        yield sample.cut(place, place + 1)


def _clearly_fastest(before: Any, seconds: dict[Any, list[float]]) -> Any:
    """The value that gains most on the one before, block by block, if it gains enough."""
    gains = {
        value: statistics.median(a / b for a, b in zip(seconds[before], found, strict=True))
        for value, found in seconds.items()
    }
    best = max(gains, key=lambda value: gains[value])
    return best if gains[best] >= _CLEARLY else before


def _off(predictor: Predictor, pieces: Sequence[Sample], expected_GT: NDArray[np.float32]) -> float:
    """Largest difference as a share of the task's largest answer; infinite for what is no number.

    What is no number by the default settings either tells nothing.
    """
    answers_GT = np.concatenate([predictor.answer(*piece) for piece in pieces])
    expected_GT = expected_GT[: len(answers_GT)]
    sound_GT = np.isfinite(expected_GT)
    scale_T = np.where(sound_GT, np.abs(expected_GT), 0.0).max(axis=0)
    off_GT = np.abs(answers_GT - expected_GT) / np.where(scale_T > 0, scale_T, 1.0)
    largest = np.where(sound_GT, off_GT, 0.0).max(initial=0.0)
    return float(largest) if np.isfinite(largest) else float("inf")
