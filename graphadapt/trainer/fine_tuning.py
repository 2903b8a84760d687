"""Fine-tuning on labels: task sets, their molecules and the objective, as a learner.

Shapes: T tasks, P rows of a step.
"""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from graphadapt.backbone.layered import LayeredBackbone
from graphadapt.data.sampler import TaskSampler
from graphadapt.model import ComposedModel
from graphadapt.objective.metrics import Evaluation
from graphadapt.objective.total import Objective
from graphadapt.trainer.capturable import capture_obstacle
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.epoch_plan import EpochPlans, Shown
from graphadapt.trainer.feed import Feed
from graphadapt.trainer.learner import StepInputs, StepLoss

__all__ = ["FineTuning"]


class FineTuning:
    """A composed model and the labelled molecules that each step shows it.

    Args:
        model: on the device of ``feed``.
        feed: the molecules.
        sampler: what each step reads.
        objective: loss of a step.
        score: validation metrics of the model as it is when called.
        planned: whether an epoch's draws are copied to the device together and its batches padded
            to a few sizes, which a GPU gains by; None is everywhere but on a CPU, if there is no
            backbone or it is a :class:`~graphadapt.backbone.layered.LayeredBackbone`.
    """

    def __init__(
        self,
        model: ComposedModel,
        feed: Feed,
        sampler: TaskSampler,
        objective: Objective,
        score: Callable[[], Evaluation],
        *,
        planned: bool | None = None,
    ) -> None:
        self.model, self.feed, self.sampler = model, feed, sampler
        self.objective = objective
        self.score = score
        if planned is None:
            reads_padding = model.backbone is None or isinstance(model.backbone, LayeredBackbone)
            planned = feed.device.type != "cpu" and reads_padding
        self.planned = planned

    @property
    def device(self) -> torch.device:
        """Where the molecules are."""
        return self.feed.device

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show about as many molecules as there are."""
        return self.sampler.steps_per_epoch

    @property
    def composition(self) -> str:
        """Of the validation scores; adapters inside the backbone make answers depend on it."""
        if self.model.sites:
            return "all tasks together, weighed alike"
        return "every task by its own routes"

    @property
    def obstacle(self) -> str:
        """Why its steps cannot be recorded; empty if nothing is known against it."""
        return capture_obstacle(self.model, self.device, planned=self.planned)

    def loss(self, step: int, workers: Workers) -> StepLoss:
        """Draw the step's tasks and molecules, and answer this process's part of them."""
        inputs = self.inputs(step, workers)
        return StepLoss(self.loss_of(inputs, workers), inputs.molecules)

    def inputs(self, step: int, workers: Workers) -> StepInputs:
        """What a step reads: rows ``(P,)`` of this process, and the composition ``(T,)``."""
        if self.planned:
            return self._epochs.inputs(step, workers)
        rows, molecules, (composition,) = self._shown_at(step, workers)
        composition_T = torch.from_numpy(composition).to(self.device)
        return StepInputs((torch.from_numpy(rows), composition_T), None, molecules)

    def loss_of(self, inputs: StepInputs, workers: Workers) -> Tensor:
        """The objective on the molecules and tasks of a step."""
        rows_P, composition_T = inputs.tensors
        answer = self.feed.answer(
            self.model,
            rows_P,
            composition_T,
            bucket=inputs.bucket,
            measures=self.objective.measures,
        )
        return self.objective(
            answer,
            self.feed.targets[rows_P.to(self.device)],
            composition_T,
            sum_over_workers=workers.sum,
            workers=workers.world,
        )

    def plan(self, step: int, workers: Workers) -> None:
        """Decide the epoch that ``step`` belongs to, unless that is done."""
        if self.planned:
            self._epochs.plan(step, workers)

    @cached_property
    def _epochs(self) -> EpochPlans:
        return EpochPlans(
            self._shown_at,
            self.steps_per_epoch,
            self.sampler.config.batch_size,
            self.feed.table.sizes,
            self.device,
        )

    def _shown_at(self, step: int, workers: Workers) -> Shown:
        draw = self.sampler.draw(step)
        rows = self.sampler.shard(draw.rows, workers.rank, workers.world)
        return Shown(rows, len(draw.rows), (draw.composition,))
