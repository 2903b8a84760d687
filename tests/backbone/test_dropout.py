"""Dropout's rate, scale, gradient and repeatability."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.backbone.dropout import Dropout


@settings(max_examples=40, deadline=None)
@given(
    probability=st.floats(0, 0.999),
    shape=st.lists(st.integers(0, 7), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_every_entry_is_dropped_or_scaled(probability, shape, seed):
    torch.manual_seed(seed)
    x = torch.rand(shape, dtype=torch.float64) + 0.5
    y = Dropout(probability)(x)
    assert y.shape == x.shape
    kept = y != 0
    scale = 1 / (1 - probability) if probability else 1.0
    torch.testing.assert_close(y[kept], x[kept] * scale, rtol=2e-2, atol=0)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_each_of_the_four_entries_of_a_draw_keeps_the_rate_and_the_mean(probability):
    torch.manual_seed(0)
    y = Dropout(probability)(torch.ones(100_000, 4))
    spread = (probability * (1 - probability) / len(y)) ** 0.5
    for lane in range(4):
        assert abs((y[:, lane] == 0).float().mean().item() - probability) < 5 * spread
        assert abs(y[:, lane].mean().item() - 1) < 5 * spread / (1 - probability)
    together = torch.corrcoef(y.T) - torch.eye(4)
    assert together.abs().max() < 5 / len(y) ** 0.5


def test_entries_of_one_draw_fall_in_all_sixteen_ways():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(4096, 4)) == 0).int() @ torch.tensor(
        [1, 2, 4, 8], dtype=torch.int32
    )
    assert dropped.bincount(minlength=16).min() > 180


def test_the_gradient_is_the_mask():
    x = torch.randn(50, 3, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    torch.testing.assert_close(y, x * x.grad)


@pytest.mark.parametrize("layer", [Dropout(0.5).eval(), Dropout(0.0)])
def test_nothing_is_dropped_outside_training_or_at_probability_zero(layer):
    x = torch.randn(5, 3)
    assert layer(x) is x


def test_the_same_seed_drops_the_same_entries():
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(Dropout(0.5)(torch.ones(40)))
    assert torch.equal(*draws)


def test_bfloat16_stays_bfloat16():
    y = Dropout(0.5)(torch.ones(64, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    assert set(y.tolist()) == {0.0, 2.0}


def test_another_device_uses_torchs_own():
    assert Dropout(0.5)(torch.ones(4, device="meta")).device.type == "meta"
