import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import ConfigError
from graphadapt.routing.gate import gate, hard_gate, soft_gate


def slow_gate(logits_TK, temperature, threshold):
    rows = []
    for logit_K in logits_TK.tolist():
        weights = torch.tensor([x / temperature for x in logit_K]).double().exp()
        probability_K = (weights / weights.sum()).tolist()
        largest = max(probability_K)
        kept = [p if p >= threshold or p == largest else 0.0 for p in probability_K]
        rows.append([p / sum(kept) for p in kept])
    return torch.tensor(rows).double()


@settings(deadline=None, max_examples=40)
@given(
    tasks=st.integers(1, 4),
    count=st.integers(1, 6),
    temperature=st.floats(0.2, 5.0),
    threshold=st.floats(0.0, 0.99),
    seed=st.integers(0, 999),
)
def test_the_gate_is_the_loop_and_a_distribution(tasks, count, temperature, threshold, seed):
    generator = torch.Generator().manual_seed(seed)
    logits_TK = 2 * torch.randn(tasks, count, generator=generator, dtype=torch.float64)
    gate_TK = gate(logits_TK, temperature, threshold)
    torch.testing.assert_close(gate_TK, slow_gate(logits_TK, temperature, threshold))
    torch.testing.assert_close(gate_TK.sum(1), torch.ones(tasks).double())
    assert (
        (gate_TK == 0) | (soft_gate(logits_TK, temperature) >= threshold) | (gate_TK == 1)
    ).all()


def test_the_value_is_the_hard_gate_in_every_bit():
    logits_TK = torch.randn(50, 12, requires_grad=True)
    hard_TK = hard_gate(soft_gate(logits_TK), 0.1)
    assert torch.equal(gate(logits_TK, 1.0, 0.1), hard_TK)
    assert (hard_TK == 0).any()


def test_the_largest_stays_even_below_the_threshold():
    logits_TK = torch.tensor([[0.0, 0.1, 0.05]])
    assert gate(logits_TK, 1.0, 0.9).tolist() == [[0.0, 1.0, 0.0]]


def test_equal_largest_ones_all_stay():
    assert gate(torch.zeros(1, 4), 1.0, 0.9).tolist() == [[0.25] * 4]


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.9])
def test_the_gradient_is_the_surrogates(threshold):
    """The stated rule is d g = d π, whatever the threshold drops."""
    torch.manual_seed(0)
    logits_TK = torch.randn(3, 4).double().requires_grad_()
    cotangent_TK = torch.randn(3, 4).double()
    (through_gate,) = torch.autograd.grad(gate(logits_TK, 0.7, threshold), logits_TK, cotangent_TK)
    probability_TK = soft_gate(logits_TK.detach(), 0.7)
    centred_TK = cotangent_TK - (cotangent_TK * probability_TK).sum(1, keepdim=True)
    torch.testing.assert_close(through_gate, probability_TK * centred_TK / 0.7)


def test_a_dropped_adapter_still_has_a_gradient():
    logits_TK = torch.tensor([[2.0, 0.0]]).requires_grad_()
    gate(logits_TK, 1.0, 0.5)[0, 1].backward()
    assert logits_TK.grad[0, 1] > 0


def test_the_soft_parts_pass_gradcheck():
    logits_TK = torch.randn(3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_gate(x, 0.7), logits_TK)
    assert torch.autograd.gradcheck(lambda x: hard_gate(soft_gate(x), 0.2), logits_TK)


def test_renaming_tasks_and_adapters_renames_the_gate():
    logits_TK = torch.randn(5, 4).double()
    tasks, adapters = torch.randperm(5), torch.randperm(4)
    renamed = gate(logits_TK[tasks][:, adapters], 0.8, 0.2)
    torch.testing.assert_close(renamed, gate(logits_TK, 0.8, 0.2)[tasks][:, adapters])


def test_lower_temperatures_are_sharper_and_extreme_logits_stay_finite():
    logits_TK = torch.tensor([[1.0, 0.0, -1.0]])
    top = [gate(logits_TK, tau)[0, 0].item() for tau in (10.0, 1.0, 0.1)]
    assert top == sorted(top)
    assert gate(torch.tensor([[1e4, -1e4]]), 0.01, 0.5).tolist() == [[1.0, 0.0]]


def test_one_adapter_takes_everything():
    assert gate(torch.randn(3, 1), 1.0, 0.5).tolist() == [[1.0]] * 3


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"temperature=0 must be above 0"):
        gate(torch.zeros(1, 2), 0)
    with pytest.raises(ConfigError, match=r"threshold=1.0 is not in \[0, 1\)"):
        gate(torch.zeros(1, 2), 1.0, 1.0)
