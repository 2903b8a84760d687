"""What a trainer needs of whatever it trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from graphadapt.trainer.distributed import Workers

__all__ = ["Learner", "Score", "StepLoss"]


@dataclass(frozen=True, slots=True)
class StepLoss:
    """One step's loss, before its gradient is taken."""

    loss: Tensor
    """This process's share, a scalar; shares add up to the loss of the whole batch."""

    molecules: int
    """Molecules of the whole batch."""


class Score(Protocol):
    """A validation's outcome."""

    @property
    def score(self) -> float:
        """One number to choose checkpoints by, higher is better; NaN if there is none."""

    @property
    def mean(self) -> Mapping[str, float]:
        """What the metrics file says of it."""


class Learner(Protocol):
    """A model together with what each step asks of it.

    A step's randomness depends on its number alone, so that a resumed run takes the steps that an
    uninterrupted one would.
    """

    @property
    def model(self) -> nn.Module:
        """What is trained and saved; it is on ``device``."""

    @property
    def device(self) -> torch.device:
        """Where the steps are computed."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps between two looks at the epoch's end."""

    def loss(self, step: int, workers: Workers) -> StepLoss:
        """The loss of optimiser step ``step``, counted from 0 over the whole run."""

    def score(self) -> Score:
        """Validate the model as it is; in the mode of training before and after."""
