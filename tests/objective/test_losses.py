"""Masked task losses and their join, against slow loops, hand sums and numeric gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.objective.losses import task_losses, weighted_task_loss

IS_BINARY = torch.tensor([True, False, True, False, True])


def random_cells(seed=0, graphs=9, missing=0.4):
    """Float64 logits and targets of five tasks; the last has no label at all."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(graphs, 5, generator=random, dtype=torch.float64) * 3
    targets = torch.randn(graphs, 5, generator=random, dtype=torch.float64)
    targets = torch.where(IS_BINARY, (targets > 0).double(), targets)
    targets[torch.rand(graphs, 5, generator=random) < missing] = math.nan
    targets[:, 4] = math.nan
    return logits, targets


def slow_losses(logits, targets):
    losses, counts = [], []
    for t in range(logits.shape[1]):
        cells = []
        for x, y in zip(logits[:, t].tolist(), targets[:, t].tolist(), strict=True):
            if math.isnan(y):
                continue
            if IS_BINARY[t]:
                chance = 1 / (1 + math.exp(-x))
                cells.append(-y * math.log(chance) - (1 - y) * math.log(1 - chance))
            else:
                cells.append((x - y) ** 2)
        losses.append(sum(cells) / max(1, len(cells)))
        counts.append(float(len(cells)))
    return losses, counts


@pytest.mark.parametrize("seed", range(4))
def test_losses_agree_with_a_loop_over_cells(seed):
    logits, targets = random_cells(seed)
    loss, count = task_losses(logits, targets, IS_BINARY)
    expected_loss, expected_count = slow_losses(logits, targets)
    assert loss.tolist() == pytest.approx(expected_loss, rel=1e-12)
    assert count.tolist() == expected_count


def test_gradients_agree_with_numeric_ones():
    logits, targets = random_cells()
    logits.requires_grad_()
    composition = torch.tensor([0.1, 0.4, 0.2, 0.2, 0.1], dtype=torch.float64)

    for reduction in ("task", "cell"):

        def objective(x, reduction=reduction):
            return weighted_task_loss(*task_losses(x, targets, IS_BINARY), composition, reduction)

        assert torch.autograd.gradcheck(objective, (logits,))


def test_missing_cells_send_no_gradient():
    logits, targets = random_cells()
    logits.requires_grad_()
    loss, count = task_losses(logits, targets, IS_BINARY)
    weighted_task_loss(loss, count, torch.ones(5)).backward()
    missing = torch.isnan(targets)
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[missing].any()
    assert logits.grad[~missing].all()


def test_a_batch_without_any_label_has_loss_and_gradient_zero():
    logits = torch.randn(3, 5, requires_grad=True)
    loss, count = task_losses(logits, torch.full((3, 5), math.nan), IS_BINARY)
    total = weighted_task_loss(loss, count, torch.full((5,), 0.2))
    total.backward()
    assert (total.item(), count.sum().item()) == (0.0, 0.0)
    assert not logits.grad.any()


def test_huge_logits_stay_finite():
    logits = torch.tensor([[1e4, 0, -1e4, 0, 0]], requires_grad=True)
    loss, _ = task_losses(logits, torch.tensor([[0.0, math.nan, 0.0, 0.0, 1.0]]), IS_BINARY)
    assert loss.tolist() == pytest.approx([1e4, 0.0, 0.0, 0.0, math.log(2)])
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(dtype):
    logits = torch.full((4096, 5), 0.5, dtype=dtype)
    loss, count = task_losses(logits, torch.zeros(4096, 5), IS_BINARY)
    assert loss.dtype == count.dtype == torch.float32
    assert loss[1].item() == pytest.approx(0.25)
    assert count[0].item() == 4096


def test_the_task_reduction_by_hand():
    loss, count = torch.tensor([1.0, 5.0, 3.0]), torch.tensor([10.0, 0.0, 2.0])
    composition = torch.tensor([0.25, 0.5, 0.25])
    # the task without a label leaves the mean, it does not pull it down
    assert weighted_task_loss(loss, count, composition, "task").item() == pytest.approx(2.0)


def test_the_cell_reduction_by_hand():
    loss, count = torch.tensor([1.0, 5.0, 3.0]), torch.tensor([10.0, 0.0, 2.0])
    composition = torch.full((3,), 1 / 3)
    found = weighted_task_loss(loss, count, composition, "cell").item()
    assert found == pytest.approx((10 * 1 + 2 * 3) / 12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_only_the_proportions_of_a_composition_matter(seed, scale):
    loss, count = task_losses(*random_cells(seed), IS_BINARY)
    composition = torch.rand(5, generator=torch.Generator().manual_seed(seed)).double() + 0.1
    for reduction in ("task", "cell"):
        once = weighted_task_loss(loss, count, composition, reduction)
        scaled = weighted_task_loss(loss, count, composition * scale, reduction)
        torch.testing.assert_close(once, scaled)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_of_graphs_and_extra_unlabelled_graphs_change_nothing(seed):
    logits, targets = random_cells(seed)
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    more = torch.cat([logits[order], torch.randn(3, 5, dtype=torch.float64)])
    none = torch.cat([targets[order], torch.full((3, 5), math.nan, dtype=torch.float64)])
    for found, expected in zip(
        task_losses(more, none, IS_BINARY), task_losses(logits, targets, IS_BINARY), strict=True
    ):
        torch.testing.assert_close(found, expected)
