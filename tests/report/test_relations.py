"""A relation in figures, counted by hand on four tasks."""

import numpy as np
import pytest

from graphadapt.relation.matrix import Relation
from graphadapt.report.relations import describe_relation, pair_table


@pytest.fixture
def relation():
    signed = np.zeros((4, 4), np.float32)
    signed[0, 1] = signed[1, 0] = 0.75
    signed[1, 2] = signed[2, 1] = 0.25
    signed[0, 2] = signed[2, 0] = -0.5
    overlap = np.full((4, 4), 7, np.int32)
    return Relation(signed.clip(0), signed, overlap, "labels", ("a", "b", "c", "d"))


def test_edges_and_neighbours_are_counted(relation):
    found = describe_relation(relation)
    assert (found["kind"], found["tasks"], found["edges"]) == ("labels", 4, 2)
    assert found["isolated"] == 1
    assert found["mean_neighbours"] == 1.0
    assert found["most_neighbours"] == 2
    assert found["mean_weight"] == 0.5


def test_strongest_and_opposed_pairs_come_in_order(relation):
    found = describe_relation(relation)
    assert [pair["tasks"] for pair in found["strongest"]] == [["a", "b"], ["b", "c"]]
    assert found["strongest"][0] == {
        "tasks": ["a", "b"],
        "weight": 0.75,
        "signed": 0.75,
        "overlap": 7,
    }
    assert [pair["signed"] for pair in found["opposed"]] == [-0.5]
    assert len(describe_relation(relation, pairs=1)["strongest"]) == 1


def test_a_relation_without_edges_has_no_mean():
    empty = Relation.from_weights(np.zeros((2, 2), np.float32), "identity", ["a", "b"])
    found = describe_relation(empty)
    assert found["mean_weight"] is None
    assert found["strongest"] == found["opposed"] == []


def test_pairs_are_shown_as_a_table(relation):
    lines = pair_table(describe_relation(relation)["strongest"]).splitlines()
    assert lines[1].split() == ["a", "b", "0.750", "0.750", "7"]
