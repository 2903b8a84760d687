"""Temperatures: found where they were planted, and never without cells enough."""

import numpy as np
import pytest
import torch

from graphadapt.data.store import TaskInfo
from graphadapt.export.calibration import (
    FEWEST_CELLS,
    expected_calibration_error,
    fit_temperatures,
    temper,
)
from graphadapt.export.contract_parts import Calibration

TOXIC = TaskInfo("toxic", "binary")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def cells():
    """Labels drawn by their own probabilities, and logits that are three times too sure."""
    random = np.random.default_rng(0)
    logit = random.normal(size=(20_000, 1)) * 1.5
    label = (random.uniform(size=logit.shape) < sigmoid(logit)).astype(np.float64)
    return 3 * logit, label


def test_a_planted_temperature_is_found(cells):
    found = fit_temperatures([TOXIC], *cells)["toxic"]
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    assert found.cells == 20_000
    assert found.after < 0.02 < 0.1 < found.before


def test_no_other_temperature_loses_less(cells):
    logit, label = (each[:, 0] for each in cells)

    def loss(temperature):
        p = sigmoid(logit / temperature)
        return -np.where(label > 0.5, np.log(p), np.log1p(-p)).mean()

    best = fit_temperatures([TOXIC], *cells)["toxic"].temperature
    assert all(loss(best) <= loss(best * factor) for factor in (0.5, 0.99, 1.01, 2))


def test_only_cells_of_binary_tasks_count(cells):
    logits, labels = (np.repeat(each[:400], 3, axis=1) for each in cells)
    labels[200:, 1] = np.nan
    tasks = [TOXIC, TaskInfo("other", "binary"), TaskInfo("potency", "regression")]
    found = fit_temperatures(tasks, logits, labels)
    assert {name: each.cells for name, each in found.items()} == {"toxic": 400, "other": 200}


@pytest.mark.parametrize(
    ("cells_held", "positives"), [(FEWEST_CELLS - 1, 20), (400, 9), (400, 391), (0, 0)]
)
def test_too_few_cells_are_left_alone(cells_held, positives):
    labels = np.full((500, 1), np.nan)
    labels[:cells_held] = 0
    labels[:positives] = 1
    assert fit_temperatures([TOXIC], np.zeros((500, 1)), labels) == {}


def test_the_error_is_a_mean_over_bins():
    probability = np.array([0.05, 0.05, 0.9, 0.95, 1.0])
    positive = np.array([False, True, True, False, True])
    # bins [0, 1/15): 2 cells, gap 0.9 in sum; [13/15, 14/15): 1 cell; the last: 2 cells
    expected = (abs(0.1 - 1) + abs(0.9 - 1) + abs(1.95 - 1)) / 5
    assert expected_calibration_error(probability, positive) == pytest.approx(expected)


def test_the_head_divides_the_logits_of_the_tasks_that_are_named(make_frozen, feature_embedding):
    frozen = make_frozen(None, feature_embedding, ("binary", "binary", "regression"))
    z = torch.randn(5, frozen.head.in_features)
    before = frozen.head(z)
    part = Calibration(temperature=2.0, cells=100, before=0.2, after=0.1)
    temper(frozen, {"task1": part})
    expected = before / torch.tensor([1.0, 2.0, 1.0])
    torch.testing.assert_close(frozen.head(z), expected)
