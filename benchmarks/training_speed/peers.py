"""Full fine-tuning by graphadapt and by other libraries, on the same batches in turns."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch

from evidence.timing import Timing, alternate, ratio
from graphadapt.data.store import GraphStore
from graphadapt.progress import track
from peers.dgl_batch import dgl_training
from peers.geometric import geometric_training
from peers.training import LabelledGraphs, PeerSettings, PeerTraining
from peers.weights import copy_weights
from training_speed.own_training import OwnTraining, several
from training_speed.plan import Plan

__all__ = ["BEST", "FLOAT32", "LIBRARIES", "REDUCED", "peer_rows"]

LIBRARIES: Mapping[str, Callable[..., PeerTraining]] = {
    "PyTorch Geometric": geometric_training,
    "dgl.batch": dgl_training,
}
OURS = "graphadapt"
WRITTEN, TUNED = "as written", "best settings"

FLOAT32, BEST = "all in float32", "all in their best precision"
REDUCED = "ours in bfloat16, theirs in float32"

SAME = 1e-4
"""Most that a peer's answers may differ from ours, as a share of the largest."""


class Way(NamedTuple):
    """One library at one of its settings."""

    library: str
    setting: str
    precision: str


def peer_rows(plan: Plan, store: GraphStore) -> Iterator[dict[str, Any]]:
    """Rates of every way at every batch size, then how many times faster ours is."""
    for batch in track(plan.batches, len(plan.batches), "peers"):
        with tempfile.TemporaryDirectory() as folder:
            found = timed(plan, store, batch, Path(folder))
        place = {"batch": batch, "threads": plan.threads}
        for way, timing in found.items():
            yield {**place, **way._asdict(), **timing.row(pieces=plan.batches[0])}
        for row in comparisons(found):
            yield {**place, **row}


def timed(plan: Plan, store: GraphStore, batch: int, folder: Path) -> dict[Way, Timing]:
    """Seconds that every way takes for as many molecules as the largest batch has."""
    steps = plan.batches[0] // batch
    cycle = plan.cycle * steps
    own = {
        precision: OwnTraining(
            {"data.store": str(store.folder), **plan.settings(batch, precision)},
            folder / precision,
            cycle,
        )
        for precision in plan.precisions
    }
    ways: dict[Way, Callable[[], object]] = {
        Way(OURS, "", precision): training.step for precision, training in own.items()
    }
    whole = own["float32"]
    graphs = LabelledGraphs(
        store.columns, whole.run.feed.targets, whole.batches(cycle), whole.is_binary
    )
    for way in peer_ways(plan):
        ways[way] = peer(way, graphs, plan, whole).step
    names = {", ".join(way): way for way in ways}
    work = {name: several(ways[way], steps) for name, way in names.items()}
    timings = alternate(work, blocks=plan.blocks, repeats=plan.repeats)
    return {names[name]: timing for name, timing in timings.items()}


def peer_ways(plan: Plan) -> list[Way]:
    """Every library as written in float32, and at its best in every precision."""
    tuned = [(TUNED, precision) for precision in plan.precisions]
    return [
        Way(library, *setting)
        for library in plan.peers
        for setting in ((WRITTEN, "float32"), *tuned)
    ]


def peer(way: Way, graphs: LabelledGraphs, plan: Plan, whole: OwnTraining) -> PeerTraining:
    """The library with our weights to start from, once it has shown that it answers as we do.

    Raises:
        SystemExit: if it does not.
    """
    settings = PeerSettings(tuned=way.setting == TUNED, precision=way.precision)
    training = LIBRARIES[way.library](graphs, settings, width=plan.width, layers=plan.layers)
    copy_weights(whole.run.model, training.network)
    difference = furthest(training, graphs, whole)
    if difference > SAME:
        raise SystemExit(f"{', '.join(way)} is another network: answers differ by {difference:.1e}")
    return training


@torch.no_grad()
def furthest(training: PeerTraining, graphs: LabelledGraphs, whole: OwnTraining) -> float:
    """Largest difference of answers on the first batch, as a share of the largest answer."""
    first = next(training.batches)
    training.batches = chain([first], training.batches)
    theirs = training.network.eval()(first[0])
    training.network.train()
    ours = whole.logits(graphs.batches[0])
    return float((theirs - ours).abs().max() / ours.abs().max())


def comparisons(found: Mapping[Way, Timing]) -> Iterator[dict[str, Any]]:
    """Times faster than each library, by what is held against what."""
    ours = [way for way in found if way.library == OURS]
    for library in dict.fromkeys(way.library for way in found if way.library != OURS):
        theirs = [way for way in found if way.library == library]
        single = [way for way in theirs if way.precision == "float32"]
        cases = [
            (FLOAT32, _only(ours, "float32"), [way for way in single if way.setting == WRITTEN]),
            (FLOAT32, _only(ours, "float32"), [way for way in single if way.setting == TUNED]),
            (BEST, ours, theirs),
            (REDUCED, _only(ours, "bfloat16"), single),
        ]
        for case, mine, others in cases:
            if mine and others:
                yield {
                    "case": case,
                    **compared(fastest(mine, found), fastest(others, found), found),
                }


def _only(ways: list[Way], precision: str) -> list[Way]:
    return [way for way in ways if way.precision == precision]


def fastest(ways: list[Way], found: Mapping[Way, Timing]) -> Way:
    return min(ways, key=lambda way: found[way].median)


def compared(mine: Way, other: Way, found: Mapping[Way, Timing]) -> dict[str, Any]:
    return {
        "peer": other.library,
        "peer_setting": other.setting,
        "peer_precision": other.precision,
        "our_precision": mine.precision,
        **ratio(found[other], found[mine]).row("times"),
    }
