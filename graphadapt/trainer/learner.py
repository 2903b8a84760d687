"""What a trainer needs of whatever it trains."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from graphadapt.graphs.buckets import BatchSize
from graphadapt.trainer.distributed import Workers

__all__ = ["Learner", "PlannedLearner", "Score", "StepInputs", "StepLoss"]


@dataclass(frozen=True, slots=True)
class StepLoss:
    """One step's loss, before its gradient is taken."""

    loss: Tensor
    """This process's share, a scalar; shares add up to the loss of the whole batch."""

    molecules: int
    """Molecules of the whole batch."""


@dataclass(frozen=True, slots=True)
class StepInputs:
    """All that sets one step apart from another."""

    tensors: tuple[Tensor, ...]
    """What the step reads, on the learner's device; a recorded step has these refilled."""

    bucket: BatchSize | None
    """Nodes and bonds that the batch is padded to; None leaves it as it is."""

    molecules: int
    """Molecules of the whole batch, over all processes."""

    @property
    def shape(self) -> Hashable:
        """Equal for steps that do the same work on other values."""
        return (*(tuple(tensor.shape) for tensor in self.tensors), self.bucket)


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

    @property
    def composition(self) -> str:
        """Which tasks its scores are asked for together; empty without tasks."""

    def loss(self, step: int, workers: Workers) -> StepLoss:
        """The loss of optimiser step ``step``, counted from 0 over the whole run."""

    def score(self) -> Score:
        """Validate the model as it is; in the mode of training before and after."""


@runtime_checkable
class PlannedLearner(Learner, Protocol):
    """A learner whose steps are decided on the host and computed on the device, apart.

    The host decides an epoch at a time, and what it decides is copied to the device together: so
    no step waits for the host, and steps of one shape can be recorded and replayed.
    """

    @property
    def obstacle(self) -> str:
        """Why its steps cannot be recorded; empty if nothing is known against it."""

    def plan(self, step: int, workers: Workers) -> None:
        """Decide the epoch that ``step`` belongs to, unless that is done."""

    def inputs(self, step: int, workers: Workers) -> StepInputs:
        """What a step reads; plans its epoch first if need be."""

    def loss_of(self, inputs: StepInputs, workers: Workers) -> Tensor:
        """The loss of these inputs, without looking at their values on the host."""
