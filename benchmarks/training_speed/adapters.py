"""Training adapters on a frozen backbone beside fine-tuning all of it."""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evidence.timing import Timing, alternate, ratio
from graphadapt.config import AdapterConfig
from graphadapt.data.store import GraphStore
from graphadapt.progress import track
from training_speed.own_training import OwnTraining, save_backbone, several
from training_speed.plan import Plan

__all__ = ["ALL_SITES", "READOUT", "TOP", "TOP_TWO", "a_step", "adapter_rows"]

FULL = "everything"
ALL_SITES = "adapters at all sites"
TOP_TWO = "adapters in the top two layers, the rest remembered"
TOP = "adapters in the top layer, the rest remembered"
READOUT = "adapters at the readout, graph embeddings remembered"

STEPS = {FULL: 1, ALL_SITES: 1, TOP_TWO: 2, TOP: 4, READOUT: 24}
"""Steps of one timed call, so that calls take about as long."""

BUILDS = 3
"""Times that what is frozen is computed anew."""


def adapter_rows(plan: Plan, store: GraphStore) -> Iterator[dict[str, Any]]:
    """A row for each part of the model that may move, in each precision."""
    for precision in track(plan.precisions, len(plan.precisions), "adapters"):
        with tempfile.TemporaryDirectory() as folder:
            ways = trainings(plan, store, precision, Path(folder))
            found = timed(ways, plan)
            for moves, training in ways.items():
                row = compared(moves, found, training, plan)
                yield {"moves": moves, "precision": precision, "threads": plan.threads, **row}


def trainings(
    plan: Plan, store: GraphStore, precision: str, folder: Path
) -> dict[str, OwnTraining]:
    """Full fine-tuning, and runs on the backbone that it has after some steps."""
    settings = {"data.store": str(store.folder), **plan.settings(plan.batches[0], precision)}
    ways = {FULL: OwnTraining(settings, folder / "full", plan.cycle)}
    for _ in range(plan.fitted):
        ways[FULL].step()
    weights = folder / "backbone.safetensors"
    save_backbone(ways[FULL], weights)
    defaults = AdapterConfig()
    frozen = {
        **settings,
        "backbone.weights": str(weights),
        "backbone.train": "frozen",
        "adapters.count": defaults.count,
        "adapters.rank": min(defaults.rank, plan.width),
    }
    for number, (moves, patterns) in enumerate(sites(plan.layers).items()):
        own = {**frozen, "adapters.sites": patterns}
        ways[moves] = OwnTraining(own, folder / str(number), plan.cycle)
    return ways


def sites(layers: int) -> dict[str, list[str]]:
    """Patterns of the sites; a layer's are its convolution's and its virtual node's."""
    top, second = layers - 1, layers - 2
    return {
        ALL_SITES: ["expand", "contract"],
        TOP_TWO: [
            f"convolutions.{second}.*",
            f"virtual_node.updates.{second}.*",
            f"convolutions.{top}.*",  # the last layer updates no virtual node
        ],
        TOP: [f"convolutions.{top}.*"],
        READOUT: [],
    }


def timed(ways: dict[str, OwnTraining], plan: Plan) -> dict[str, Timing]:
    """Seconds of a step of every way."""

    work = {moves: several(training.step, STEPS[moves]) for moves, training in ways.items()}
    found = alternate(work, blocks=plan.blocks, repeats=plan.repeats)
    return {moves: a_step(timing, STEPS[moves]) for moves, timing in found.items()}


def a_step(timing: Timing, steps: int) -> Timing:
    """From seconds of a call to seconds of one of its steps."""
    return Timing(tuple(tuple(seconds / steps for seconds in block) for block in timing.blocks))


def compared(
    moves: str, found: dict[str, Timing], training: OwnTraining, plan: Plan
) -> dict[str, Any]:
    """Rate, times faster than full fine-tuning, and what remembering costs."""
    config = training.run.config
    batch = config.sampler.batch_size
    row = {"batch": batch, **found[moves].row(pieces=batch)}
    if moves == FULL:
        return row
    row |= {"sites": len(training.run.model.sites), "count": config.adapters.count}
    row |= {"rank": config.adapters.rank, **ratio(found[FULL], found[moves]).row("times")}
    if not training.remembered_bytes:
        return row
    seconds = statistics.median(training.remember() for _ in range(BUILDS))
    steps = plan.epochs * training.learner.steps_per_epoch
    whole = seconds + steps * found[moves].median
    return row | {
        "remembered": len(training.run.feed.table),
        "remembering_s": seconds,
        "remembered_mb": training.remembered_bytes / 1e6,
        "epochs": plan.epochs,
        "times_with_remembering": steps * found[FULL].median / whole,
    }
