"""The benchmark of training on a CPU: its small mode, and what it takes its figures from."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graphadapt.adapters.sites import find_sites
from graphadapt.backbone.factory import build_backbone
from graphadapt.config import BackboneConfig
from graphadapt.data.source import MoleculeSource
from graphadapt.data.split import TRAIN, UNUSED
from graphadapt.data.store import GraphStore, TaskInfo

LIBRARIES = ["PyTorch Geometric", "dgl.batch"]


@pytest.fixture
def plan():
    from training_speed.plan import Plan

    return Plan(threads=1, peers=("dgl.batch",), precisions=("float32",)).smaller()


def read(folder, part):
    return json.loads((folder / f"train_speed_{part}.json").read_text("utf-8"))["rows"]


def test_small_mode_measures_every_part(run_benchmark, tmp_path):
    done = run_benchmark("train_speed", "--small", "--output", tmp_path, "--peers", *LIBRARIES)
    peers = read(tmp_path, "peers")
    rates = {
        (row["batch"], row["library"], row["setting"], row["precision"])
        for row in peers
        if "library" in row
    }
    both = ("float32", "bfloat16")
    assert rates == {
        (batch, *way)
        for batch in (8, 4)
        for way in [
            *(("graphadapt", "", precision) for precision in both),
            *((library, "best settings", each) for library in LIBRARIES for each in both),
            *((library, "as written", "float32") for library in LIBRARIES),
        ]
    }
    (accuracy,) = [row for row in peers if "accuracy_of" in row]
    assert accuracy["accuracy_of"] == "bfloat16"
    assert 0 < accuracy["answers_off"] < 0.1
    assert 0 < accuracy["gradient_off"] < 1  # batches of eight are normed here
    cases = [row for row in peers if "case" in row]
    assert len(cases) == 2 * 4 * len(LIBRARIES)
    assert all(row["times"] > 0 for row in cases)
    everything, *adapters = [
        row for row in read(tmp_path, "adapters") if row.get("precision") == "float32"
    ]
    assert everything["moves"] == "everything"
    assert [row["sites"] for row in adapters] == [10, 6, 2, 0]
    assert ["remembering_s" in row for row in adapters] == [False, True, True, True]
    assert all((row["count"], row["rank"]) == (12, 8) for row in adapters)
    growth = read(tmp_path, "growth")
    assert [row["training_molecules"] for row in growth if "molecules" in row] == [32, 64]
    assert [row["line"] for row in growth if "line" in row] == ["epoch_s", "peak_mb"]
    products = [row for row in read(tmp_path, "products") if "product_by" in row]
    ways = {row["product_by"] for row in products}
    assert {way.partition(",")[0] for way in ways} == {"float32", "bfloat16"}
    assert [row["map"] for row in products] == ["8 to 16"] * len(ways) + ["16 to 8"] * len(ways)
    assert all(row["flop_per_s"] > 0 and row["times"] > 0 for row in products)
    assert "| 4 | graphadapt |" in done.stdout
    assert "10 x 12 x 8" in done.stdout
    assert "| memory, MB |" in done.stdout


def test_float32_strays_from_itself_by_nothing(plan, tiny_store, tmp_path):
    from training_speed.precision import accuracy_rows, first_batch, off, training

    assert list(accuracy_rows(plan, GraphStore(tiny_store))) == []
    whole = training(plan, GraphStore(tiny_store), "float32", tmp_path)
    once, again = first_batch(whole), first_batch(whole)
    assert off(once.answers, again.answers) == 0
    assert off(once.gradient, again.gradient) == 0
    assert off(once.gradient * 1.5, again.gradient) == pytest.approx(0.5)


def test_sites_begin_at_the_layer_that_their_name_says():
    from training_speed.adapters import ALL_SITES, READOUT, TOP, TOP_TWO, sites

    backbone = build_backbone(BackboneConfig(layers=5, width=4))
    found = {moves: list(find_sites(backbone, patterns)) for moves, patterns in sites(5).items()}
    first = {
        moves: min((backbone.layer_of(name) for name in names), default=None)
        for moves, names in found.items()
    }
    assert first == {ALL_SITES: 0, TOP_TWO: 3, TOP: 4, READOUT: None}
    assert {moves: len(names) for moves, names in found.items()} == {
        ALL_SITES: 18,
        TOP_TWO: 6,
        TOP: 2,
        READOUT: 0,
    }


def test_a_peer_that_is_another_network_is_not_timed(plan, tiny_store, monkeypatch, tmp_path):
    from training_speed import peers

    monkeypatch.setattr(peers, "copy_weights", lambda model, peer: None)
    with pytest.raises(SystemExit, match=r"dgl\.batch, as written, float32 is another network"):
        peers.timed(plan, GraphStore(tiny_store), 8, tmp_path)


def test_a_library_is_held_against_at_its_fastest():
    from evidence.timing import Timing
    from training_speed.peers import BEST, FLOAT32, OURS, REDUCED, TUNED, WRITTEN, Way, comparisons

    seconds = {
        Way(OURS, "", "float32"): 4.0,
        Way(OURS, "", "bfloat16"): 2.0,
        Way("other", WRITTEN, "float32"): 6.0,
        Way("other", TUNED, "float32"): 5.0,
        Way("other", TUNED, "bfloat16"): 8.0,
    }
    rows = list(comparisons({way: Timing(((s,), (s,))) for way, s in seconds.items()}))
    assert [(row["case"], row["peer_setting"], row["times"]) for row in rows] == [
        (FLOAT32, WRITTEN, 1.5),
        (FLOAT32, TUNED, 1.25),
        (BEST, TUNED, 2.5),
        (REDUCED, TUNED, 2.5),
    ]
    single = {way: Timing(((s,),)) for way, s in seconds.items() if way.precision == "float32"}
    assert [row["case"] for row in comparisons(single)] == [FLOAT32, FLOAT32, BEST]


@given(
    have=arrays.arrays(np.int64, st.integers(1, 20), elements=st.integers(1, 40)),
    wanted=arrays.arrays(np.int64, st.integers(0, 20), elements=st.integers(0, 60)),
)
def test_resampling_comes_as_near_in_size_as_it_can(have, wanted):
    from training_speed.molecules import nearest_in_size

    rows = nearest_in_size(have, wanted, np.random.default_rng(0))
    for row, size in zip(rows, wanted, strict=True):
        assert abs(have[row] - size) == min(abs(each - size) for each in have)


def test_resampling_takes_every_molecule_of_a_size(tiny_store, tmp_path):
    from training_speed.molecules import nearest_in_size, write_resampled

    have = np.array([3, 5, 3, 5, 5])
    drawn = nearest_in_size(have, np.full(600, 5), np.random.default_rng(0))
    assert np.unique(drawn).tolist() == [1, 3, 4]
    assert np.bincount(drawn)[[1, 3, 4]].min() > 140

    pool, wanted = GraphStore(tiny_store), np.array([9] * 3 + [1])
    write_resampled(pool, tmp_path / "store", 200, wanted, seed=0)
    made = GraphStore(tmp_path / "store")
    known = {pool.smiles(row): pool.molecule(row) for row in range(len(pool))}
    for row in range(len(made)):
        for mine, theirs in zip(made.molecule(row), known[made.smiles(row)], strict=True):
            assert np.array_equal(mine, theirs)
    assert made.labels.shape == (200, 128)
    assert (made.labels >= 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (made.split == TRAIN).any(axis=1).sum() == 160


def test_joined_sources_keep_their_labels_apart():
    from training_speed.molecules import joined

    def source(name, labels):
        labels = np.array(labels, np.float32)
        tasks = tuple(TaskInfo(f"{name}{task}", "binary") for task in range(labels.shape[1]))
        return MoleculeSource(
            name=name,
            smiles=[f"{name}{row}" for row in range(len(labels))],
            labels=labels,
            tasks=tasks,
            row_numbers=np.arange(1, len(labels) + 1),
            split=np.full(labels.shape, TRAIN, np.uint8),
        )

    both = joined([source("a", [[0, 1]]), source("b", [[1], [0]])])
    assert both.smiles == ["a0", "b0", "b1"]
    assert both.task_names == ["a0", "a1", "b0"]
    missing = np.nan
    wanted = [[0, 1, missing], [missing, missing, 1], [missing, missing, 0]]
    np.testing.assert_array_equal(both.labels, wanted)
    np.testing.assert_array_equal(both.split == UNUSED, np.isnan(wanted))


def test_the_most_memory_ever_held_is_that_of_this_process():
    from train_growth import peak_bytes

    held = np.ones(30_000_000, np.uint8)
    assert peak_bytes() >= held.nbytes + 50_000_000  # torch alone is more
