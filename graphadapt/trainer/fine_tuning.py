"""Fine-tuning on labels: task sets, their molecules and the objective, as a learner.

Shapes: T tasks, P rows of a step.
"""

from collections.abc import Callable

import torch

from graphadapt.data.sampler import TaskSampler
from graphadapt.model import ComposedModel
from graphadapt.objective.metrics import Evaluation
from graphadapt.objective.total import Objective
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.feed import Feed
from graphadapt.trainer.learner import StepLoss

__all__ = ["FineTuning"]


class FineTuning:
    """A composed model and the labelled molecules that each step shows it.

    Args:
        model: on the device of ``feed``.
        feed: the molecules.
        sampler: what each step reads.
        objective: loss of a step.
        score: validation metrics of the model as it is when called.
    """

    def __init__(
        self,
        model: ComposedModel,
        feed: Feed,
        sampler: TaskSampler,
        objective: Objective,
        score: Callable[[], Evaluation],
    ) -> None:
        self.model, self.feed, self.sampler = model, feed, sampler
        self.objective = objective
        self.score = score

    @property
    def device(self) -> torch.device:
        """Where the molecules are."""
        return self.feed.device

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show about as many molecules as there are."""
        return self.sampler.steps_per_epoch

    def loss(self, step: int, workers: Workers) -> StepLoss:
        """Draw the step's tasks and molecules, and answer this process's part of them."""
        draw = self.sampler.draw(step)
        rows_P = torch.from_numpy(self.sampler.shard(draw.rows, workers.rank, workers.world))
        composition_T = torch.from_numpy(draw.composition).float().to(self.device)
        answer = self.feed.answer(
            self.model, rows_P, composition_T, measures=self.objective.measures
        )
        loss = self.objective(
            answer,
            self.feed.targets[rows_P.to(self.device)],
            composition_T,
            sum_over_workers=workers.sum,
            workers=workers.world,
        )
        return StepLoss(loss, len(draw.rows))
