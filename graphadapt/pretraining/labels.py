"""Predict training labels of a named store from the graph embedding.

Shapes: G graphs, T tasks, F width of the graph embedding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from graphadapt.data.store import TaskInfo
from graphadapt.objective.losses import task_losses
from graphadapt.objective.metrics import evaluate_tasks
from graphadapt.pretraining.corpus import LABELS, Molecules
from graphadapt.pretraining.objective import Evidence, LossSum, PretrainingObjective, View
from graphadapt.readout.scaling import TargetScaling

__all__ = ["TrainingLabels"]


class TrainingLabels(PretrainingObjective):
    r"""Answer the assays of a store, one linear head a task.

    .. math:: L = \frac{1}{|C|} \sum_{(g,t) \in C} \ell_t(\hat y_{g,t}, y_{g,t})

    over the labelled training cells C: binary cross entropy, or the square error of standardised
    values. So a task counts by how many cells it has.

    Args:
        width: F.
        tasks: T tasks.
    """

    is_binary: Tensor

    def __init__(self, width: int, tasks: Sequence[TaskInfo]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        count = len(self.tasks)
        binary = [task.kind == "binary" for task in self.tasks]
        self.register_buffer("is_binary", torch.tensor(binary), persistent=False)
        self.scaling = TargetScaling(torch.zeros(count), torch.ones(count))
        self.answer = nn.Linear(width, count)

    @torch.no_grad()
    def fit(self, molecules: Molecules) -> None:
        """Scaling of regressions, a start at each task's mean, and the loss there."""
        labels_GT = molecules.targets[LABELS].cpu()
        fitted = TargetScaling.fit(labels_GT.numpy(), self.is_binary.cpu().numpy())
        self.scaling.load_state_dict(fitted.state_dict())
        targets_GT = self.scaling.standardise(labels_GT.to(self.scaling.mean.device))
        known_GT = ~torch.isnan(targets_GT)
        positive_T = torch.where(known_GT, targets_GT, 0.0).sum(dim=0) + 0.5
        share_T = positive_T / (known_GT.sum(dim=0) + 1)
        start_T = torch.where(self.is_binary, torch.logit(share_T.clamp(1e-4, 1 - 1e-4)), 0.0)
        self.answer.bias.copy_(start_T)
        total, cells = self._sum(start_T.expand_as(targets_GT), targets_GT)
        self.set_constant(float(total / cells.clamp(min=1)))

    def forward(self, view: View) -> LossSum:
        """Loss over labelled cells."""
        return self._sum(self.answer(view.graphs), self._targets(view))

    def evidence(self, view: View) -> dict[str, Tensor]:
        """Answers and labels in original units."""
        answer_GT = self.scaling.restore(self.answer(view.graphs).float())
        return {"answer": answer_GT, "truth": view.molecules.targets[LABELS]}

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Means over tasks, as fine-tuning reports them."""
        labels_GT = evidence["truth"]
        found = evaluate_tasks(
            evidence["answer"], labels_GT, np.ones(labels_GT.shape, np.bool_), self.tasks
        )
        return dict(found.mean)

    def _targets(self, view: View) -> Tensor:
        return self.scaling.standardise(view.molecules.targets[LABELS])

    def _sum(self, answer_GT: Tensor, targets_GT: Tensor) -> LossSum:
        loss_T, count_T = task_losses(answer_GT, targets_GT, self.is_binary)
        return LossSum((loss_T * count_T).sum(), count_T.sum())
