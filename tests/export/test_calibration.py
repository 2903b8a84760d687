"""Calibration: found where it was planted, judged on cells left out, never without cells enough."""

import numpy as np
import pytest
import torch

from graphadapt.data.store import TaskInfo
from graphadapt.export.calibration import (
    FEWEST_CELLS,
    calibrate,
    calibration_record,
    expected_calibration_error,
    fit_calibration,
    left_out,
    log_loss,
)
from graphadapt.export.contract_parts import Calibration

TOXIC = TaskInfo("toxic", "binary")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def draw(count, seed=0):
    """Labels drawn by their own probabilities, and logits that are three times too sure."""
    random = np.random.default_rng(seed)
    logit = random.normal(size=(count, 1)) * 1.5
    label = (random.uniform(size=logit.shape) < sigmoid(logit)).astype(np.float64)
    return 3 * logit, label


@pytest.fixture(scope="module")
def cells():
    return draw(20_000)


@pytest.fixture(params=["temperature", "isotonic"])
def method(request):
    return request.param


def test_a_planted_temperature_is_found(cells):
    found = fit_calibration([TOXIC], *cells)["toxic"]
    assert (found.method, found.logits) == ("temperature", ())
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    assert found.cells == 20_000
    assert found.after < 0.02 < 0.1 < found.before


def test_no_other_temperature_loses_less(cells):
    logit, label = (each[:, 0] for each in cells)

    def loss(temperature):
        p = sigmoid(logit / temperature)
        return -np.where(label > 0.5, np.log(p), np.log1p(-p)).mean()

    found = fit_calibration([TOXIC], *cells)["toxic"]
    best = found.temperature
    assert all(loss(best) <= loss(best * factor) for factor in (0.5, 0.99, 1.01, 2))
    assert found.log_loss_after == pytest.approx(loss(best), rel=1e-9)
    assert found.log_loss_before == pytest.approx(loss(1.0), rel=1e-9)


@pytest.mark.parametrize(("scale", "expected"), [(1e-3, 0.05), (1e3, 20.0)])
def test_a_temperature_beyond_the_range_stops_at_its_end(cells, scale, expected):
    logits, labels = (each[:500] for each in cells)
    found = fit_calibration([TOXIC], logits * scale, labels)["toxic"]
    assert found.temperature == pytest.approx(expected)


def test_the_planted_map_is_found_by_the_table(cells):
    found = fit_calibration([TOXIC], *cells, "isotonic")["toxic"]
    assert (found.method, found.temperature) == ("isotonic", 1.0)
    logit = np.linspace(-6, 6, 25)
    answered = np.interp(logit, found.logits, found.probabilities)
    np.testing.assert_allclose(answered, sigmoid(logit / 3), atol=0.06)
    assert max(found.after, found.held_out) < 0.02 < 0.1 < found.before


def test_what_is_measured_on_cells_left_out_is_the_truth_of_new_ones():
    """Of many small fits: what the fitted cells promise is too much, what others say is not."""
    new_logit, new_label = (each[:, 0] for each in draw(20_000, seed=99))
    promised, expected, true = [], [], []
    for seed in range(12):
        found = fit_calibration([TOXIC], *draw(250, seed), "isotonic")["toxic"]
        promised.append(found.log_loss_after)
        expected.append(found.log_loss_held_out)
        answers = np.interp(new_logit, found.logits, found.probabilities)
        true.append(log_loss(answers, new_label > 0.5))
    assert np.mean(promised) < np.mean(true) - 0.01
    # four fifths of the cells fit a little worse than all of them
    assert np.mean(true) - 0.02 < np.mean(expected) < np.mean(true) + 0.06


def test_a_temperature_owes_next_to_nothing_to_chance(cells):
    found = fit_calibration([TOXIC], *cells)["toxic"]
    assert found.log_loss_after <= found.log_loss_held_out
    assert found.log_loss_held_out == pytest.approx(found.log_loss_after, abs=1e-3)
    assert found.held_out == pytest.approx(found.after, abs=5e-3)


def test_what_is_left_out_is_answered_by_the_others(method):
    """By hand: every fifth refitted, without the cells that it answers."""
    logits, labels = draw(600)
    found = fit_calibration([TOXIC], logits, labels, method)["toxic"]
    random, fold = np.random.default_rng(0), np.empty(600, int)
    for members in (np.flatnonzero(labels[:, 0] == 1), np.flatnonzero(labels[:, 0] == 0)):
        fold[random.permutation(members)] = np.arange(len(members)) % 5
    answers = np.empty(600)
    for out in range(5):
        kept, left = fold != out, fold == out
        part = fit_calibration([TOXIC], logits[kept], labels[kept], method)["toxic"]
        if method == "isotonic":
            answers[left] = np.interp(logits[left, 0], part.logits, part.probabilities)
        else:
            answers[left] = sigmoid(logits[left, 0] / part.temperature)
    positive = labels[:, 0] > 0.5
    assert found.held_out == pytest.approx(expected_calibration_error(answers, positive))
    assert found.log_loss_held_out == pytest.approx(log_loss(answers, positive))


