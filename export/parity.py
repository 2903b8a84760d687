"""Proof that an exported file answers like the frozen model: many runs against one truth.

Shapes: G graphs of a batch, P probe molecules, M molecule features, T tasks.

A race between threads shows only now and then. So every batch size is run many times at every
number of threads, each time with other molecules of the probe set, equal atoms merged or not, and
each answer is compared.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError
from graphadapt.export.collate import Inputs, inputs_for
from graphadapt.export.contract import ANSWERS, TOLERANCE, Parity
from graphadapt.export.probes import PROBES
from graphadapt.export.reference import Reference
from graphadapt.export.session import CPU, open_session
from graphadapt.freeze import FrozenModel
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import MoleculeArrays
from graphadapt.molecules.outcome import FeaturisedMolecule
from graphadapt.molecules.parallel import featurise_many
from graphadapt.progress import Progress

__all__ = ["BATCH_SIZES", "ParityPlan", "Probes", "prove_parity", "thread_counts"]

BATCH_SIZES = (1, 16, 32, 64, 256)

_DRAWS = 16
"""Different batches of each size; a run takes one of them in turn."""


def thread_counts() -> tuple[int, ...]:
    """1, 2 and all threads of this machine, without repetition."""
    return tuple(sorted({1, 2, os.cpu_count() or 1}))


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityPlan:
    """How thoroughly to compare."""

    repeats: int = 10
    """Runs of each batch size at each number of threads; a full proof takes 200."""

    batch_sizes: tuple[int, ...] = BATCH_SIZES
    threads: tuple[int, ...] = ()
    """Empty means :func:`thread_counts`."""

    tolerance: float = TOLERANCE


class Probes:
    """The probe molecules as arrays, with features where the model reads them.

    Args:
        blocks: feature blocks of the model; the user's own columns are filled by chance.
    """

    def __init__(self, blocks: Sequence[FeatureBlock] = ()) -> None:
        random = np.random.default_rng(0)
        names = [name for block in blocks if block.kind == "columns" for name in block.columns]
        columns = {name: random.normal(size=len(PROBES)).tolist() for name in names}
        outcomes = list(featurise_many(PROBES, blocks, columns=columns, processes=1))
        found = [each for each in outcomes if isinstance(each, FeaturisedMolecule)]
        self.molecules = [each.arrays for each in found]
        self.features: NDArray[np.float32] | None = None
        if blocks:
            self.features = np.stack([np.concatenate(each.features) for each in found])
            self.features = self.features.astype(np.float32)

    def take(
        self, rows: NDArray[np.integer]
    ) -> tuple[list[MoleculeArrays], NDArray[np.float32] | None]:
        """Some of the molecules, and their features."""
        chosen = [self.molecules[row] for row in rows]
        return chosen, None if self.features is None else self.features[rows]


def prove_parity(
    frozen: FrozenModel,
    model: bytes,
    reads: Sequence[str],
    probes: Probes,
    plan: ParityPlan | None = None,
    *,
    shown: bool = False,
) -> Parity:
    """Compare an exported file with the frozen model in float64.

    The error of an answer is taken as a share of the largest answer in the same units over all
    probes. Some networks lose more than the tolerance to float32 itself, in PyTorch as anywhere;
    then twice what PyTorch loses is allowed.

    Args:
        frozen: what was exported.
        model: content of the ONNX file.
        reads: names of its inputs.
        probes: molecules to try it on.
        plan: how often, at which sizes and threads.
        shown: whether progress is shown.

    Raises:
        BundleError: if any answer is further off.
    """
    plan = plan or ParityPlan()
    threads = plan.threads or thread_counts()
    truth_PT = Reference(frozen).answer(probes.molecules, probes.features)
    float32_PT = Reference(frozen, torch.float32).answer(probes.molecules, probes.features)
    scale_T = _scales(frozen.tasks, truth_PT)
    float32_error = _error(float32_PT, truth_PT, scale_T)
    batches = {size: list(_batches(size, plan.repeats, reads, probes)) for size in plan.batch_sizes}
    worst = 0.0
    with Progress(len(threads) * len(batches), "parity", shown=shown) as progress:
        for count in threads:
            session = open_session(model, (CPU,), count)
            for size in plan.batch_sizes:
                runs = islice(cycle(batches[size]), plan.repeats)
                worst = max(worst, _largest_error(session, runs, truth_PT, scale_T))
                progress.update(status=f"largest error {worst:.1e}")
    if not worst <= max(plan.tolerance, 2 * float32_error):
        raise BundleError(
            f"the exported model is off by {worst:.2e} of the answers' scale, more than "
            f"{plan.tolerance:.0e} (PyTorch in float32: {float32_error:.2e}); nothing was written"
        )
    return Parity(
        largest_error=worst,
        tolerance=plan.tolerance,
        float32_error=float32_error,
        repeats=plan.repeats,
        batch_sizes=plan.batch_sizes,
        threads=threads,
        molecules=len(probes.molecules),
        provider=CPU,
    )


Batch = tuple[NDArray[np.int64], Inputs]
"""Which probes, (G,), and their arrays."""


def _batches(size: int, repeats: int, reads: Sequence[str], probes: Probes) -> Iterator[Batch]:
    random = np.random.default_rng(size)
    for draw in range(min(repeats, _DRAWS)):
        rows = random.choice(len(probes.molecules), size, replace=size > len(probes.molecules))
        yield rows, inputs_for(reads, *probes.take(rows), merge=draw % 2 == 0)


def _largest_error(
    session: Any,
    runs: Iterable[Batch],
    truth_PT: NDArray[np.float64],
    scale_T: NDArray[np.float64],
) -> float:
    """Over all runs."""
    return max(
        _error(session.run([ANSWERS.name], inputs)[0], truth_PT[rows], scale_T)
        for rows, inputs in runs
    )


def _error(
    answers_GT: NDArray[np.floating], truth_GT: NDArray[np.float64], scale_T: NDArray[np.float64]
) -> float:
    """Largest difference as a share of the scale; infinite if any is not a number."""
    off_GT = np.abs(answers_GT - truth_GT) / scale_T
    return float(off_GT.max()) if np.isfinite(off_GT).all() else np.inf


def _scales(tasks: Sequence[TaskInfo], truth_PT: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest answer in each task's units; 1 where all are zero."""
    largest: dict[tuple[str, str], float] = {}
    units = [(task.kind, task.units) for task in tasks]
    for unit, answers_P in zip(units, truth_PT.T, strict=True):
        largest[unit] = max(largest.get(unit, 0.0), float(np.abs(answers_P).max()))
    return np.array([largest[unit] or 1.0 for unit in units])
