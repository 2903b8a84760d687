"""The relation as a value: checks, edges, saving and loading."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import CheckpointError, DataError
from graphadapt.relation.matrix import Relation, strongest_neighbours


def random_relation(seed=0, tasks=5):
    random = np.random.default_rng(seed)
    upper = np.triu(random.random((tasks, tasks)) * (random.random((tasks, tasks)) < 0.5), 1)
    weights = (upper + upper.T).astype(np.float32)
    overlap = random.integers(0, 99, (tasks, tasks)).astype(np.int32)
    return Relation(weights, weights - 0.5, overlap, "labels", tuple("αbcde"[:tasks]))


def test_edges_list_every_nonzero_entry_once():
    relation = random_relation()
    source, target, weight = relation.edges()
    rebuilt = np.zeros((5, 5), np.float32)
    rebuilt[source, target] = weight
    assert np.array_equal(rebuilt, relation.weights)
    assert len(source) == (relation.weights > 0).sum()


def test_a_relation_without_edges_lists_none():
    relation = Relation.from_weights(np.zeros((3, 3), np.float32), "identity", ["a", "b", "c"])
    assert [len(column) for column in relation.edges()] == [0, 0, 0]


def test_what_is_saved_is_loaded(tmp_path):
    relation = random_relation()
    relation.save(tmp_path / "run" / "relation")
    found = Relation.load(tmp_path / "run" / "relation")
    assert np.array_equal(found.weights, relation.weights)
    assert np.array_equal(found.signed, relation.signed)
    assert np.array_equal(found.overlap, relation.overlap)
    assert (found.kind, found.task_names) == (relation.kind, relation.task_names)


def test_saving_leaves_two_files_and_can_be_repeated(tmp_path):
    random_relation(0).save(tmp_path)
    random_relation(1).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["relation.json", "relation.npz"]
    assert np.array_equal(Relation.load(tmp_path).weights, random_relation(1).weights)


@pytest.mark.parametrize("damage", ["absent", "cut", "empty", "text", "task"])
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, damage):
    random_relation().save(tmp_path)
    npz, about = tmp_path / "relation.npz", tmp_path / "relation.json"
    if damage == "absent":
        npz.unlink()
    elif damage == "cut":
        npz.write_bytes(npz.read_bytes()[:100])
    elif damage == "empty":
        npz.write_bytes(b"")
    elif damage == "text":
        about.write_text("{")
    else:
        about.write_text(json.dumps(json.loads(about.read_text()) | {"tasks": ["a"]}))
    with pytest.raises(CheckpointError, match="holds no readable relation matrix"):
        Relation.load(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    random_relation().save(tmp_path)
    about = tmp_path / "relation.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match="holds relation format 2; this version reads 1"):
        Relation.load(tmp_path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([[0, 0.5], [0.4, 0]], "not symmetric"),
        ([[0, 1.5], [1.5, 0]], r"leave \[0, 1\]"),
        ([[0, -0.5], [-0.5, 0]], r"leave \[0, 1\]"),
        ([[0.1, 0.5], [0.5, 0]], "nonzero diagonal"),
        ([[0, 0.5, 0]], r"relation.weights has shape \(1, 3\); 2 tasks need \(2, 2\)"),
    ],
)
def test_impossible_weights_are_refused(entries, message):
    with pytest.raises(DataError, match=message):
        Relation.from_weights(np.array(entries, np.float32), "file", ["a", "b"])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), tasks=st.integers(1, 9), count=st.integers(1, 9))
def test_pruning_keeps_what_either_end_holds_among_its_strongest(seed, tasks, count):
    random = np.random.default_rng(seed)
    weights = np.triu(random.random((tasks, tasks)), 1)
    weights += weights.T
    kept = strongest_neighbours(weights, count)
    for i in range(tasks):
        for j in range(tasks):
            chosen = any(
                weights[a, b] > 0 and (weights[a] > weights[a, b]).sum() < count
                for a, b in ((i, j), (j, i))
            )
            assert kept[i, j] == (weights[i, j] if chosen else 0.0)


def test_equally_strong_neighbours_are_all_kept():
    weights = 1.0 - np.eye(6)
    assert np.array_equal(strongest_neighbours(weights, 2), weights)
