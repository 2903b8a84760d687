"""How fast does a bundle answer from prepared arrays on a provider, and are its answers right?

The padded form runs as the product runs it on a device: ``graphadapt.serve``'s engine, the weights
and the arrays of every bucket on the device, one CUDA graph for each. Beside it stands the merged
form as anyone would run it, by ``session.run``. Where no device is, the same code runs on the CPU
without recordings.

Two things are timed: one molecule after the other, and many at once, in the batches that the
product makes of them. ``copies`` says what a time holds. With ``there and back`` it begins with
arrays in the host's memory and ends with answers there; with ``none`` the arrays lie in their place
on the device already and the answers stay there.

Answers to the probe molecules are held against PyTorch's in float64, before anything is timed and
after all of it, so that every graph has been replayed between others; the bound is the bundle's.

Shapes: P probe molecules, W columns of answers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evidence.timing import alternate
from gpu.arrays import Arrays
from gpu.carried import CarriedBundle
from gpu.plan import COPIED, HELD, SuitePlan
from graphadapt.data.ragged import GraphColumns
from graphadapt.errors import DependencyError
from graphadapt.export.contract import MODEL_FILE, BundleContract
from graphadapt.serve.arranging import Arranged, Arranger
from graphadapt.serve.bundle_reader import Bundle
from graphadapt.serve.engine import Engine
from graphadapt.serve.provider_chain import open_chain
from graphadapt.serve.tuning import Tunings, default_tuning

__all__ = ["BARE", "OURS", "answer_rows"]

OURS, BARE = "graphadapt.serve", "session.run"

Answers = NDArray[np.floating[Any]]


class Way(Protocol):
    """A bundle, open on one provider."""

    name: str
    keeps_shapes: bool
    records: bool

    def ask(self, batch: Arranged) -> Answers:
        """Answers to the molecules of a batch, from the host's arrays."""

    def held(self, batch: Arranged) -> Callable[[], object] | None:
        """Answers the batch again without a copy; None where that cannot be."""

    def close(self) -> None:
        """End threads."""


class Product:
    """The padded form in the product's own engine."""

    name = OURS

    def __init__(self, bundle: Bundle, provider: str) -> None:
        contract = bundle.contract
        tunings = Tunings(default_tuning(contract), default_tuning(contract, on_cpu=False))
        self._engine = Engine(bundle, (provider,), tunings, strict=True, in_place=True)
        self.keeps_shapes = self._engine.keeps_shapes
        runs = self._engine.device
        self.records = runs is not None and runs.records and not self._engine.on_cpu

    def ask(self, batch: Arranged) -> Answers:
        found = self._engine.run(batch.inputs, "", alone=batch.alone, recurs=batch.recurs)
        return found[: len(batch.rows)]

    def held(self, batch: Arranged) -> Callable[[], object] | None:
        runs = self._engine.device
        if runs is None or not batch.recurs:
            return None
        return runs.hold(batch.inputs)

    def close(self) -> None:
        self._engine.close()


class Bare:
    """Any form as ONNX Runtime runs it without further ado."""

    name, keeps_shapes, records = BARE, False, False

    def __init__(self, bundle: Bundle, provider: str) -> None:
        half = bundle.contract.precision.name == "fp16"
        self._session = open_chain(bundle.model, (provider,), strict=True, half=half).session

    def ask(self, batch: Arranged) -> Answers:
        found = self._session.run(None, batch.inputs)
        return np.concatenate([each.reshape(len(found[0]), -1) for each in found], axis=1)

    def held(self, batch: Arranged) -> Callable[[], object] | None:
        return None

    def close(self) -> None:
        """There are no threads."""


def answer_rows(
    arrays: Arrays, carried: CarriedBundle, provider: str, plan: SuitePlan
) -> Iterator[dict[str, Any]]:
    """Rates of one bundle on one provider, and how far off its answers are.

    Args:
        arrays: molecules to answer.
        carried: the bundle.
        provider: by ONNX Runtime's name.
        plan: how many molecules, and how often.
    """
    contract = BundleContract.from_text(carried.contract)
    what = {
        "provider": provider,
        "form": contract.form,
        "precision": contract.precision.name,
    }
    bundle = Bundle(Path(), contract, {MODEL_FILE: carried.model})
    try:
        way: Way = (Product if contract.form == "padded" else Bare)(bundle, provider)
    except DependencyError as error:
        yield {**what, "skipped": str(error)}
        return
    with closing(way):
        yield from timed_rows(arrays, carried, contract, way, plan, what)


