"""ROC-AUC and average precision against scikit-learn, slow definitions and symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.objective.ranking import average_precision, roc_auc

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def random_scores(seed, cells, levels):
    """Scores with many ties if ``levels`` is small, and labels of both classes."""
    random = np.random.default_rng(seed)
    positive = random.random(cells) < random.uniform(0.05, 0.95)
    positive[:2] = [True, False]
    score = random.integers(0, levels, cells) / levels - 0.5
    return random.permutation(score).astype(np.float32), positive


def slow_roc_auc(score, positive):
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0 for p in score[positive] for n in score[~positive]
    ]
    return sum(wins) / len(wins)


CELLS = {
    "seed": st.integers(0, 10_000),
    "cells": st.integers(2, 40),
    "levels": st.sampled_from([1, 2, 5, 1000]),
}


@settings(max_examples=80, deadline=None)
@given(**CELLS)
def test_roc_auc_is_the_chance_of_a_right_pair(seed, cells, levels):
    score, positive = random_scores(seed, cells, levels)
    assert roc_auc(score, positive) == pytest.approx(slow_roc_auc(score, positive), abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(**CELLS)
def test_both_agree_with_scikit_learn(seed, cells, levels):
    score, positive = random_scores(seed, cells, levels)
    assert roc_auc(score, positive) == pytest.approx(
        sklearn_metrics.roc_auc_score(positive, score), abs=1e-12
    )
    assert average_precision(score, positive) == pytest.approx(
        sklearn_metrics.average_precision_score(positive, score), abs=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(**CELLS)
def test_only_the_order_of_scores_matters(seed, cells, levels):
    score, positive = random_scores(seed, cells, levels)
    order = np.random.default_rng(seed).permutation(cells)
    for metric in (roc_auc, average_precision):
        moved = metric(np.exp(2 * score[order]) - 7, positive[order])
        assert moved == pytest.approx(metric(score, positive), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(**CELLS)
def test_turning_the_scores_mirrors_roc_auc(seed, cells, levels):
    score, positive = random_scores(seed, cells, levels)
    assert roc_auc(-score, positive) == pytest.approx(1 - roc_auc(score, positive), abs=1e-12)


def test_average_precision_by_hand():
    score = np.array([0.9, 0.8, 0.7, 0.6])
    positive = np.array([True, False, True, False])
    assert average_precision(score, positive) == pytest.approx((1 / 1 + 2 / 3) / 2)


@pytest.mark.parametrize("value", [True, False])
def test_one_class_has_no_score(value):
    score, positive = np.arange(3.0), np.full(3, value)
    assert math.isnan(roc_auc(score, positive))
    assert math.isnan(average_precision(score, positive))


def test_no_cell_has_no_score():
    nothing = np.zeros(0)
    assert math.isnan(roc_auc(nothing, nothing > 0))
    assert math.isnan(average_precision(nothing, nothing > 0))
