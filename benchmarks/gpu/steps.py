"""Steps of ours and of PyTorch Geometric in turns, and an epoch as OGB's example is written.

All train OGB's GIN with a virtual node on batches of one size drawn from one set of molecules.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence.timing import Timing, alternate, ratio
from gpu.arrays import Arrays, drawn_labels
from gpu.clock import wait
from gpu.limits import at_most, seconds_left
from gpu.plan import SuitePlan
from gpu.training import ADAPTERS, OURS, PLAIN, forget_peak, own_settings, peak
from peers.geometric import geometric_training
from peers.training import LabelledGraphs, PeerSettings, PeerTraining
from training_speed.own_training import OwnTraining, several

__all__ = ["EXAMPLE", "PEER", "TUNED", "TimedWays", "peer_epoch_rows", "step_rows"]

PEER = "PyTorch Geometric"
EXAMPLE = f"{PEER}, as OGB's example"
TUNED = f"{PEER}, tuned, bfloat16"


def peers(plan: SuitePlan) -> dict[str, PeerSettings]:
    """The peer as written, and at every setting that might be its best."""
    best = {"tuned": True, "precision": "bfloat16"}
    found = {
        EXAMPLE: PeerSettings(),
        f"{PEER}, as written, batches by {plan.workers} workers": PeerSettings(
            workers=plan.workers
        ),
        f"{TUNED}, batches by {plan.workers} workers": PeerSettings(**best, workers=plan.workers),
        f"{PEER}, tuned, float32": PeerSettings(tuned=True),
        TUNED: PeerSettings(**best),
    }
    if plan.compiles:
        found[f"{TUNED}, compiled"] = PeerSettings(**best, compiled=True)
    return found


def step_rows(
    plan: SuitePlan, arrays: Arrays, store: Path, folder: Path
) -> Iterator[dict[str, Any]]:
    """Time of a step in every way, in turns, and how many times faster ours is."""
    ways = TimedWays(plan)
    graphs = _graphs(plan, arrays, plan.cycle)
    for name, more in ((OURS, ADAPTERS), (PLAIN, {})):
        settings, place = own_settings(plan, store, **more), folder / f"steps-{len(more)}"
        ways.prepare(
            name,
            lambda settings=settings, place=place: OwnTraining(settings, place, plan.own_cycle),
            4 * plan.own_cycle + 1,
        )
    for name, settings in peers(plan).items():
        ways.prepare(name, lambda settings=settings: _peer(plan, graphs, settings), plan.warmup)
    ways.time()
    yield from ways.rows()
    yield from ways.ratios((OURS, PLAIN), peers(plan))


class TimedWays:
    """Ways to take a step, each ready or left out for a reason, and their times in turns.

    Whatever is wrong with one library or the compiler, the other ways still count.
    """

    def __init__(self, plan: SuitePlan) -> None:
        self.plan = plan
        self.steps: dict[str, Callable[[], object]] = {}
        self.left_out: dict[str, str] = {}
        self.blocks: dict[str, list[tuple[float, ...]]] = {}

    def prepare(self, name: str, make: Callable[[], Any], warmup: int) -> None:
        """Make a way and take its first steps."""
        try:
            with at_most(self.plan.way_seconds):
                step = make().step
                several(step, warmup)()
                wait(self.plan.device)
        except (Exception, SystemExit) as error:
            self._leave_out(name, error)
        else:
            self.steps[name], self.blocks[name] = step, []

    def time(self) -> None:
        """Blocks of turns, each begun by another way, as many as there is time for."""
        longest = 0.0
        for block in range(self.plan.blocks):
            if seconds_left() < 1.5 * longest:
                break
            start, names = time.perf_counter(), list(self.steps)
            first = block % max(1, len(names))
            for name in names[first:] + names[:first]:
                self._turn(name)
            longest = max(longest, time.perf_counter() - start)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every way's time, or the reason why it has none."""
        for name, reason in self.left_out.items():
            yield {"way": name, "skipped": reason}
        batch = self.plan.batch
        for name in self.steps:
            yield {"way": name, "batch": batch, **self._timing(name).row(pieces=batch)}

    def ratios(self, own: Iterable[str], others: Iterable[str]) -> Iterator[dict[str, Any]]:
        """How many times as long the others take, of those ways that were timed."""
        timed = ([name for name in names if name in self.steps] for names in (own, others))
        for name, other in product(*timed):
            times = ratio(self._timing(other), self._timing(name))
            yield {"ours": name, "peer": other, **times.row("times")}

    def _timing(self, name: str) -> Timing:
        return Timing(tuple(self.blocks[name]))

    def _turn(self, name: str) -> None:
        """One way's part of a block; a way that fails has none any more."""
        count = self.plan.steps_of(name)
        work = several(self.steps[name], count)

        def call() -> None:
            work()
            wait(self.plan.device)

        try:
            timed = alternate({name: call}, blocks=1, repeats=self.plan.repeats)[name]
        except (Exception, SystemExit) as error:
            del self.steps[name]
            self._leave_out(name, error)
        else:
            self.blocks[name].append(tuple(seconds / count for seconds in timed.blocks[0]))

    def _leave_out(self, name: str, error: BaseException) -> None:
        text = (str(error).splitlines() or [""])[0]
        self.left_out[name] = f"{type(error).__name__}: {text}"


def peer_epoch_rows(plan: SuitePlan, arrays: Arrays) -> Iterator[dict[str, Any]]:
    """One epoch as OGB's example is written, on as many molecules as ours trains on.

    Where it takes too long, its first steps stand for all; ``epochs`` says what was done.
    """
    graphs = _graphs(plan, arrays, plan.steps_per_epoch(len(arrays.rows)))
    forget_peak(plan.device)
    training = _peer(plan, graphs, PeerSettings())
    for _ in range(2):
        training.step()
    wait(plan.device)
    steps, start = 0, time.perf_counter()
    while steps < len(graphs.batches) and time.perf_counter() - start < plan.peer_seconds:
        training.step()
        steps += 1
    wait(plan.device)
    seconds = time.perf_counter() - start
    yield {
        "epoch_of": EXAMPLE,
        "precision": "float32",
        "molecules": sum(map(len, graphs.batches)),
        "sizes": arrays.sizes,
        "epochs": steps / len(graphs.batches),
        "epoch_s": seconds * len(graphs.batches) / steps,
        **peak(plan.device),
    }


def _graphs(plan: SuitePlan, arrays: Arrays, batches: int) -> LabelledGraphs:
    """Batches of the training set, as rows of the pool, with labels out of the air."""
    random = np.random.default_rng(plan.seed)
    drawn = random.permutation(len(arrays.rows))[: batches * plan.batch]
    rows = np.resize(arrays.rows[drawn], (batches, plan.batch))
    labels = drawn_labels(arrays.columns.molecules, plan.tasks, random)
    return LabelledGraphs(arrays.columns, torch.from_numpy(labels), list(rows))


def _peer(plan: SuitePlan, graphs: LabelledGraphs, settings: PeerSettings) -> PeerTraining:
    torch.manual_seed(plan.seed)
    training = geometric_training(
        graphs, settings, plan.device, width=plan.width, layers=plan.layers
    )
    training.network.train()
    return training
