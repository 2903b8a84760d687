"""Adapter weight allocation: hand cases, SciPy, a slow driver, and a planted truth."""

import json
import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import DataError
from graphadapt.objective.awa import (
    adapter_allocation,
    contributions,
    precision_at,
    rank_correlation,
    sample_pairs,
    without_each,
)
from graphadapt.objective.readout_losses import ReadoutLosses

spearman = pytest.importorskip("scipy.stats").spearmanr


def distance_losses(truth):
    """A model whose loss is the squared distance of its weights to what would be best."""

    def losses(site, task, gates_CK):
        return np.square(gates_CK - truth[site][task]).sum(axis=1)

    return losses


def test_taking_an_adapter_out_rescales_the_others():
    found = without_each(np.array([0.5, 0.0, 0.25, 0.25]))
    assert found.tolist() == [[0, 0, 0.5, 0.5], [2 / 3, 0, 0, 1 / 3], [2 / 3, 0, 1 / 3, 0]]


def test_the_only_adapter_cannot_be_taken_out():
    with pytest.raises(DataError, match="one active adapter cannot be taken out"):
        without_each(np.array([0.0, 1.0]))


def test_a_contribution_is_the_rise_of_the_loss():
    truth = {"readout": np.array([[0.5, 0.0, 0.5]])}
    gate = np.array([0.5, 0.25, 0.25])
    found = contributions("readout", 0, gate, distance_losses(truth))
    now = 0.25**2 * 2
    expected = [0.25 + 0.25 - now, (1 / 6) ** 2 * 2 - now, (1 / 6) ** 2 + (1 / 3) ** 2 + 0.25 - now]
    assert found[0] == pytest.approx(0.25 + 0.25 + 0.0 - now)
    assert found[:2].tolist() == pytest.approx(expected[:2])
    assert found[1] < 0 < found[2]


def test_precision_by_hand():
    weight = np.array([0.4, 0.3, 0.2, 0.1])
    assert precision_at(weight, np.array([4.0, 3.0, 2.0, 1.0]), 2) == 1.0
    assert precision_at(weight, np.array([1.0, 2.0, 3.0, 4.0]), 2) == 0.0
    assert precision_at(weight, np.array([4.0, 1.0, 2.0, 3.0]), 2) == 0.5


def test_precision_of_no_more_than_m_adapters_is_undefined():
    assert math.isnan(precision_at(np.ones(3), np.ones(3), 3))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), top=st.integers(1, 3))
def test_ties_count_as_the_mean_over_all_their_orders(seed, top):
    random = np.random.default_rng(seed)
    weight, contribution = random.integers(0, 3, (2, 4)).astype(float)
    shares = []
    for first in permutations(range(4)):
        for second in permutations(range(4)):
            a = sorted(range(4), key=lambda k, f=first: (-weight[k], f[k]))[:top]
            b = sorted(range(4), key=lambda k, f=second: (-contribution[k], f[k]))[:top]
            shares.append(len(set(a) & set(b)) / top)
    assert precision_at(weight, contribution, top) == pytest.approx(np.mean(shares))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 12), levels=st.integers(2, 20))
def test_rank_correlation_agrees_with_scipy(seed, count, levels):
    random = np.random.default_rng(seed)
    weight, contribution = random.integers(0, levels, (2, count)).astype(float)
    found = rank_correlation(weight, contribution)
    if np.ptp(weight) == 0 or np.ptp(contribution) == 0:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(spearman(weight, contribution).statistic, abs=1e-12)


def slow_allocation(gates, losses, pairs, top):
    """Mean precision and ρ, one adapter and one question at a time."""
    shares, correlations = [], []
    for site, task in pairs:
        gate = gates[site][task]
        active = [k for k in range(len(gate)) if gate[k] > 0]
        before = losses(site, task, gate[None])[0]
        rises = []
        for k in active:
            other = np.array([0.0 if j == k else gate[j] for j in range(len(gate))])
            rises.append(losses(site, task, (other / other.sum())[None])[0] - before)
        by_weight = sorted(active, key=lambda k, g=gate: -g[k])[:top]
        by_rise = [active[i] for i in np.argsort(rises)[::-1][:top]]
        shares.append(len(set(by_weight) & set(by_rise)) / top)
        correlations.append(spearman(gate[active], rises).statistic)
    return np.mean(shares), np.mean(correlations)


