import math

import pytest
import torch

from graphadapt.routing.gate import gate
from graphadapt.routing.usage import adapters_used, load_imbalance, routing_entropy


def test_entropy_runs_from_zero_to_the_logarithm_of_the_count():
    assert routing_entropy(torch.eye(4)).item() == 0
    assert routing_entropy(torch.full((3, 4), 0.25)).item() == pytest.approx(math.log(4))
    gate_TK = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    hand = (math.log(2) - 0.2 * math.log(0.2) - 0.3 * math.log(0.3) - 0.5 * math.log(0.5)) / 2
    assert routing_entropy(gate_TK).item() == pytest.approx(hand)


def test_imbalance_runs_from_zero_to_all_but_one():
    assert load_imbalance(torch.eye(4)).item() == pytest.approx(0)
    assert load_imbalance(torch.tensor([[1.0, 0.0, 0.0]] * 5)).item() == pytest.approx(2)
    gate_TK = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    assert load_imbalance(gate_TK).item() == pytest.approx(2 * (0.75**2 + 0.25**2) - 1)


@pytest.mark.parametrize("term", [routing_entropy, load_imbalance])
def test_terms_pass_gradcheck_and_ignore_names(term):
    gate_TK = torch.rand(5, 4).double().softmax(1).requires_grad_()
    assert torch.autograd.gradcheck(term, gate_TK)
    renamed_TK = gate_TK[torch.randperm(5)][:, torch.randperm(4)]
    torch.testing.assert_close(term(renamed_TK), term(gate_TK))


@pytest.mark.parametrize("term", [routing_entropy, load_imbalance])
def test_dropped_adapters_give_finite_gradients(term):
    logits_TK = torch.tensor([[3.0, 0.0, -60.0]]).requires_grad_()
    term(gate(logits_TK, 0.5, 0.3)).backward()
    assert logits_TK.grad.isfinite().all()


def test_used_adapters_are_counted_per_task():
    gate_TK = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    assert adapters_used(gate_TK).tolist() == [2, 1]
