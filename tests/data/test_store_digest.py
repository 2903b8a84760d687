"""A store's mark changes with what training reads, and with nothing else."""

import json
import shutil

import numpy as np
import pytest

from graphadapt.data import store_digest as module
from graphadapt.data.store import GraphStore
from graphadapt.data.store_digest import store_digest


@pytest.fixture
def copy(tiny_store, tmp_path):
    return shutil.copytree(tiny_store, tmp_path / "store")


def changed(folder, name, place=0):
    column = np.load(folder / f"{name}.npy")
    column.reshape(-1).view(np.uint8)[place] ^= 1
    np.save(folder / f"{name}.npy", column)
    return GraphStore(folder)


def test_a_copy_has_the_same_mark(copy, tiny_store):
    expected = store_digest(GraphStore(tiny_store), ["counts"])
    assert store_digest(GraphStore(copy), ["counts"]) == expected
    assert len(expected) == 16
    assert store_digest(changed(copy, "row_numbers"), ["counts"]) == expected
    assert store_digest(changed(copy, "features_columns"), ["counts"]) == expected


@pytest.mark.parametrize("name", ["atoms", "bond_features", "labels", "split", "features_counts"])
def test_any_number_that_training_reads_changes_it(copy, tiny_store, name):
    assert store_digest(changed(copy, name, -1), ["counts"]) != store_digest(
        GraphStore(tiny_store), ["counts"]
    )


def test_names_of_tasks_change_it(copy, tiny_store):
    settings = json.loads((copy / "store.json").read_text("utf-8"))
    settings["tasks"][0]["name"] += "s"
    (copy / "store.json").write_text(json.dumps(settings), "utf-8")
    assert store_digest(GraphStore(copy)) != store_digest(GraphStore(tiny_store))


@pytest.mark.parametrize("place", [0, -1])
def test_a_large_column_is_read_at_both_ends_and_in_between(copy, tiny_store, monkeypatch, place):
    monkeypatch.setattr(module, "WHOLE", 256)
    monkeypatch.setattr(module, "PLACE", 160)  # of which a header takes 128
    monkeypatch.setattr(module, "PLACES", 20)
    expected = store_digest(GraphStore(tiny_store))
    assert store_digest(GraphStore(copy)) == expected
    assert store_digest(changed(copy, "atoms", place)) != expected
