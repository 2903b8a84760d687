"""Proof that an exported file answers like the frozen model: many runs against one truth.

Shapes: G graphs of a batch, P probe molecules, A atoms and B bonds of one, M molecule features,
T tasks.

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

_ORDINARY_ATOMS = 64
"""Atoms of the largest molecule that counts as ordinary."""

_NUMBERINGS = 8
"""Orders of the atoms in which the frozen model is tried in float32."""


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

    def renumbered(self, random: np.random.Generator) -> list[MoleculeArrays]:
        """The same molecules with their atoms and bonds in another order."""
        return [_shuffled(molecule, random) for molecule in self.molecules]


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
    probes, or over ordinary ones where the molecule is one: a chain of 200 atoms, to which a
    network may answer in the millions, excuses nothing elsewhere. Some networks lose more than the
    tolerance to float32 itself, in PyTorch as anywhere; then twice what PyTorch loses is allowed,
    over several numberings of the atoms, because that loss depends on them.

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
    scale_PT = _scales(frozen.tasks, truth_PT, [len(each.atoms) for each in probes.molecules])
    float32_error = _float32_error(frozen, probes, truth_PT, scale_PT)
    batches = {size: list(_batches(size, plan.repeats, reads, probes)) for size in plan.batch_sizes}
    worst = 0.0
    with Progress(len(threads) * len(batches), "parity", shown=shown) as progress:
        for count in threads:
            session = open_session(model, (CPU,), count)
            for size in plan.batch_sizes:
                runs = islice(cycle(batches[size]), plan.repeats)
                worst = max(worst, _largest_error(session, runs, truth_PT, scale_PT))
                progress.update(status=f"largest error {worst:.1e}")
    if not worst <= max(plan.tolerance, 2 * float32_error) or worst == np.inf:
        raise BundleError(
            f"the exported model is off by {worst:.2e} of the answers' scale, more than "
            f"{plan.tolerance:.0e} (PyTorch in float32: {float32_error:.2e}), so nothing was "
            "written; a network that rounding upsets so much needs more training or fewer layers"
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


def _shuffled(molecule: MoleculeArrays, random: np.random.Generator) -> MoleculeArrays:
    place_A = random.permutation(len(molecule.atoms))
    order_B = random.permutation(len(molecule.bonds))
    bonds_B2 = place_A[molecule.bonds[order_B]].astype(molecule.bonds.dtype)
    return MoleculeArrays(
        molecule.atoms[np.argsort(place_A)], bonds_B2, molecule.bond_features[order_B]
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
    scale_PT: NDArray[np.float64],
) -> float:
    """Over all runs."""
    return max(
        _error(session.run([ANSWERS.name], inputs)[0], truth_PT[rows], scale_PT[rows])
        for rows, inputs in runs
    )


def _float32_error(
    frozen: FrozenModel,
    probes: Probes,
    truth_PT: NDArray[np.float64],
    scale_PT: NDArray[np.float64],
) -> float:
    """The frozen model's own, the largest over numberings of the atoms."""
    model, random = Reference(frozen, torch.float32), np.random.default_rng(0)
    orders = [probes.molecules, *(probes.renumbered(random) for _ in range(_NUMBERINGS - 1))]
    return max(
        _error(model.answer(molecules, probes.features), truth_PT, scale_PT) for molecules in orders
    )


def _error(
    answers_GT: NDArray[np.floating], truth_GT: NDArray[np.float64], scale_GT: NDArray[np.float64]
) -> float:
    """Largest difference as a share of the scale; infinite if any is not a number."""
    off_GT = np.abs(answers_GT - truth_GT) / scale_GT
    return float(off_GT.max()) if np.isfinite(off_GT).all() else np.inf


def _scales(
    tasks: Sequence[TaskInfo], truth_PT: NDArray[np.float64], atoms_P: Sequence[int]
) -> NDArray[np.float64]:
    """Largest answer in each task's units, of an ordinary molecule over such; 1 for all zeros."""
    units = [(task.kind, task.units) for task in tasks]
    is_ordinary_P = np.asarray(atoms_P) <= _ORDINARY_ATOMS
    scale_PT = np.zeros_like(truth_PT)
    for unit in set(units):
        columns = np.flatnonzero([other == unit for other in units])
        for members_P in (np.ones_like(is_ordinary_P), is_ordinary_P):
            group = np.ix_(members_P, columns)
            scale_PT[group] = np.abs(truth_PT[group]).max(initial=0.0)
    return np.where(scale_PT > 0, scale_PT, 1.0)
