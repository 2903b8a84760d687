"""Isotonic regression: the loop's blocks, the least error of all rising sequences, few knots."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.export.isotonic import KNOTS, fit_knots, pool_adjacent_violators


def slow_pool(values, weights):
    """Take values one by one; as long as the last block is not above the one before, join them."""
    blocks = []
    for place, (value, weight) in enumerate(zip(values, weights, strict=True)):
        blocks.append([place, value * weight, weight])
        while len(blocks) > 1 and blocks[-1][1] / blocks[-1][2] <= blocks[-2][1] / blocks[-2][2]:
            _, total, held = blocks.pop()
            blocks[-1][1] += total
            blocks[-1][2] += held
    return [first for first, _, _ in blocks], [total / held for _, total, held in blocks]


def means_of(values, weights, first):
    """Mean of each block, for every member of it."""
    ends = [*first[1:], len(values)]
    spans = [slice(start, end) for start, end in zip(first, ends, strict=True)]
    means = [np.average(values[span], weights=weights[span]) for span in spans]
    return np.repeat(means, np.subtract(ends, first))


def error_of(values, weights, fitted):
    return float((weights * (values - fitted) ** 2).sum())


# Wholes and halves, so that a tie is a tie in every order of summation.
SEQUENCES = st.lists(
    st.tuples(st.integers(-4, 4).map(float), st.integers(1, 3).map(float)), min_size=1, max_size=7
).map(lambda pairs: tuple(np.array(column) for column in zip(*pairs, strict=True)))


@given(SEQUENCES)
def test_the_blocks_are_those_of_the_loop(sequence):
    values, weights = sequence
    found = pool_adjacent_violators(values, weights)
    first, means = slow_pool(values, weights)
    np.testing.assert_allclose(
        means_of(values, weights, found), means_of(values, weights, np.array(first)), atol=1e-12
    )
    assert len(found) <= len(means)


@given(SEQUENCES)
def test_no_rising_sequence_is_nearer(sequence):
    """The nearest one is made of means of consecutive blocks, so all of those are tried."""
    values, weights = sequence
    fitted = means_of(values, weights, pool_adjacent_violators(values, weights))
    assert (np.diff(fitted) >= -1e-12).all()
    least = np.inf
    for count in range(len(values)):
        for cuts in combinations(range(1, len(values)), count):
            other = means_of(values, weights, np.array([0, *cuts]))
            if (np.diff(other) >= 0).all():
                least = min(least, error_of(values, weights, other))
    assert error_of(values, weights, fitted) == pytest.approx(least, abs=1e-9)


@given(SEQUENCES, st.lists(st.floats(-5, 5), min_size=7, max_size=7))
def test_any_other_rising_sequence_is_farther(sequence, numbers):
    values, weights = sequence
    fitted = means_of(values, weights, pool_adjacent_violators(values, weights))
    other = np.sort(numbers)[: len(values)]
    assert error_of(values, weights, fitted) <= error_of(values, weights, other) + 1e-9


def test_scikit_learn_finds_the_same():
    regression = pytest.importorskip("sklearn.isotonic").IsotonicRegression
    random = np.random.default_rng(0)
    values, weights = random.normal(size=400) + np.arange(400) / 100, random.uniform(0.1, 3, 400)
    expected = regression().fit_transform(np.arange(400), values, sample_weight=weights)
    found = means_of(values, weights, pool_adjacent_violators(values, weights))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.fixture
def cells():
    """Labels drawn with a probability that no temperature gives: three levels of the score."""
    random = np.random.default_rng(0)
    score = random.normal(size=3000)
    probability = np.where(score < -0.5, 0.02, np.where(score < 1, 0.3, 0.8))
    return score, random.uniform(size=3000) < probability


def test_the_table_rises_and_keeps_its_bounds(cells):
    score, positive = cells
    place, share = fit_knots(score, positive)
    assert 3 <= len(place) == len(share) <= KNOTS == 16
    assert (np.diff(place) >= np.std(score) / 64).all()
    assert (np.diff(share) > 0).all()
    assert (np.diff(share) <= 4 / np.std(score) * np.diff(place) + 1e-12).all()
    assert share[0] >= 1 / 3002
    assert share[-1] <= 3001 / 3002


def test_the_planted_levels_are_found(cells):
    table = fit_knots(*cells)
    np.testing.assert_allclose(np.interp([-1.5, 0.2, 1.8], *table), [0.02, 0.3, 0.8], atol=0.05)


def test_knots_hold_all_cells_on_the_average(cells):
    """Blocks are joined, never dropped; a single one is the mean of all."""
    score, positive = cells
    for most in (16, 5, 2, 1):
        place, share = fit_knots(score, positive, most)
        assert 1 <= len(place) <= most
        assert place[0] - 1e-9 <= score.mean() <= place[-1] + 1e-9
        assert share[0] - 1e-9 <= positive.mean() <= share[-1] + 1e-9
    assert (place[0], share[0]) == pytest.approx((score.mean(), positive.mean()))


def test_few_blocks_stay_as_isotonic_regression_has_them():
    score = np.repeat([-2.0, -1.0, 0.0, 1.0, 2.0], 10)
    positive = np.concatenate([np.arange(10) < count for count in (1, 4, 2, 6, 9)])
    place, share = fit_knots(score, positive)
    # the second and the third do not rise: one block of 6 in 20 at -1/2
    np.testing.assert_allclose(place, [-2, -0.5, 1, 2])
    np.testing.assert_allclose(share, [0.1, 0.3, 0.6, 0.9])


def test_no_answer_is_surer_than_the_cells():
    score = np.concatenate([np.full(10, -1.0), np.full(10, 1.0)])
    place, share = fit_knots(score, score > 0)
    np.testing.assert_allclose(place, [-1, 1])
    np.testing.assert_allclose(share, [1 / 22, 21 / 22])


def test_a_step_becomes_a_slope_that_rounding_cannot_upset():
    score = np.linspace(-1, 1, 1001)
    place, share = fit_knots(score, score > 0)
    spread = np.std(score)
    assert (np.diff(share) <= 4 / spread * np.diff(place) + 1e-12).all()
    assert np.interp(-0.9, place, share) < 0.05 < 0.95 < np.interp(0.9, place, share)


def test_scores_far_from_zero_are_held_to_their_size():
    score = -50 + np.linspace(-0.01, 0.01, 200)
    place, _ = fit_knots(score, np.arange(200) >= 100)
    assert (np.diff(place) >= 5 / 64).all()


def test_equal_scores_are_one_knot_at_their_share():
    place, share = fit_knots(np.full(8, 0.25), np.arange(8) < 2)
    assert (place.tolist(), share.tolist()) == ([0.25], [0.25])


@given(st.lists(st.tuples(st.floats(-30, 30), st.booleans()), min_size=1, max_size=40))
def test_a_table_is_a_table_whatever_the_cells(cells):
    score, positive = np.array(cells).T
    place, share = fit_knots(score, positive > 0)
    assert np.isfinite(place).all()
    assert (np.diff(place) > 0).all()
    assert (np.diff(share) >= 0).all()
    assert 0 < share[0] <= share[-1] < 1
