import itertools

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.cost import AdapterCost

ROWS, WIDTH_IN, WIDTH_OUT = 40, 12, 20


def counted(run, trains):
    with FlopCounterMode(display=False) as counter:
        answer = run()
        if trains:
            answer.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("adapters", "layer_moves", "input_moves"), list(itertools.product([True, False], repeat=3))
)
def test_the_counts_are_those_of_torchs_own_counter(adapters, layer_moves, input_moves):
    bank, layer = AdapterBank(3, WIDTH_IN, WIDTH_OUT, 2), nn.Linear(WIDTH_IN, WIDTH_OUT)
    bank.requires_grad_(adapters)
    layer.requires_grad_(layer_moves)
    x_ND = torch.randn(ROWS, WIDTH_IN, requires_grad=input_moves)
    alpha_K = torch.rand(3)
    trains = adapters or layer_moves or input_moves
    plain = counted(lambda: layer(x_ND), layer_moves or input_moves)
    cost = bank.cost(layer, x_ND)
    for form in ("factored", "effective"):
        total = counted(lambda form=form: bank.adapted_linear(layer, x_ND, alpha_K, form), trains)
        assert total - plain == getattr(cost, form)


def test_without_gradients_only_the_forward_pass_counts():
    bank, layer = AdapterBank(3, WIDTH_IN, WIDTH_OUT, 2), nn.Linear(WIDTH_IN, WIDTH_OUT)
    x_ND = torch.randn(ROWS, WIDTH_IN, requires_grad=True)
    with torch.no_grad():
        cost = bank.cost(layer, x_ND)
    assert cost.factored == 2 * ROWS * 6 * (WIDTH_IN + WIDTH_OUT)
    assert cost.effective == 2 * WIDTH_IN * WIDTH_OUT * 6


@pytest.mark.parametrize(("total_rank", "effective"), [(66, False), (67, True)])
def test_over_many_rows_the_forms_cross_where_the_design_says(total_rank, effective):
    cost = AdapterCost(
        rows=10**7,
        in_features=300,
        out_features=600,
        total_rank=total_rank,
        trains_adapters=True,
        trains_input=True,
    )
    assert cost.prefers_effective is effective


def test_few_rows_go_through_the_factors():
    bank, layer = AdapterBank(12, 300, 600, 8), nn.Linear(300, 600).requires_grad_(False)
    assert not bank.cost(layer, torch.zeros(10, 300)).prefers_effective
    assert bank.cost(layer, torch.zeros(6000, 300, requires_grad=True)).prefers_effective
    assert bank.cost(layer, torch.zeros(2, 3000, 300, requires_grad=True)).prefers_effective
