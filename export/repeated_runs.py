"""One exported file run over and over, each answer held against a known one. No torch.

Shapes: G graphs of a batch, P probe molecules, S of them to draw from, T columns: one a task, and
one more for each further output of the model.

A race between threads shows only now and then. So every batch size is run many times at every
number of threads, each time with other molecules of the probe set, equal atoms merged or not, and
each answer is compared.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError, ConfigError
from graphadapt.export.collate import Inputs, inputs_for
from graphadapt.export.parity_record import TOLERANCE
from graphadapt.export.probes import Probes
from graphadapt.export.session import CPU, open_session, reason_of, runtime_failures
from graphadapt.molecules.process_map import available_cores
from graphadapt.progress import Progress

__all__ = [
    "BATCH_SIZES",
    "ORDINARY_ATOMS",
    "Ask",
    "OpenFile",
    "ParityPlan",
    "Truth",
    "answers_of",
    "largest_error",
    "opener",
    "probe_batches",
    "share_off",
    "thread_counts",
    "truth_of",
]

BATCH_SIZES = (1, 16, 32, 64, 256)

_MISFITS = ("Fail", "InvalidArgument", "NotImplemented", "RuntimeException")
"""What ONNX Runtime raises where a model and its arrays do not go together."""

_DRAWS = 16
"""Different batches of each size; a run takes one of them in turn."""

ORDINARY_ATOMS = 64
"""Atoms of the largest molecule that counts as ordinary."""

Ask = Callable[[Inputs], NDArray[np.floating[Any]]]
"""From arrays to answers, (G, T)."""

OpenFile = Callable[[int], Ask]
"""Opens a file for inference on a number of threads."""

Batch = tuple[NDArray[np.int64], Inputs]
"""Which probes, (G,), and their arrays."""


def thread_counts() -> tuple[int, ...]:
    """1, 2 and as many as this process has cores, without repetition."""
    return tuple(sorted({1, 2, available_cores()}))


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityPlan:
    """How thoroughly to compare.

    Raises:
        ConfigError: for a plan that runs nothing.
    """

    repeats: int = 10
    """Runs of each batch size at each number of threads; a full proof takes 200."""

    batch_sizes: tuple[int, ...] = BATCH_SIZES
    threads: tuple[int, ...] = ()
    """Empty means :func:`thread_counts`."""

    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if not self.batch_sizes or min(self.repeats, *self.batch_sizes, *self.threads) < 1:
            raise ConfigError(
                f"{self.repeats} repeats of batches of {self.batch_sizes} molecules on "
                f"{self.threads} threads compare nothing; use at least one of each"
            )


class Truth(NamedTuple):
    """What is right, and what counts as large."""

    answers: NDArray[np.float64]
    """(P, T)."""

    scale: NDArray[np.float64]
    """(P, T): a difference counts as a share of it."""


def truth_of(tasks: Sequence[TaskInfo], answers_PT: NDArray[np.float64], probes: Probes) -> Truth:
    """Known answers with their scale.

    The scale is the largest answer in the same units over all probes, or over ordinary ones where
    the molecule is one: a chain of 200 atoms, to which a network may answer in the millions,
    excuses nothing elsewhere. It is 1 where every answer is zero, and in columns after the tasks.
    """
    atoms_P = [len(each.atoms) for each in probes.molecules]
    return Truth(answers_PT, _scales(tasks, answers_PT, atoms_P))


def opener(
    model: bytes, outputs: Sequence[str], open_options: Callable[[], Any] | None = None
) -> OpenFile:
    """How to open a model on the CPU.

    Args:
        model: content of the ONNX file.
        outputs: names of its outputs.
        open_options: of every run, such as the active adapter; none by default.
    """

    def open_file(threads: int) -> Ask:
        session = open_session(model, (CPU,), threads)
        options = None if open_options is None else open_options()
        return partial(answers_of, session, tuple(outputs), options)

    return open_file


def answers_of(
    session: Any, outputs: Sequence[str], options: Any, inputs: Inputs
) -> NDArray[np.floating[Any]]:
    """Every output of one run, side by side, ``(G, T)``.

    Raises:
        BundleError: if the model cannot be run on them, with the first line of why.
    """
    try:
        found = session.run(list(outputs), inputs, options)
    except runtime_failures(*_MISFITS) as error:
        reason = reason_of(error)
        raise BundleError(f"the model fails on molecules to be answered: {reason}") from error
    return np.concatenate([each.reshape(len(found[0]), -1) for each in found], axis=1)


def largest_error(
    open_file: OpenFile,
    reads: Sequence[str],
    probes: Probes,
    truth: Truth,
    plan: ParityPlan,
    *,
    shown: bool = False,
) -> float:
    """The largest share of the scale that any answer of any run is off by; infinite for NaN."""
    threads = plan.threads or thread_counts()
    batches = {
        size: list(probe_batches(size, plan.repeats, reads, probes)) for size in plan.batch_sizes
    }
    worst = 0.0
    with Progress(len(threads) * len(batches), "parity", shown=shown) as progress:
        for count in threads:
            ask = open_file(count)
            for size in plan.batch_sizes:
                runs = islice(cycle(batches[size]), plan.repeats)
                worst = max(worst, _largest_error(ask, runs, truth))
                progress.update(status=f"largest error {worst:.1e}")
    return worst


def probe_batches(
    size: int,
    repeats: int,
    reads: Sequence[str],
    probes: Probes,
    among_S: NDArray[np.integer[Any]] | None = None,
) -> Iterator[Batch]:
    """As many different batches as there are runs, but at most 16; the same in every call.

    Equal atoms are merged in every other one. A molecule is twice in a batch only where there are
    fewer than it holds.

    Args:
        size: molecules of a batch, G.
        repeats: runs.
        reads: names of the model's inputs.
        probes: molecules to draw from.
        among_S: which of them; all by default.
    """
    random, eligible = np.random.default_rng(size), np.arange(len(probes.molecules))
    if among_S is not None:
        eligible = eligible[among_S]
    for draw in range(min(repeats, _DRAWS)):
        rows = random.choice(eligible, size, replace=size > len(eligible))
        yield rows, inputs_for(reads, *probes.take(rows), merge=draw % 2 == 0)


def share_off(
    answers_GT: NDArray[np.floating[Any]], truth_GT: NDArray[np.float64], scale_GT: Any
) -> float:
    """Largest difference as a share of the scale; infinite for what is no number, or too few."""
    if answers_GT.shape != truth_GT.shape:
        return np.inf
    off_GT = np.abs(answers_GT - truth_GT) / scale_GT
    return float(off_GT.max()) if np.isfinite(off_GT).all() else np.inf


def _largest_error(ask: Ask, runs: Iterable[Batch], truth: Truth) -> float:
    """Over all runs."""
    return max(
        share_off(ask(inputs), truth.answers[rows], truth.scale[rows]) for rows, inputs in runs
    )


def _scales(
    tasks: Sequence[TaskInfo], truth_PT: NDArray[np.float64], atoms_P: Sequence[int]
) -> NDArray[np.float64]:
    """Largest answer in each task's units, of an ordinary molecule over such; 1 for all zeros."""
    units = [(task.kind, task.units) for task in tasks]
    is_ordinary_P = np.asarray(atoms_P) <= ORDINARY_ATOMS
    scale_PT = np.zeros_like(truth_PT)
    for unit in set(units):
        columns = np.flatnonzero([other == unit for other in units])
        for members_P in (np.ones_like(is_ordinary_P), is_ordinary_P):
            group = np.ix_(members_P, columns)
            scale_PT[group] = np.abs(truth_PT[group]).max(initial=0.0)
    return np.where(scale_PT > 0, scale_PT, 1.0)
