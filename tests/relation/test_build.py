"""One call from settings to the matrix."""

import numpy as np
import pytest

from graphadapt.config import RelationConfig
from graphadapt.relation.build import build_relation
from graphadapt.relation.controls import shuffled_relation
from graphadapt.relation.estimate import label_relation
from graphadapt.relation.file import write_relation

TASKS = ["a", "b", "c"]


@pytest.fixture
def cells():
    random = np.random.default_rng(0)
    labels = (random.normal(size=(80, 1)) + random.normal(size=(80, 3))).astype(np.float32)
    labels[:, 0] = labels[:, 0] > 0
    return labels, random.random((80, 3)) < 0.7


def test_labels_pass_every_setting_on(cells):
    config = RelationConfig(shrinkage=3.0, minimum_overlap=7, neighbours=1)
    expected = label_relation(*cells, TASKS, shrinkage=3.0, minimum_overlap=7, neighbours=1)
    found = build_relation(config, *cells, TASKS, 0)
    assert np.array_equal(found.weights, expected.weights)
    assert found.kind == "labels"


def test_shuffled_is_the_labels_relation_relabelled(cells):
    labels = build_relation(RelationConfig(), *cells, TASKS, 0)
    found = build_relation(RelationConfig(kind="shuffled"), *cells, TASKS, 4)
    assert np.array_equal(found.weights, shuffled_relation(labels, 4).weights)
    assert found.kind == "shuffled"


@pytest.mark.parametrize(("kind", "edges"), [("identity", 0), ("uniform", 6)])
def test_controls_need_no_label(kind, edges):
    nothing = np.full((4, 3), np.nan, np.float32)
    found = build_relation(RelationConfig(kind=kind), nothing, nothing == nothing, TASKS, 0)
    assert (found.kind, len(found.edges()[0])) == (kind, edges)


def test_a_file_is_read(cells, tmp_path):
    labels = build_relation(RelationConfig(), *cells, TASKS, 0)
    write_relation(labels, tmp_path / "own.csv")
    config = RelationConfig(kind="file", file=str(tmp_path / "own.csv"))
    assert np.array_equal(build_relation(config, *cells, TASKS, 0).weights, labels.weights)
