"""Exact classes of equal atoms, against slow refinement by sorted tuples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphadapt.export import merging
from graphadapt.export.joined_graphs import join_graphs
from graphadapt.export.merging import (
    distinct,
    distinct_columns,
    indistinguishable,
    surroundings,
)
from graphadapt.molecules.featurise import featurise_smiles

SMALL_TABLES = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.integers(-1, 2)
)


def same_partition(first, second):
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(pairs) == len(set(first.tolist())) == len(set(second.tolist()))


def slow_classes(colours, neighbour, code):
    """Refine by sorted tuples until the number of classes stays."""
    classes = list(colours)
    while True:
        seen = [
            (
                classes[atom],
                tuple(
                    sorted((classes[u], c) for u, c in zip(*pair, strict=True) if u < len(classes))
                ),
            )
            for atom, pair in enumerate(zip(neighbour.T.tolist(), code.T.tolist(), strict=True))
        ]
        index = {each: place for place, each in enumerate(sorted(set(seen)))}
        if len(index) == len(set(classes)):
            return np.array(classes)
        classes = [index[each] for each in seen]


@given(SMALL_TABLES)
def test_columns_are_in_one_class_exactly_when_they_are_equal(table):
    first, which = distinct_columns(table)
    np.testing.assert_array_equal(table[:, first][:, which], table)
    assert len(first) == len(np.unique(table, axis=1).T)


@given(hnp.arrays(np.int64, st.integers(1, 50), elements=st.integers(-3, 3)))
def test_numbers_are_in_one_class_exactly_when_they_are_equal(keys):
    first, which = distinct(keys)
    np.testing.assert_array_equal(keys[first][which], keys)
    np.testing.assert_array_equal(which[first], np.arange(len(set(keys.tolist()))))


def test_columns_that_share_a_sum_are_still_told_apart(monkeypatch):
    monkeypatch.setattr(merging, "_MULTIPLIERS", np.ones(256, np.int64))
    first, which = distinct_columns(np.array([[1, 2, 1], [2, 1, 2]]))
    assert len(first) == 2
    assert which[0] == which[2] != which[1]


@pytest.mark.parametrize(
    "smiles",
    [
        "CC(C)(C)c1cc(O)cc(C(C)(C)C)c1",
        "C" * 41,
        "C1CC2CCC1C2",
        "C12C3C4C1C5C2C3C45",
        "O=C(O)CCCCCCCCCCCCCCC(=O)O",
        "[He].[He].CC",
    ],
)
@pytest.mark.parametrize("collides", [False, True])
def test_classes_are_those_of_slow_refinement(monkeypatch, smiles, collides):
    if collides:
        monkeypatch.setattr(merging, "_mixed_sums", lambda colours, *_: np.zeros_like(colours))
    graphs = join_graphs([featurise_smiles(smiles), featurise_smiles("CCO")])
    _, kinds = distinct_columns(graphs.atoms.T)
    first, which = indistinguishable(kinds, graphs.neighbour, graphs.code)
    assert same_partition(which, slow_classes(kinds, graphs.neighbour, graphs.code))
    np.testing.assert_array_equal(which[first], np.arange(len(first)))


def test_a_benzene_ring_is_one_class_and_a_phenyl_ring_four():
    for smiles, classes in (("c1ccccc1", 1), ("Fc1ccccc1", 5), ("FC(F)(F)F", 2)):
        graphs = join_graphs([featurise_smiles(smiles)])
        _, kinds = distinct_columns(graphs.atoms.T)
        assert len(indistinguishable(kinds, graphs.neighbour, graphs.code)[0]) == classes


def test_surroundings_do_not_depend_on_the_order_of_slots():
    colours = np.array([5, 7, 9])
    code = np.array([[3], [4], [60]])
    one = surroundings(colours, np.array([[0], [1], [3]]), code)
    other = surroundings(colours, np.array([[1], [3], [0]]), code[[1, 2, 0]])
    np.testing.assert_array_equal(one, other)