def test_the_report_agrees_with_a_slow_loop():
    random = np.random.default_rng(0)
    sites = ("inner", "readout")
    gates = {site: random.dirichlet(np.ones(6), size=4) for site in sites}
    truth = {site: random.dirichlet(np.ones(6), size=4) for site in sites}
    pairs = sample_pairs(sites, range(4), 99, 0)
    found = adapter_allocation(gates, distance_losses(truth), pairs, top=2)
    precision, correlation = slow_allocation(gates, distance_losses(truth), pairs, 2)
    assert found.routed.precision[0] == pytest.approx(precision)
    assert found.routed.correlation[0] == pytest.approx(correlation)
    by_site = list(found.routed.by_site.values())
    assert np.mean([site[0] for site in by_site]) == pytest.approx(precision)
    assert list(found.routed.by_site) == ["inner", "readout"]
    assert found.routed.precision[1] <= precision <= found.routed.precision[2]
    assert found.routed.pairs == found.random.pairs == 8


def test_what_is_undefined_is_counted():
    gates = {
        "readout": np.array(
            [
                [1.0, 0.0, 0.0, 0.0],  # one adapter
                [0.5, 0.5, 0.0, 0.0],  # two adapters, equal weights
                [0.4, 0.3, 0.2, 0.1],
                [0.4, 0.3, 0.2, 0.1],  # no label
            ]
        )
    }

    def losses(site, task, gates_CK):
        loss = np.square(gates_CK - [1, 0, 0, 0]).sum(axis=1)
        return loss * np.nan if task == 3 else loss

    found = adapter_allocation(gates, losses, [("readout", t) for t in range(4)], top=2).routed
    assert (found.pairs, found.single, found.unlabelled) == (4, 1, 1)
    assert (found.precision_undefined, found.correlation_undefined) == (1, 1)
    assert not math.isnan(found.precision[0])


def test_a_report_of_nothing_is_valid_json():
    gates = {"readout": np.eye(3)}
    report = adapter_allocation(gates, distance_losses(gates), [("readout", 0)])
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["routed"]["precision"] == [None, None, None]
    assert plain["random"]["single"] == 1
    assert plain["top"] == 3


def test_the_control_is_as_sparse_and_follows_its_seed():
    seen = []

    def losses(site, task, gates_CK):
        seen.append(gates_CK[0])
        return np.arange(float(len(gates_CK)))

    gate = np.array([0.6, 0.3, 0.1, 0.0, 0.0])
    pairs = [("readout", 0)]
    for _ in range(2):
        adapter_allocation({"readout": gate[None]}, losses, pairs, seed=3, controls=20)
    assert np.array_equal(seen[0], gate)
    assert all(sorted(drawn) == sorted(gate) for drawn in seen)
    assert len({drawn.tobytes() for drawn in seen[1:21]}) > 5
    assert np.array_equal(seen[:21], seen[21:])


def test_pairs_are_sampled_without_replacement_and_seeded():
    everything = sample_pairs(["a", "b"], range(5), 10, 0)
    assert everything == [(site, task) for site in "ab" for task in range(5)]
    some = sample_pairs(["a", "b"], range(5), 4, 1)
    assert len(set(some)) == 4
    assert set(some) <= set(everything)
    assert some == sample_pairs(["a", "b"], range(5), 4, 1)
    assert len({tuple(sample_pairs(["a", "b"], range(5), 4, s)) for s in range(10)}) > 5


def planted(seed, tasks=24, adapters=8, width=16, molecules=200):
    """Regression tasks made from known adapters of a readout, and their true weights."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(molecules, width))
    rows = random.normal(size=(tasks, width))
    alone = random.normal(size=(tasks, adapters, width))
    truth = np.zeros((tasks, adapters))
    for row in truth:
        row[random.permutation(adapters)[:5]] = random.dirichlet(np.full(5, 2.0))
    logits = z @ rows.T + np.einsum("nd,tkd,tk->nt", z, alone, truth)
    noisy = logits + 0.1 * random.normal(size=logits.shape)
    none = np.zeros(tasks)
    return ReadoutLosses(z, noisy, none > 0, rows, none, alone), truth


def score(losses, gates):
    pairs = [("readout", task) for task in range(len(gates))]
    return adapter_allocation({"readout": gates}, losses, pairs, top=2, controls=4)


@pytest.mark.parametrize("seed", range(3))
def test_awa_tells_the_planted_routing_from_wrong_ones(seed):
    losses, truth = planted(seed)
    right = score(losses, truth)
    assert right.routed.correlation[0] > 0.8
    assert right.routed.precision[0] > 0.75
    assert right.routed.correlation[1] > right.random.correlation[2]
    assert right.routed.precision[1] > right.random.precision[2]
    strangers = score(losses, np.roll(truth, 1, axis=0)).routed
    assert strangers.correlation[2] < right.routed.correlation[1]
    reversed_weights = np.where(truth > 0, truth.max(1, keepdims=True) - truth + 0.01, 0.0)
    upside_down = score(losses, reversed_weights / reversed_weights.sum(1, keepdims=True)).routed
    assert upside_down.correlation[2] < right.routed.correlation[1]
