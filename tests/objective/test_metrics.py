"""Scores per task and their means: parity with ogb's Evaluator, flags, what is skipped."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.data.store import TaskInfo
from graphadapt.errors import DataError
from graphadapt.objective import metrics
from graphadapt.objective.metrics import (
    evaluate_tasks,
    higher_is_better,
    root_mean_square_error,
)
from graphadapt.objective.ogb_evaluator import official_mean


def binary_tasks(count):
    return [TaskInfo(f"b{t}", "binary") for t in range(count)]


def regression_tasks(count):
    return [TaskInfo(f"r{t}", "regression", "pIC50") for t in range(count)]


def binary_cells(seed, molecules, tasks, positives=0.3, levels=20):
    """Scores with ties, labels with holes, and some tasks of one class or none."""
    random = np.random.default_rng(seed)
    labels = (random.random((molecules, tasks)) < positives).astype(np.float32)
    labels[random.random(labels.shape) < 0.4] = np.nan
    labels[:, 0] = np.where(np.isnan(labels[:, 0]), np.nan, 0.0)
    scores = (random.integers(0, levels, labels.shape) + np.nan_to_num(labels)).astype(np.float32)
    return scores, labels, random.random(labels.shape) < 0.7


@pytest.mark.parametrize(
    ("ogb_set", "tasks", "metric"), [("ogbg-moltox21", 12, "rocauc"), ("ogbg-molpcba", 128, "ap")]
)
@pytest.mark.parametrize("seed", range(3))
def test_means_are_what_ogb_reports(ogb_set, tasks, metric, seed):
    scores, labels, mask = binary_cells(seed, 60, tasks)
    found = evaluate_tasks(scores, labels, mask, binary_tasks(tasks), metric=metric)
    official = official_mean(ogb_set, scores, np.where(mask, labels, np.nan))
    assert found.mean[metric] == pytest.approx(official[metric], abs=1e-12)
    assert found.score == found.mean[metric]
    assert found.metric == metric
    assert "b0" in found.skipped


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), molecules=st.integers(4, 30))
def test_tasks_are_left_out_exactly_as_ogb_leaves_them_out(seed, molecules):
    scores, labels, mask = binary_cells(seed, molecules, 12, positives=0.1)
    found = evaluate_tasks(scores, labels, mask, binary_tasks(12))
    official = official_mean("ogbg-moltox21", scores, np.where(mask, labels, np.nan))
    assert found.mean.get("rocauc") == pytest.approx(official.get("rocauc"))
    assert len(found.skipped) == sum("rocauc" not in values for values in found.tasks.values())


def test_on_ogbs_own_sets_the_mean_comes_from_its_evaluator(monkeypatch):
    scores, labels, mask = binary_cells(0, 60, 12)
    monkeypatch.setattr(metrics, "official_mean", lambda *_: {"rocauc": 0.123})
    found = evaluate_tasks(scores, labels, mask, binary_tasks(12), ogb_set="ogbg-moltox21")
    assert found.mean["rocauc"] == found.score == 0.123


def test_rmse_in_the_labels_units_by_hand():
    labels = np.array([[6.0, 5.0], [7.0, np.nan], [8.0, 9.0]], np.float32)
    answers = np.array([[6.0, 5.5], [9.0, 99.0], [8.0, 9.5]], np.float32)
    mask = np.array([[1, 1], [1, 1], [0, 1]], bool)
    found = evaluate_tasks(answers, labels, mask, regression_tasks(2))
    assert found.tasks == {
        "r0": {"cells": 2, "rmse": pytest.approx(math.sqrt(2))},
        "r1": {"cells": 2, "rmse": pytest.approx(0.5)},
    }
    assert found.mean["rmse"] == pytest.approx((math.sqrt(2) + 0.5) / 2)
    assert found.score == -found.mean["rmse"]
    assert found.metric == "rmse"


def test_flagged_cells_are_scored_alone_too():
    random = np.random.default_rng(0)
    labels = random.normal(size=(40, 3)).astype(np.float32)
    answers = random.normal(size=(40, 3)).astype(np.float32)
    cliff = random.random((40, 3)) < 0.3
    cliff[:, 2] = False
    mask = random.random((40, 3)) < 0.6
    found = evaluate_tasks(answers, labels, mask, regression_tasks(3), flags={"cliff": cliff})
    expected = []
    for t in range(2):
        cells = mask[:, t] & cliff[:, t]
        error = answers[cells, t] - labels[cells, t]
        expected.append(math.sqrt((error.astype(float) ** 2).mean()))
        assert found.tasks[f"r{t}"]["cliff_rmse"] == pytest.approx(expected[-1])
    assert "cliff_rmse" not in found.tasks["r2"]
    assert found.mean["cliff_rmse"] == pytest.approx(np.mean(expected))


def test_what_is_skipped_says_why():
    labels = np.array([[0, np.nan, 1, 1], [0, np.nan, 1, 0]], np.float32)
    found = evaluate_tasks(labels, labels, np.ones((2, 4), bool), binary_tasks(4))
    assert found.skipped == {
        "b0": "one class only: 0 of 2 cells are positive",
        "b1": "no labelled cell",
        "b2": "one class only: 2 of 2 cells are positive",
    }
    assert found.tasks["b1"] == {"cells": 0}
    assert found.score == 1.0


@pytest.mark.parametrize("tasks", [binary_tasks(2), regression_tasks(2), [
    TaskInfo("b", "binary"), TaskInfo("r", "regression")]])  # fmt: skip
def test_a_score_of_nothing_is_not_a_number_and_valid_json(tasks):
    nothing = np.full((3, 2), np.nan, np.float32)
    found = evaluate_tasks(nothing, nothing, np.ones((3, 2), bool), tasks)
    assert math.isnan(found.score)
    assert found.mean == {}
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["score"] is None


def test_a_library_of_both_kinds_is_chosen_by_task_not_by_unit():
    labels = np.array([[0, 2.0], [1, 4.0], [0, 6.0], [1, 8.0]], np.float32)
    answers = np.array([[0.2, 3.0], [0.8, 4.0], [0.1, 6.0], [0.9, 8.0]], np.float32)
    tasks = [TaskInfo("b", "binary"), TaskInfo("r", "regression")]
    found = evaluate_tasks(answers, labels, labels == labels, tasks)
    scaled = evaluate_tasks(
        answers * [1, 1000], labels * [1, 1000], labels == labels, tasks, metric="ap"
    )
    assert found.metric == "mixed"
    assert found.score == pytest.approx((1.0 + 1 - 0.5 / math.sqrt(5)) / 2)
    assert scaled.score == pytest.approx(found.score)


@pytest.mark.parametrize("cells", [1, 3])
def test_a_regression_whose_labels_are_alike_has_no_part_in_the_choice(cells):
    labels = np.full((4, 2), np.nan, np.float32)
    labels[:, 0], labels[:cells, 1] = [0, 1, 0, 1], 0.1  # no mean of these is 0.1 exactly
    answers = np.array([[0.2, 3.0], [0.8, 4.0], [0.1, 6.0], [0.9, 8.0]], np.float32)
    tasks = [TaskInfo("b", "binary"), TaskInfo("r", "regression")]
    found = evaluate_tasks(answers, labels, labels == labels, tasks)
    assert (found.metric, found.score) == ("mixed", 1.0)
    assert found.tasks["r"]["rmse"] > 2


def test_predictions_outside_the_mask_may_be_anything():
    scores, labels, mask = binary_cells(1, 30, 3)
    wild = np.where(mask & ~np.isnan(labels), scores, np.nan)
    found = evaluate_tasks(wild, labels, mask, binary_tasks(3))
    assert found == evaluate_tasks(scores, labels, mask, binary_tasks(3))


def test_predictions_that_are_not_finite_are_refused():
    scores, labels, mask = binary_cells(1, 30, 3)
    scores[mask[:, 2] & ~np.isnan(labels[:, 2]), 2] = np.inf
    with pytest.raises(DataError, match=r"predictions of task 'b2' are not finite: the model"):
        evaluate_tasks(scores, labels, mask, binary_tasks(3))


def test_shapes_that_do_not_fit_are_refused():
    scores, labels, mask = binary_cells(1, 30, 3)
    with pytest.raises(DataError, match=r"predictions \(29, 3\), labelled cells \(30, 3\) and 3"):
        evaluate_tasks(scores[1:], labels, mask, binary_tasks(3))


def test_rmse_is_computed_in_float64():
    label = np.full(1000, 1e4, np.float32)
    assert root_mean_square_error(label + 1, label) == pytest.approx(1.0, abs=1e-9)
    assert math.isnan(root_mean_square_error(label[:0], label[:0]))


def test_direction_of_metrics():
    assert higher_is_better("rocauc")
    assert higher_is_better("cliff_ap")
    assert not higher_is_better("cliff_rmse")
