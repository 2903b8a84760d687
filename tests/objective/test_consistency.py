import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.disagreement import adapter_disagreement
from graphadapt.objective.consistency import (
    consistency,
    related_adapters,
    structural_regulariser,
)


def random_case(tasks=5, count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    gate_TK = torch.rand(tasks, count, generator=generator).double()
    gate_TK = gate_TK / gate_TK.sum(1, keepdim=True)
    relation_TT = torch.rand(tasks, tasks, generator=generator).double()
    relation_TT = (relation_TT + relation_TT.T) / 2
    return gate_TK, relation_TT.fill_diagonal_(0)


def slow_related(gate_TK, relation_TT):
    tasks, count = gate_TK.shape
    related_KK = torch.zeros(count, count).double()
    for i in range(tasks):
        for j in range(tasks):
            for k in range(count):
                for m in range(count):
                    related_KK[k, m] += gate_TK[i, k] * relation_TT[i, j] * gate_TK[j, m]
    return related_KK


def slow_omega(bank, x_ND, related_KK):
    total = 0.0
    for k in range(bank.count):
        for m in range(k + 1, bank.count):
            for x_D in x_ND:
                one, two = (bank.up[a] @ (bank.down[a] @ x_D) for a in (k, m))
                total += related_KK[k, m] * (one - two).square().sum() / len(x_ND)
    return total / bank.out_features / related_KK.sum()


@settings(deadline=None, max_examples=10)
@given(tasks=st.integers(1, 5), count=st.integers(1, 4), seed=st.integers(0, 99))
def test_shared_relations_are_the_quadruple_loop(tasks, count, seed):
    gate_TK, relation_TT = random_case(tasks, count, seed)
    related_KK = related_adapters(gate_TK, relation_TT)
    torch.testing.assert_close(related_KK, slow_related(gate_TK, relation_TT))
    torch.testing.assert_close(related_KK, related_KK.T)


def test_omega_is_the_direct_sum_over_rows_and_pairs():
    torch.manual_seed(0)
    bank = AdapterBank(4, 6, 5, 2).double()
    nn.init.normal_(bank.up)
    x_ND, related_KK = torch.randn(12, 6).double(), related_adapters(*random_case())
    omega = consistency(adapter_disagreement(bank, x_ND), related_KK)
    torch.testing.assert_close(omega, slow_omega(bank, x_ND, related_KK), rtol=0, atol=1e-12)


def test_omega_is_the_hand_sum():
    distance_KK = torch.tensor([[0.0, 6.0], [6.0, 0.0]])
    assert consistency(distance_KK, torch.tensor([[1.0, 0.5], [0.5, 1.0]])) == 1.0


def test_omega_passes_gradcheck_through_distances():
    distance_KK = torch.rand(4, 4).double().requires_grad_()
    related_KK = related_adapters(*random_case())
    assert torch.autograd.gradcheck(consistency, (distance_KK, related_KK))


def test_no_gradient_reaches_the_routes():
    gate_TK, relation_TT = random_case()
    assert not related_adapters(gate_TK.requires_grad_(), relation_TT).requires_grad


@pytest.mark.parametrize("count", [1, 3])
def test_without_relations_omega_is_zero_and_so_is_its_gradient(count):
    gate_TK, relation_TT = random_case(count=count)
    distance_KK = torch.rand(count, count).double().requires_grad_()
    omega = consistency(distance_KK, related_adapters(gate_TK, torch.zeros_like(relation_TT)))
    omega.backward()
    assert omega == 0
    assert not distance_KK.grad.any()


def test_a_single_adapter_agrees_with_itself():
    gate_TK, relation_TT = random_case(count=1)
    assert consistency(torch.ones(1, 1).double(), related_adapters(gate_TK, relation_TT)) == 0


def test_renaming_tasks_or_adapters_changes_nothing():
    gate_TK, relation_TT = random_case()
    distance_KK = torch.rand(4, 4).double()
    distance_KK = distance_KK + distance_KK.T
    omega = consistency(distance_KK, related_adapters(gate_TK, relation_TT))
    tasks, adapters = torch.tensor([4, 2, 0, 1, 3]), torch.tensor([2, 3, 0, 1])
    renamed = consistency(
        distance_KK[adapters][:, adapters],
        related_adapters(gate_TK[tasks][:, adapters], relation_TT[tasks][:, tasks]),
    )
    torch.testing.assert_close(renamed, omega)


def test_an_isolated_task_does_not_count():
    gate_TK, relation_TT = random_case()
    relation_TT[2] = relation_TT[:, 2] = 0
    moved_TK = gate_TK.clone()
    moved_TK[2] = moved_TK[2].flip(0)
    torch.testing.assert_close(
        related_adapters(moved_TK, relation_TT), related_adapters(gate_TK, relation_TT)
    )


def test_tasks_on_one_shared_adapter_pay_nothing_and_apart_they_pay():
    relation_TT = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    distance_KK = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    together, apart = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.eye(2)
    assert consistency(distance_KK, related_adapters(together, relation_TT)) == 0
    assert consistency(distance_KK, related_adapters(apart, relation_TT)) == 1.0


def test_the_regulariser_is_the_mean_over_sites():
    gate_TK, relation_TT = random_case()
    distances = {"a": torch.rand(4, 4).double(), "b": torch.rand(4, 4).double()}
    gates = {"a": gate_TK, "b": gate_TK.flip(1), "readout": gate_TK}
    expected = sum(
        consistency(distances[site], related_adapters(gates[site], relation_TT)) for site in "ab"
    )
    value = structural_regulariser(distances, gates, relation_TT)
    torch.testing.assert_close(value, expected / 2)
    assert structural_regulariser({}, gates, relation_TT) == 0


def test_autocast_does_not_round_it():
    gate_TK, relation_TT = random_case()
    gate_TK, relation_TT = gate_TK.float(), relation_TT.float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = related_adapters(gate_TK, relation_TT)
    assert torch.equal(rounded, related_adapters(gate_TK, relation_TT))