def timed_rows(
    arrays: Arrays,
    carried: CarriedBundle,
    contract: BundleContract,
    way: Way,
    plan: SuitePlan,
    what: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """One row for each thing that is timed; the error of all is in each."""
    arrange = arranger(contract, way)
    trials = [trial(carried, arrange, count) for count in (0, plan.probed)]
    first = max(largest_error(way, *each) for each in trials)
    rows = arrays.rows[: plan.stream]
    ones = [arrange(arrays.columns, row)[0] for row in rows[: plan.singles, None]]
    timed = [
        *one_rows(way, ones, plan),
        *many_rows(way, arrange(arrays.columns, rows), plan),
    ]
    error = max(first, *(largest_error(way, *each) for each in trials))
    allowed = contract.parity.allowed
    parity = {"error": error, "allowed": allowed, "holds": error <= allowed}
    for row in timed:
        yield {**what, "by": way.name, "graph": way.records, **row, **parity}


Arrange = Callable[..., list[Arranged]]


def arranger(contract: BundleContract, way: Way) -> Arrange:
    """``arrange(columns, rows, features)``: batches as the product makes them for a device."""
    size = default_tuning(contract, on_cpu=False).atoms_per_run
    make = Arranger(contract, size, 1, keeps_shapes=way.keeps_shapes)
    width = sum(block.width for block in contract.feature_blocks)

    def arrange(
        columns: GraphColumns,
        rows: NDArray[np.integer[Any]],
        features: NDArray[np.float32] | None = None,
    ) -> list[Arranged]:
        if features is None and width:  # how fast is the same whatever they are
            features = np.zeros((len(rows), width), np.float32)
        return list(make.arrange([columns.molecule(int(row)) for row in rows], features))

    return arrange


Trial = tuple[list[Arranged], Answers, Answers]


def trial(carried: CarriedBundle, arrange: Arrange, count: int) -> Trial:
    """Batches of the probe molecules, what is right, and its scale.

    Args:
        carried: the bundle.
        arrange: makes the batches.
        count: molecules, each probe several times: enough fill whole batches. 0 is each once.
    """
    rows = np.resize(np.arange(carried.probes.molecules), count or carried.probes.molecules)
    features = carried.features[rows] if carried.features.shape[1] else None
    batches = arrange(carried.probes, rows, features)
    return batches, carried.answers[rows], carried.scale[rows]


def largest_error(
    way: Way, batches: Sequence[Arranged], answers_PW: Answers, scale_PW: Answers
) -> float:
    """Of any answer, as a share of its scale; infinite if one is no number."""
    worst = 0.0
    for batch in batches:
        off = np.abs(way.ask(batch) - answers_PW[batch.rows]) / scale_PW[batch.rows]
        worst = max(worst, float(off.max()) if np.isfinite(off).all() else np.inf)
    return worst


def one_rows(way: Way, batches: Sequence[Arranged], plan: SuitePlan) -> Iterator[dict[str, Any]]:
    """Molecules one after the other, another one with every call; in place, one for each shape."""
    copied = cycle(batches)
    work: dict[str, Callable[[], object]] = {COPIED: lambda: way.ask(next(copied))}
    held = [again for batch in batches if (again := way.held(batch)) is not None]
    if len(held) == len(batches):
        in_place = cycle(held)
        work[HELD] = lambda: next(in_place)()
    for copies, timing in alternate(work, blocks=plan.blocks, repeats=plan.calls).items():
        yield {"batch": 1, "molecules": 1, "runs": 1, "copies": copies, **timing.row()}


def many_rows(way: Way, batches: Sequence[Arranged], plan: SuitePlan) -> Iterator[dict[str, Any]]:
    """Many molecules, run by run; what fits no bucket is copied all the same."""
    count = sum(len(batch.rows) for batch in batches)
    size = {
        "batch": max(len(batch.rows) for batch in batches),
        "molecules": count,
        "runs": len(batches),
    }
    work: dict[str, Callable[[], object]] = {COPIED: lambda: [way.ask(each) for each in batches]}
    runs = [way.held(each) or partial(way.ask, each) for each in batches]
    if way.keeps_shapes:
        work[HELD] = lambda: [run() for run in runs]
    for copies, timing in alternate(work, blocks=plan.blocks, repeats=plan.repeats).items():
        yield {**size, "copies": copies, **timing.row(count)}
