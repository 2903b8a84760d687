"""From a loss to new weights: gradient, clipping, optimiser and moving average."""

import torch
from torch import Tensor, nn

from graphadapt.trainer.average import WeightAverage
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.optim import build_optimiser, learning_rate, set_learning_rate
from graphadapt.training_config import TrainerConfig

__all__ = ["Update"]


class Update:
    """What every step does once it has a loss, without looking at a value on the host.

    What differs from step to step, the learning rate and the average's share, is set beforehand by
    :meth:`begin`, so that the rest can be recorded and replayed.

    Args:
        model: on its device already.
        settings: optimiser, clipping, averaging.
        workers: the processes that train together.
        capturable: whether steps are recorded and replayed.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: TrainerConfig,
        workers: Workers,
        *,
        capturable: bool = False,
    ) -> None:
        self.model, self.settings, self.workers = model, settings, workers
        self.optimiser = build_optimiser(model, settings, capturable=capturable)
        self.average: WeightAverage | None = None
        if settings.average:
            self.average = WeightAverage(model, settings.average, capturable=capturable)
        self._parameters = list(model.parameters())

    def begin(self, step: int, total: int) -> None:
        """Set what depends on the step's number, out of ``total``."""
        set_learning_rate(self.optimiser, learning_rate(step, total, self.settings))
        if self.average is not None:
            self.average.set_step(step)

    def forget(self) -> None:
        """Let go of the last step's gradient."""
        self.optimiser.zero_grad(set_to_none=True)

    def apply(self, loss: Tensor) -> None:
        """Move the weights against the gradient of this process's share of the loss."""
        torch.autograd.backward(loss)
        self.workers.sum_gradients(self._parameters)
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.clip)
        self.optimiser.step()
        if self.average is not None:
            self.average.follow(self.model)
