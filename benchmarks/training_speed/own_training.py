"""Our own training, one step a call: the steps that ``graphadapt train`` takes.

Shapes: T tasks, P rows of a step.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.config import RunConfig
from graphadapt.run import Run
from graphadapt.trainer.checkpoint import save_tensors

__all__ = ["OwnTraining", "save_backbone", "several"]


class OwnTraining:
    """A run that is ready for its first step.

    What its frozen layers say of the molecules is remembered already, as far as the run's settings
    allow. Steps repeat after ``cycle`` of them.

    Args:
        settings: over the preset ``ogb``, OGB's network and training with plain heads.
        folder: of the run; new.
        cycle: steps before the first comes again; None never repeats.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path, cycle: int | None = None) -> None:
        config = RunConfig.from_toml("ogb").with_settings({"trainer.device": "cpu", **settings})
        self.run = Run.create(config, folder)
        self.trainer = self.run.trainer(shown=False)
        self.learner = self.trainer.learner
        self.run.model.train()
        self.cycle = cycle
        self.steps = 0

    def step(self) -> int:
        """Take the next step; returns its molecules."""
        step = self.steps if self.cycle is None else self.steps % self.cycle
        self.steps += 1
        _, molecules = self.trainer.take_step(step)
        return molecules

    def remember(self) -> float:
        """Compute anew what the frozen layers say of every molecule; seconds that it takes."""
        start = time.perf_counter()
        limit = self.run.config.trainer.cache_gb * 1e9
        self.run.feed.remember_what_stays(self.run.model, limit, shown=False)
        return time.perf_counter() - start

    @property
    def remembered_bytes(self) -> int:
        """Memory that what is remembered takes."""
        feed = self.run.feed
        if feed.graph_embeddings is not None:
            return feed.graph_embeddings.nbytes
        if feed.frozen is None or feed.frozen.kept is None:
            return 0
        return feed.frozen.bytes_needed

    @property
    def is_binary(self) -> bool:
        """Whether all labels are a yes or no."""
        return bool(self.run.dataset.is_binary.all())

    def batches(self, count: int) -> list[NDArray[np.int64]]:
        """Molecules of the first steps."""
        return [self.learner.sampler.draw(step).rows for step in range(count)]

    @torch.no_grad()
    def logits(self, rows_P: NDArray[np.int64]) -> Tensor:
        """Answers without dropout, ``(P, T)``."""
        self.run.model.eval()
        found = self.run.feed.answer(
            self.run.model, torch.from_numpy(rows_P), self.run.everyone
        ).logits
        self.run.model.train()
        return found


def save_backbone(training: OwnTraining, path: Path) -> None:
    """Write the backbone for ``backbone.weights`` of another run."""
    state = training.run.model.backbone.state_dict()
    save_tensors(path, {f"backbone.{name}": tensor for name, tensor in state.items()}, {})


def several(step: Callable[[], object], steps: int) -> Callable[[], None]:
    """That many steps as one call."""

    def call() -> None:
        for _ in range(steps):
            step()

    return call
