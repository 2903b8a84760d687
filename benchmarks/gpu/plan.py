"""What the GPU benchmark runs, how often and at which size."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

__all__ = ["COPIED", "HELD", "SuitePlan"]

COPIED, HELD = "there and back", "none"
"""Copies of arrays that a time of answers holds beside the runs, as its row says it."""


@dataclass(frozen=True, kw_only=True)
class SuitePlan:
    """Settings of the suite; by default ogbg-molpcba's sizes and OGB's network."""

    device: torch.device
    precision: str = "bfloat16"
    tasks: int = 128
    batch: int = 512
    layers: int = 5
    width: int = 300
    epochs: int = 4
    """Of the ordinary run; the first one compiles and captures."""

    blocks: int = 5
    repeats: int = 2
    """Timed turns of every way in a block, after one that is not timed."""

    steps: int = 20
    """Of one turn; OGB's example, which makes its batches in between, takes a fifth of them."""

    warmup: int = 8
    """Steps of every peer before any is timed."""

    cycle: int = 32
    """Batches that a peer has ready before the first comes again."""

    own_cycle: int = 16
    """Steps of ours before the first comes again; four rounds of them compile and capture."""

    workers: int = field(default_factory=lambda: max(1, min(12, (os.cpu_count() or 1) - 2)))
    """Processes that put a peer's batches together."""

    way_seconds: float = 60.0
    """After which a way that is not ready for its first timed step is left out."""

    compiler: str | Callable[..., Any] = "inductor"
    """What ``torch.compile`` makes of our own steps, where they stand beside captured ones."""

    compile_seconds: float = 150.0
    """As ``way_seconds``, of a way that compiles our own steps."""

    sample: int = 20_000
    """Molecules on which captured steps are compared and a step's work is counted."""

    compared: int = 24
    """Captured steps that are held against the same steps one kernel at a time."""

    replay_error: float = 5e-3
    """Most that such a loss may be off, as a share: sums in another order, step after step."""

    singles: int = 64
    """Molecules that a bundle answers one by one, in turn."""

    calls: int = 100
    """Timed answers to one of them in a block."""

    stream: int = 16_384
    """Molecules that a bundle answers at once."""

    probed: int = 4096
    """Molecules of a trial that fills whole batches, each probe several times."""

    product: int = 8192
    copied_mb: int = 2048
    peer_seconds: float = 50.0
    """After which the peer's epoch is cut short."""

    compiles: bool = True
    """Whether ``torch.compile`` is tried for the peer."""

    seed: int = 0

    def smaller(self) -> "SuitePlan":
        """The same at sizes that a test can wait for."""
        return replace(
            self,
            tasks=6,
            batch=8,
            layers=2,
            width=8,
            epochs=2,
            blocks=1,
            repeats=1,
            steps=1,
            warmup=1,
            cycle=2,
            own_cycle=2,
            workers=1,
            sample=40,
            compared=2,
            singles=3,
            calls=2,
            stream=24,
            probed=0,
            product=64,
            copied_mb=1,
            compiles=False,
            compiler="eager",
        )

    def steps_of(self, way: str) -> int:
        """Steps of one turn."""
        return max(1, self.steps // 5) if way.endswith("example") else self.steps

    def steps_per_epoch(self, molecules: int) -> int:
        """Of the 80 % that train."""
        return max(1, round(0.8 * molecules) // self.batch)
