"""Our own steps captured as CUDA graphs, with the network compiled, and with both.

Shapes are few and fixed, so either can save the time in which kernels are started one by one; which
of them does it better is for the card to say. What is compiled is the network with its adapters,
forward and backward; readout, loss and optimiser are small beside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpu.plan import SuitePlan
from gpu.steps import TimedWays
from gpu.training import ADAPTERS, OURS, own_settings, recorded
from training_speed.own_training import OwnTraining

__all__ = ["CAPTURED", "COMPILED", "compiled_rows", "training_of"]

CAPTURED, COMPILED, BOTH = f"{OURS}, captured", f"{OURS}, compiled", f"{OURS}, compiled, captured"

CAPTURES = {CAPTURED: True, COMPILED: False, BOTH: True}
COMPILES = (COMPILED, BOTH)

MOST_VARIANTS = 1024
"""Variants of one function that may be compiled: layers times shapes of batches, in two ways."""


def compiled_rows(plan: SuitePlan, store: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Time of a step in each way, in turns, and how many times as fast the captured one is."""
    ways = TimedWays(replace(plan, way_seconds=plan.compile_seconds))
    made: dict[str, OwnTraining] = {}

    def maker(name: str) -> Callable[[], OwnTraining]:
        return lambda: made.setdefault(name, training_of(name, plan, store, folder))

    with many_variants():
        for name in CAPTURES:
            ways.prepare(name, maker(name), 4 * plan.own_cycle + 1)
        ways.time()
    yield from ways.rows()
    for name, training in made.items():
        yield {"recorded_of": name, **recorded(training.trainer.recorded)}
    yield from ways.ratios((CAPTURED,), COMPILES)


@contextmanager
def many_variants() -> Iterator[None]:
    """Compile every layer at every shape, however many that makes; fail rather than give up."""
    import torch._dynamo.config as settings

    with settings.patch(
        recompile_limit=MOST_VARIANTS,
        accumulated_recompile_limit=MOST_VARIANTS,
        fail_on_recompile_limit_hit=True,
    ):
        yield


def training_of(name: str, plan: SuitePlan, store: Path, folder: Path) -> OwnTraining:
    """A training that takes its steps in the way of this name."""
    settings = own_settings(plan, store, **ADAPTERS, **{"trainer.capture": CAPTURES[name]})
    place = folder / f"compiled-{list(CAPTURES).index(name)}"
    training = OwnTraining(settings, place, plan.own_cycle)
    if name in COMPILES:
        model = training.run.model
        model.encode = torch.compile(  # type: ignore[method-assign]
            model.encode, dynamic=False, backend=plan.compiler
        )
    return training
