"""The relation estimated from labels, against a slow loop over pairs and against symmetries."""

import csv
import gzip
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import DataError
from graphadapt.relation import estimate
from graphadapt.relation.estimate import label_relation

SETTINGS = {"shrinkage": 5.0, "minimum_overlap": 4, "neighbours": 100}


def names(tasks):
    return [f"task{t}" for t in range(tasks)]


def random_labels(seed, molecules=60, tasks=5, missing=0.4, binary=2):
    """Some binary and some regression tasks that share a cause, with missing cells."""
    random = np.random.default_rng(seed)
    cause = random.normal(size=(molecules, 1))
    labels = cause * random.normal(size=tasks) + random.normal(size=(molecules, tasks))
    labels[:, :binary] = labels[:, :binary] > 0.3
    labels[random.random(labels.shape) < missing] = np.nan
    return labels.astype(np.float32), random.random(labels.shape) < 0.8


def slow_relation(labels, mask, *, shrinkage, minimum_overlap, neighbours):
    """One pair at a time with NumPy's own correlation; top-m before symmetrising."""
    tasks = labels.shape[1]
    signed = np.zeros((tasks, tasks))
    for i in range(tasks):
        for j in range(tasks):
            both = mask[:, i] & mask[:, j] & ~np.isnan(labels[:, i]) & ~np.isnan(labels[:, j])
            a, b = labels[both, i].astype(float), labels[both, j].astype(float)
            if i == j or len(a) < minimum_overlap or np.ptp(a) == 0 or np.ptp(b) == 0:
                continue
            signed[i, j] = np.corrcoef(a, b)[0, 1] * len(a) / (len(a) + shrinkage)
    kept = np.zeros_like(signed)
    for i in range(tasks):
        for j in sorted(range(tasks), key=lambda j, i=i: -signed[i, j])[:neighbours]:
            kept[i, j] = max(signed[i, j], 0.0)
    return signed, np.maximum(kept, kept.T)


@pytest.mark.parametrize("neighbours", [1, 2, 4, 100])
@pytest.mark.parametrize("seed", range(6))
def test_matrix_products_agree_with_a_loop_over_pairs(seed, neighbours):
    labels, mask = random_labels(seed, tasks=7)
    chosen = SETTINGS | {"neighbours": neighbours}
    found = label_relation(labels, mask, names(7), **chosen)
    signed, weights = slow_relation(labels, mask, **chosen)
    np.testing.assert_allclose(found.signed, signed, atol=1e-6)
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)


def test_binary_pairs_get_the_phi_coefficient_of_their_table():
    both, first, second, neither = 30, 10, 5, 55
    rows = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    labels = np.array(rows, np.float32)
    phi = (both * neither - first * second) / math.sqrt(
        (both + first) * (second + neither) * (both + second) * (first + neither)
    )
    found = label_relation(labels, labels >= 0, names(2), **SETTINGS)
    assert found.weights[0, 1] == pytest.approx(phi * 100 / 105, abs=1e-7)
    assert found.overlap[0, 1] == 100


def test_shrinkage_multiplies_by_the_share_of_evidence():
    labels, mask = random_labels(1, missing=0.0)
    free = label_relation(labels, mask, names(5), **SETTINGS | {"shrinkage": 0.0})
    held = label_relation(labels, mask, names(5), **SETTINGS | {"shrinkage": 30.0})
    share = free.overlap / (free.overlap + 30.0)
    np.testing.assert_allclose(held.signed, free.signed * share, atol=1e-6)


def test_opposed_tasks_have_no_edge_but_stay_in_the_signed_matrix():
    value = np.arange(40, dtype=np.float32)
    labels = np.stack([value, -value], axis=1)
    found = label_relation(labels, labels == labels, names(2), **SETTINGS)
    assert not found.weights.any()
    assert found.signed[0, 1] == pytest.approx(-40 / 45)


def test_pairs_under_the_minimum_overlap_have_no_edge():
    labels = np.full((20, 2), np.nan, np.float32)
    labels[:10, 0] = np.arange(10)
    labels[6:16, 1] = np.arange(10)
    mask = np.ones(labels.shape, bool)
    four = label_relation(labels, mask, names(2), **SETTINGS | {"minimum_overlap": 4})
    five = label_relation(labels, mask, names(2), **SETTINGS | {"minimum_overlap": 5})
    assert four.overlap[0, 1] == five.overlap[0, 1] == 4
    assert four.weights[0, 1] == pytest.approx(4 / 9)
    assert not five.weights.any()
    assert not five.signed.any()


def test_a_task_that_is_constant_where_both_are_measured_relates_to_nothing():
    random = np.random.default_rng(0)
    labels = random.normal(size=(50, 3)).astype(np.float32)
    labels[:30, 0] = 0.1  # constant where task 1 is measured, though not everywhere
    labels[30:, 1] = np.nan
    found = label_relation(labels, np.ones(labels.shape, bool), names(3), **SETTINGS)
    assert found.signed[0, 1] == 0.0
    assert found.signed[0, 2] != 0.0


