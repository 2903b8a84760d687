import pytest
import torch

from graphadapt.trainer.optim import build_optimiser, learning_rate, set_learning_rate
from graphadapt.training_config import TrainerConfig


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


def test_a_rate_beside_the_weights_takes_the_same_steps():
    config, found = TrainerConfig(weight_decay=0.3), []
    for capturable in (False, True):
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        optimiser = build_optimiser(layer, config, capturable=capturable)
        held = [group["lr"] for group in optimiser.param_groups]
        for rate in (0.1, 0.01, 0.2):
            set_learning_rate(optimiser, rate)
            optimiser.zero_grad()
            layer(torch.ones(4, 3)).square().sum().backward()
            optimiser.step()
        if capturable:
            assert all(group["lr"] is old for group, old in zip(optimiser.param_groups, held))  # noqa: B905
        found.append([*layer.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_nothing_to_train_has_an_optimiser_too():
    layer = torch.nn.Linear(2, 2).requires_grad_(False)
    assert build_optimiser(layer, TrainerConfig(), capturable=True).param_groups[0]["params"] == []
