"""The whole objective: its parts added up, and what a threshold must not do to it."""

import numpy as np
import pytest
import torch

from graphadapt.config import ObjectiveConfig
from graphadapt.model import Answer
from graphadapt.objective.consistency import structural_regulariser
from graphadapt.objective.losses import task_losses, weighted_task_loss
from graphadapt.objective.total import Objective
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.routing.router import Router
from graphadapt.routing.task_routing import TaskRouting
from graphadapt.routing.usage import load_imbalance, routing_entropy

RELATION = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
IS_BINARY = torch.tensor([True, False])
W = torch.tensor([0.25, 0.75])


def routing(threshold=0.4):
    torch.manual_seed(0)
    propagation = TaskPropagation(RELATION, 3, 1, message_passing="tensor")
    return TaskRouting(
        propagation, {"readout": Router(3, 3)}, {}, temperature=1.0, threshold=threshold
    )


def case():
    torch.manual_seed(1)
    routes = routing()
    distance = torch.rand(3, 3)
    distance = (distance + distance.T).fill_diagonal_(0)
    answer = Answer(torch.randn(6, 2), routes(), {"readout": distance})
    targets = torch.tensor([[1, 0.5], [0, np.nan], [np.nan, 1], [1, -1], [0, 0], [1, 2]])
    return routes, answer, targets


def test_the_parts_add_up():
    routes, answer, targets = case()
    config = ObjectiveConfig(consistency=0.3, balance=0.2, entropy=0.1)
    loss_T, count_T = task_losses(answer.logits, targets, IS_BINARY)
    soft = routes.soft()["readout"]
    expected = (
        weighted_task_loss(loss_T, count_T, W)
        + 0.3 * structural_regulariser(answer.distances, answer.gates, RELATION)
        + 0.2 * load_imbalance(soft)
        + 0.1 * routing_entropy(soft)
    )
    found = Objective(config, IS_BINARY, RELATION, routes)(answer, targets, W)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("reduction", ["task", "cell"])
def test_shares_of_two_processes_add_up_to_the_whole(reduction):
    routes, answer, targets = case()
    config = ObjectiveConfig(consistency=0.3, balance=0.2, reduction=reduction)
    objective = Objective(config, IS_BINARY, RELATION, routes)
    count_T = task_losses(answer.logits, targets, IS_BINARY)[1]
    shares = [
        objective(
            Answer(answer.logits[part], answer.gates, answer.distances),
            targets[part],
            W,
            sum_over_workers=lambda _: count_T,
            workers=2,
        )
        for part in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(sum(shares), objective(answer, targets, W))


def test_a_dropped_adapter_is_not_pushed_further_by_the_entropy_term():
    routes = routing(threshold=0.4)
    gates, soft = routes()["readout"], routes.soft()["readout"]
    assert (gates == 0).any()
    torch.testing.assert_close(soft.sum(1), torch.ones(2))
    config = ObjectiveConfig(entropy=1.0)
    answer = Answer(torch.zeros(1, 2), routes())
    targets = torch.full((1, 2), float("nan"))
    Objective(config, IS_BINARY, RELATION, routes)(answer, targets, W).backward()
    found = routes.routers["readout"].query.grad.clone()
    routes.zero_grad()
    routing_entropy(routes.soft()["readout"]).backward()
    torch.testing.assert_close(found, routes.routers["readout"].query.grad)


@pytest.mark.parametrize("reduction", ["task", "cell"])
def test_the_whole_passes_gradcheck(reduction):
    """In the answers, the distances of adapters and everything that routes."""
    routes, answer, targets = case()
    routes = routing(threshold=0.0).double()
    config = ObjectiveConfig(consistency=0.3, balance=0.2, entropy=0.1, reduction=reduction)
    objective = Objective(config, IS_BINARY, RELATION.double(), routes)
    gates = {
        site: gate_TK.detach() for site, gate_TK in routes().items()
    }  # no gradient through Ω's

    def loss(logits_PT, distance_KK, *_):
        found = Answer(logits_PT, gates, {"readout": distance_KK})
        return objective(found, targets.double(), W.double())

    inputs = [answer.logits.double(), answer.distances["readout"].double()]
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(loss, [*inputs, *routes.parameters()])
