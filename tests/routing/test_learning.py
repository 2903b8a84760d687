"""Prior, router, gate and bank together, on tasks whose truth is known."""

import pytest
import torch
from torch import nn

from graphadapt.adapters.bank import AdapterBank
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.routing.composition import mix
from graphadapt.routing.gate import gate
from graphadapt.routing.router import Router

TASKS, WIDTH = 6, 8


@pytest.fixture
def families():
    """Two families of three tasks; within one, the same low-rank change of one linear map."""
    torch.manual_seed(0)
    layer = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
    truth = AdapterBank(2, WIDTH, WIDTH, 2)
    nn.init.normal_(truth.up)
    return layer, truth.requires_grad_(False)


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.prior = TaskPropagation(torch.zeros(TASKS, TASKS), 16, 1, message_passing="tensor")
        self.router, self.bank = Router(2, 16), AdapterBank(2, WIDTH, WIDTH, 2)

    def gates(self):
        return gate(self.router(self.prior()), threshold=0.1)


def test_routes_find_the_families(families):
    layer, truth = families
    student = Student()
    optimiser = torch.optim.Adam(student.parameters(), lr=0.03)
    for step in range(400):
        x_ND, task = torch.randn(32, WIDTH), step % TASKS
        alpha_K = mix(nn.functional.one_hot(torch.tensor(task), TASKS), student.gates())
        answer_NF = student.bank.adapted_linear(layer, x_ND, alpha_K)
        target_NF = truth.adapted_linear(layer, x_ND, torch.eye(2)[task // 3])
        loss = (answer_NF - target_NF).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    favourite_T = student.gates().argmax(1)
    assert favourite_T.tolist() in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    assert loss < 0.1 * truth.correction(x_ND, torch.eye(2)[task // 3]).square().mean()
