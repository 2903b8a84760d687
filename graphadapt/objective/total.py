"""The whole objective of a step: task losses, regulariser and routing terms.

Shapes: P molecules of the batch, T tasks, K adapters.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from graphadapt.config import ObjectiveConfig
from graphadapt.model import Answer
from graphadapt.objective.consistency import structural_regulariser
from graphadapt.objective.losses import task_losses, weighted_task_loss
from graphadapt.routing.task_routing import TaskRouting
from graphadapt.routing.usage import load_imbalance, routing_entropy

__all__ = ["Objective"]


class Objective:
    r"""What one step minimises.

    .. math:: L = L_\mathrm{task} + \lambda \Omega + \lambda_b B + \lambda_h H

    with the structural regulariser Ω, the load imbalance B and the routing entropy H, the last
    two averaged over sites and taken of π, the routes before the threshold: of the gated weights
    they would push a dropped adapter further away for good.

    Args:
        config: λ and the other weights.
        is_binary_T: which tasks are a yes or no.
        relation_TT: relation that Ω reads.
        routing: of the model, if it routes; B and H read it.
    """

    def __init__(
        self,
        config: ObjectiveConfig,
        is_binary_T: Tensor,
        relation_TT: Tensor,
        routing: TaskRouting | None = None,
    ) -> None:
        self.config = config
        self.is_binary = is_binary_T
        self.relation = relation_TT
        self.routing = routing

    @property
    def measures(self) -> bool:
        """Whether the forward pass has to measure distances between adapters."""
        return self.config.consistency > 0

    def __call__(
        self,
        answer: Answer,
        targets_PT: Tensor,
        composition_T: Tensor,
        *,
        sum_over_workers: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        workers: int = 1,
    ) -> Tensor:
        """This process's share of the loss; shares add up to the loss of the whole batch.

        Args:
            answer: of the model for this process's part of the batch.
            targets_PT: standardised labels, NaN where missing.
            composition_T: w.
            sum_over_workers: adds a tensor up over processes, without gradient.
            workers: number of processes.
        """
        loss_T, count_T = task_losses(answer.logits, targets_PT, self.is_binary)
        all_count_T = sum_over_workers(count_T)
        share_T = loss_T * count_T / all_count_T.clamp(min=1)
        loss = weighted_task_loss(share_T, all_count_T, composition_T, self.config.reduction)
        return loss + self._terms(answer) / workers

    def _terms(self, answer: Answer) -> Tensor:
        total = self.relation.new_zeros(())
        if self.config.consistency:
            regulariser = structural_regulariser(answer.distances, answer.gates, self.relation)
            total = total + self.config.consistency * regulariser
        if self.routing is None or not (self.config.balance or self.config.entropy):
            return total
        routes = self.routing.soft().values()
        imbalance = torch.stack([load_imbalance(route_TK) for route_TK in routes]).mean()
        entropy = torch.stack([routing_entropy(route_TK) for route_TK in routes]).mean()
        return total + self.config.balance * imbalance + self.config.entropy * entropy