def test_each_row_keeps_its_strongest_before_symmetrising():
    """A hub that all leaves choose keeps every leaf, although it may choose one itself."""
    random = np.random.default_rng(3)
    cause = random.normal(size=(4000, 4))
    labels = np.concatenate([cause.sum(1, keepdims=True), cause], axis=1).astype(np.float32)
    mask = np.ones(labels.shape, bool)
    found = label_relation(labels, mask, names(5), **SETTINGS | {"neighbours": 1})
    assert (found.weights[0, 1:] > 0.3).all()
    assert not found.weights[1:, 1:].any()


def test_tasks_without_a_cell_and_without_company_are_isolated():
    labels = np.full((10, 3), np.nan, np.float32)
    labels[:, 0] = np.arange(10)
    found = label_relation(labels, np.ones(labels.shape, bool), names(3), **SETTINGS)
    assert not found.weights.any()
    assert not label_relation(labels[:, :1], labels[:, :1] > 0, names(1), **SETTINGS).weights.any()


def test_chunks_do_not_change_the_answer(monkeypatch):
    labels, mask = random_labels(4)
    whole = label_relation(labels, mask, names(5), **SETTINGS)
    monkeypatch.setattr(estimate, "CHUNK", 7)
    pieces = label_relation(labels, mask, names(5), **SETTINGS)
    np.testing.assert_allclose(pieces.weights, whole.weights, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), tasks=st.integers(1, 8), neighbours=st.integers(1, 9))
def test_weights_are_symmetric_with_zero_diagonal_inside_zero_and_one(seed, tasks, neighbours):
    labels, mask = random_labels(seed, molecules=25, tasks=tasks, binary=tasks // 2)
    found = label_relation(labels, mask, names(tasks), **SETTINGS | {"neighbours": neighbours})
    weights = found.weights
    assert weights.shape == (tasks, tasks)
    assert np.array_equal(weights, weights.T)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert not np.diagonal(weights).any()
    assert not np.diagonal(found.signed).any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), neighbours=st.integers(1, 6))
def test_permuting_tasks_permutes_the_matrix(seed, neighbours):
    labels, mask = random_labels(seed, molecules=25, tasks=6, binary=4)
    order = np.random.default_rng(seed).permutation(6)
    chosen = SETTINGS | {"neighbours": neighbours}
    found = label_relation(labels, mask, names(6), **chosen)
    moved = label_relation(labels[:, order], mask[:, order], names(6), **chosen)
    np.testing.assert_allclose(moved.weights, found.weights[np.ix_(order, order)], atol=1e-6)
    assert np.array_equal(moved.overlap, found.overlap[np.ix_(order, order)])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_only_training_cells_are_seen(seed):
    labels, mask = random_labels(seed)
    random = np.random.default_rng(seed + 1)
    other = np.where(mask, labels, random.normal(size=labels.shape) * 100).astype(np.float32)
    more = np.concatenate([other, random.normal(size=(9, 5)).astype(np.float32)])
    wide = np.concatenate([mask, np.zeros((9, 5), bool)])
    found = label_relation(labels, mask, names(5), **SETTINGS)
    moved = label_relation(more, wide, names(5), **SETTINGS)
    np.testing.assert_allclose(moved.weights, found.weights, atol=1e-7)
    np.testing.assert_allclose(moved.signed, found.signed, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_units_do_not_matter(seed, scale, shift):
    labels, mask = random_labels(seed)
    found = label_relation(labels, mask, names(5), **SETTINGS)
    moved = label_relation(
        (labels.astype(float) * scale + shift).astype(np.float32), mask, names(5), **SETTINGS
    )
    np.testing.assert_allclose(moved.signed, found.signed, atol=2e-3)


def test_toxcast_relates_families_of_assays(real_data):
    path = real_data / "ogb" / "ogbg_moltoxcast" / "mapping" / "mol.csv.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt", newline="") as file:
        header, *rows = list(csv.reader(file))
    tasks = header[:-1]
    cells = [[float(cell) if cell else np.nan for cell in row[:-1]] for row in rows]
    labels = np.array(cells, np.float32)
    started = time.perf_counter()
    found = label_relation(
        labels,
        np.ones(labels.shape, bool),
        tasks,
        shrinkage=20.0,
        minimum_overlap=10,
        neighbours=8,
    )
    assert time.perf_counter() - started < 30
    family = np.array([name.split("_")[0] for name in tasks])
    related = found.weights > 0
    same = family[:, None] == family[None]
    chance = (same.sum() - len(tasks)) / (len(tasks) * (len(tasks) - 1))
    assert same[related].mean() > 3 * chance


def test_shapes_that_do_not_fit_are_refused():
    labels, mask = random_labels(0)
    with pytest.raises(DataError, match=r"labels \(60, 5\), training mask \(60, 4\) and 5 task"):
        label_relation(labels, mask[:, :4], names(5), **SETTINGS)


def test_infinite_labels_are_refused():
    labels, mask = random_labels(0)
    labels[3, 1], mask[3, 1] = np.inf, True
    with pytest.raises(DataError, match="a training label is infinite"):
        label_relation(labels, mask, names(5), **SETTINGS)