def test_only_cells_of_binary_tasks_count(cells, method):
    logits, labels = (np.repeat(each[:400], 3, axis=1) for each in cells)
    labels[200:, 1] = np.nan
    tasks = [TOXIC, TaskInfo("other", "binary"), TaskInfo("potency", "regression")]
    found = fit_calibration(tasks, logits, labels, method)
    assert {name: each.cells for name, each in found.items()} == {"toxic": 400, "other": 200}


@pytest.mark.parametrize("short", ["cells", "positives", "negatives", "everything"])
def test_too_few_cells_are_left_alone(short, method):
    fewest = FEWEST_CELLS[method]
    rarer = fewest // 5
    held, positives = {
        "cells": (fewest - 1, rarer),
        "positives": (500, rarer - 1),
        "negatives": (500, 500 - rarer + 1),
        "everything": (0, 0),
    }[short]
    labels = np.full((500, 1), np.nan)
    labels[:held] = 0
    labels[:positives] = 1
    logits = np.linspace(1, -1, 500)[:, None]
    assert fit_calibration([TOXIC], logits, labels, method) == {}
    cells, few = (held, min(positives, held - positives)) if held else (0, 0)
    assert left_out([TOXIC], labels, {}, method) == {
        "toxic": f"{cells} cells, {few} of the rarer class"
    }
    labels[:fewest], labels[:rarer] = 0, 1
    labels[fewest:] = np.nan
    assert fit_calibration([TOXIC], logits, labels, method)["toxic"].cells == fewest


def test_scores_that_tell_nothing_get_no_table():
    """They fall where labels rise, so isotonic regression pools all of them to one probability."""
    labels = np.repeat([0.0, 1.0], 150)[:, None].repeat(2, axis=1)
    logits = np.stack([np.linspace(1, -1, 300), np.linspace(-1, 1, 300)], axis=1)
    tasks = [TOXIC, TaskInfo("told", "binary")]
    found = fit_calibration(tasks, logits, labels, "isotonic")
    assert set(found) == {"told"}
    assert len(found["told"].logits) > 1
    (reason,) = left_out(tasks, labels, found, "isotonic").values()
    assert reason.endswith("so one probability would answer for all")
    assert set(fit_calibration(tasks, logits, labels)) == {"toxic", "told"}


def test_what_was_asked_for_is_recorded_with_what_it_needs():
    assert calibration_record("isotonic", {"toxic": "why"}, {"ap": 0.5}) == {
        "method": "isotonic",
        "fewest_cells": 200,
        "fewest_of_a_class": 40,
        "left_out": {"toxic": "why"},
        "after": {"ap": 0.5},
    }
    assert calibration_record("temperature", {})["after"] == {}


def test_the_error_is_a_mean_over_bins():
    probability = np.array([0.05, 0.05, 0.9, 0.95, 1.0])
    positive = np.array([False, True, True, False, True])
    # bins [0, 1/15): 2 cells, gap 0.9 in sum; [13/15, 14/15): 1 cell; the last: 2 cells
    expected = (abs(0.1 - 1) + abs(0.9 - 1) + abs(1.95 - 1)) / 5
    assert expected_calibration_error(probability, positive) == pytest.approx(expected)


def test_a_log_loss_has_an_end():
    positive = np.array([True, False, True])
    found = log_loss(np.array([0.5, 0.75, 0.0]), positive)
    assert found == pytest.approx(-(np.log(0.5) + np.log(0.25) + np.log(1e-12)) / 3)


@pytest.fixture
def frozen(make_frozen, feature_embedding):
    return make_frozen(None, feature_embedding, ("binary", "binary", "regression"))


def test_the_head_divides_the_logits_of_the_tasks_that_are_named(frozen):
    z = torch.randn(5, frozen.head.in_features)
    before = frozen.head(z)
    calibrate(frozen, {"task1": Calibration(temperature=2.0, cells=100, before=0.2, after=0.1)})
    expected = before / torch.tensor([1.0, 2.0, 1.0])
    torch.testing.assert_close(frozen.head(z), expected)
    assert frozen.calibration is None


def test_a_table_answers_for_the_tasks_that_have_one(frozen):
    part = Calibration(
        method="isotonic",
        logits=(-0.5, 0.5),
        probabilities=(0.1, 0.9),
        cells=200,
        before=0.2,
        after=0.1,
    )
    before = frozen.head.weight.clone()
    calibrate(frozen, {"task1": part})
    assert torch.equal(frozen.head.weight, before)
    logits = torch.tensor([[3.0, -2.0, 5.0], [0.0, 0.0, -1.0], [-1.0, 0.25, 0.0]])
    expected = logits.clone()
    expected[:, 0] = logits[:, 0].sigmoid()
    expected[:, 1] = torch.tensor([0.1, 0.5, 0.7])
    torch.testing.assert_close(frozen._probabilities(logits), expected)
