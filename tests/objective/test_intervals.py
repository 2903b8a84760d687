"""Bootstrap intervals: coverage on known truth, pairing, seeds."""

import math

import numpy as np
import pytest

from graphadapt.errors import DataError
from graphadapt.objective.intervals import bootstrap_mean, paired_difference


def test_the_mean_is_the_plain_mean_of_differences():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(3, 8)), random.normal(size=(3, 8))
    mean, low, high = paired_difference(a, b, seed=1)
    assert mean == pytest.approx((a - b).mean())
    assert low < mean < high


def test_what_both_share_does_not_widen_the_interval():
    random = np.random.default_rng(0)
    a = random.normal(size=(3, 8))
    hard = random.normal(size=(1, 8)) * 100
    once = paired_difference(a, np.zeros((3, 8)), seed=1)
    shared = paired_difference(a + hard, hard.repeat(3, 0), seed=1)
    assert shared == pytest.approx(once, abs=1e-9)


def test_the_interval_turns_with_the_sign():
    random = np.random.default_rng(2)
    a, b = random.normal(size=(3, 40)), random.normal(size=(3, 40))
    mean, low, high = paired_difference(a, b)
    turned = paired_difference(b, a)
    assert turned == pytest.approx((-mean, -high, -low), abs=0.01)


def test_the_interval_covers_a_true_task_effect_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    covered = 0
    for trial in range(100):
        truth = 0.3 + random.normal(size=(1, 30)) + 0.3 * random.normal(size=(3, 30))
        _, low, high = paired_difference(truth, np.zeros((3, 30)), seed=trial)
        covered += low <= 0.3 <= high
    assert 85 <= covered <= 100


def test_a_seed_that_moves_all_tasks_widens_the_interval():
    """Ninety cells that share three draws are three draws, not ninety."""
    random = np.random.default_rng(4)
    noise = random.normal(size=(3, 30))
    alike = paired_difference(noise - noise.mean(), np.zeros((3, 30)))
    shift = np.array([[-2.0], [0.0], [2.0]])
    moved = paired_difference(noise - noise.mean() + shift, np.zeros((3, 30)))
    assert moved[2] - moved[1] > 3 * (alike[2] - alike[1])


def test_one_seed_resamples_tasks_only():
    values = np.random.default_rng(5).normal(size=(1, 200))
    _, low, high = paired_difference(values, np.zeros((1, 200)))
    expected = 2 * 1.96 * values.std() / math.sqrt(200)
    assert high - low == pytest.approx(expected, rel=0.05)


def test_intervals_follow_their_seed():
    a, b = np.random.default_rng(6).normal(size=(2, 3, 9))
    assert paired_difference(a, b, seed=1) == paired_difference(a, b, seed=1)
    assert paired_difference(a, b, seed=1) != paired_difference(a, b, seed=2)


def test_a_narrower_interval_has_less_confidence():
    a, b = np.random.default_rng(6).normal(size=(2, 3, 9))
    _, low, high = paired_difference(a, b)
    _, low_half, high_half = paired_difference(a, b, confidence=0.5)
    assert low < low_half < high_half < high


def test_the_mean_of_independent_values_has_the_textbook_width():
    values = np.random.default_rng(7).normal(size=400)
    mean, low, high = bootstrap_mean(values, seed=0)
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_the_mean_of_nothing_is_not_a_number():
    assert all(math.isnan(value) for value in bootstrap_mean(np.zeros(0)))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"\(2, 3\) and \(3, 2\) cannot be paired"),
        (np.zeros(3), np.zeros(3), r"give \(seeds, tasks\) twice"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "cannot be paired"),
        (np.full((1, 2), np.nan), np.zeros((1, 2)), "a score is missing or infinite"),
    ],
)
def test_what_cannot_be_paired_is_refused(a, b, message):
    with pytest.raises(DataError, match=message):
        paired_difference(a, b)
