import pytest
import torch

from graphadapt.config import TrainerConfig
from graphadapt.trainer.optim import build_optimiser, learning_rate


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_the_rate_rises_to_its_peak_and_falls_to_its_end(warmup):
    config = TrainerConfig(learning_rate=0.5, warmup=warmup, final_rate=0.1)
    rates = [learning_rate(step, 200, config) for step in range(200)]
    peak = rates.index(max(rates))
    assert peak == int(200 * warmup)
    assert max(rates) == pytest.approx(0.5)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0.05 < rates[-1] < 0.052


def test_a_final_rate_of_one_is_a_constant_rate():
    config = TrainerConfig(learning_rate=0.5, warmup=0.0, final_rate=1.0)
    assert {learning_rate(step, 9, config) for step in range(9)} == {0.5}


def test_only_trainable_matrices_are_decayed():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model.append(torch.nn.Linear(2, 2).requires_grad_(False))
    decayed, plain = build_optimiser(model, TrainerConfig(weight_decay=0.3)).param_groups
    assert decayed["weight_decay"] == 0.3
    assert plain["weight_decay"] == 0.0
    assert [p.shape for p in decayed["params"]] == [(2, 3)]
    assert [p.shape for p in plain["params"]] == [(2,), (2,), (2,)]
