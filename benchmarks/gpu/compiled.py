"""Our own steps captured as CUDA graphs, by ``torch.compile``, and by both.

Shapes are few and fixed, so either can save the time in which kernels are started one by one; which
of them does it better is for the card to say.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu.plan import SuitePlan
from gpu.steps import TimedWays
from gpu.training import ADAPTERS, OURS, own_settings
from training_speed.own_training import OwnTraining

__all__ = ["CAPTURED", "compiled_rows"]

CAPTURED, COMPILED, BOTH = f"{OURS}, captured", f"{OURS}, compiled", f"{OURS}, compiled, captured"

MOST_VARIANTS = 512
"""Variants of one function that may be compiled: layers times shapes of batches."""


def compiled_rows(plan: SuitePlan, store: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Time of a step in each way, in turns, and how many times as fast the captured one is."""
    ways = TimedWays(replace(plan, way_seconds=plan.compile_seconds))
    steps = 4 * plan.own_cycle + 1
    with many_variants():
        ways.prepare(CAPTURED, partial(_training, plan, store, folder / "captured"), steps)
        for name, captures in ((COMPILED, False), (BOTH, True)):
            place = folder / f"compiled-{captures}"
            ways.prepare(name, partial(_compiled, plan, store, place, captures), steps)
        ways.time()
    yield from ways.rows()
    yield from ways.ratios((CAPTURED,), (COMPILED, BOTH))


@contextmanager
def many_variants() -> Iterator[None]:
    """Compile every layer at every shape, however many that makes."""
    import torch._dynamo.config as settings

    usual = settings.recompile_limit
    settings.recompile_limit = MOST_VARIANTS
    try:
        yield
    finally:
        settings.recompile_limit = usual


def _training(plan: SuitePlan, store: Path, folder: Path, captures: bool = True) -> OwnTraining:
    settings = own_settings(plan, store, **ADAPTERS, **{"trainer.capture": captures})
    return OwnTraining(settings, folder, plan.own_cycle)


def _compiled(plan: SuitePlan, store: Path, folder: Path, captures: bool) -> OwnTraining:
    training = _training(plan, store, folder, captures)
    model = training.run.model
    model.encode = torch.compile(  # type: ignore[method-assign]
        model.encode, dynamic=False, backend=plan.compiler
    )
    return training
