"""Small trials of the scripts that train, and what their tables say."""

import json
import sys

import numpy as np
import pytest
import torch

from graphadapt.backbone.factory import build_backbone
from graphadapt.config import BackboneConfig, DataConfig, RunConfig
from graphadapt.data.dataset import Dataset
from graphadapt.data.store import GraphStore
from graphadapt.trainer.checkpoint import load_tensors


def run_script(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
    module.main()


@pytest.fixture
def small_presets(monkeypatch):
    """Presets at sizes that a test can train."""
    whole = RunConfig.from_toml.__func__

    def smaller(cls, name):
        return whole(cls, name).with_settings(
            {
                "backbone.width": 8,
                "backbone.fingerprint_width": 8,
                "backbone.embedding_width": 8,
                "features.hidden": [8],
                "adapters.rank": 4,
                "sampler.batch_size": 16,
                "trainer.device": "cpu",
            }
        )

    monkeypatch.setattr(RunConfig, "from_toml", classmethod(smaller))


def test_moleculeace_and_the_ablation_save_what_they_print(
    small_presets, small_start, monkeypatch, tiny_store, tmp_path, capsys
):
    import moleculeace
    import prior_ablation

    runs, results = tmp_path / "runs", tmp_path / "results.json"
    common = ("--epochs", 1, "--runs", runs, "--output", results)
    run_script(monkeypatch, moleculeace, "--store", tiny_store, *common)
    saved = json.loads(results.read_text())
    assert [row["run"] for row in saved["rows"]] == [
        "fingerprint",
        "graph",
        "full, graph only",
        "full",
        "graph, random start",
    ]
    assert {"command", "machine", "versions", "seeds"} <= saved.keys()
    printed = capsys.readouterr().out
    for row in saved["rows"]:
        assert f"{round(row['test']['mean']['rmse'], 4):.4g}" in printed

    run_script(
        monkeypatch, prior_ablation, "--backbone", runs / "graph-0", "--seeds", 0, 1, *common
    )
    saved = json.loads(results.read_text())
    assert len(saved["rows"]) == 2 * 5
    printed = capsys.readouterr().out
    assert "adapters, labels" in printed
    assert " to " in printed


def test_a_finished_benchmark_is_read_back_not_trained_again(small_presets, tiny_store, tmp_path):
    from accuracy.scores import scores
    from graphadapt.errors import CheckpointError
    from graphadapt.run import Run

    config = RunConfig.from_toml("fingerprint").with_settings(
        {"data.store": str(tiny_store), "trainer.epochs": 1}
    )
    first = scores(Run.trained(config, tmp_path / "run"))
    before = (tmp_path / "run" / "last.safetensors").stat().st_mtime_ns
    assert scores(Run.trained(config, tmp_path / "run")) == first
    assert (tmp_path / "run" / "last.safetensors").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match="other settings"):
        Run.trained(config.with_settings({"trainer.seed": 1}), tmp_path / "run")


def test_the_base_table_has_mean_and_spread_in_percent():
    import ogb_base

    rows = [
        {"set": "ogbg_moltox21", "trainer": "us", "test": {"mean": {"rocauc": value}}}
        for value in (0.77, 0.78)
    ]
    assert "| 77.50 ± 0.71 |" in ogb_base.table(rows)
    assert "| 77.00 |" in ogb_base.table(rows[:1])


def test_a_small_quickstart_saves_its_figures(
    small_presets, small_start, monkeypatch, tiny_store, tmp_path, capsys
):
    import quickstart

    monkeypatch.setenv("GRAPHADAPT_CACHE", str(tmp_path / "cache"))
    pairs = [f"data.store={tiny_store}", "trainer.epochs=1", "adapters.rank=4"]
    output = tmp_path / "results.json"
    run_script(monkeypatch, quickstart, "--graph-only", "--output", output, "--set", *pairs)
    (row,) = json.loads(output.read_text())["rows"]
    assert row["test"]["rmse"] > 0
    assert "4/4" in capsys.readouterr().out


def test_quickstarts_network_is_trained_from_every_start(
    small_presets, small_start, write_backbone_package, monkeypatch, tiny_store, tmp_path, capsys
):
    import starts_of_quickstart

    other = BackboneConfig(kind="gin-virtual-node", layers=2, width=8)
    weights = write_backbone_package(other, tmp_path / "gin-virtual-node.safetensors")
    network = {"backbone.layers": 2, "backbone.width": 8, "backbone.weights": str(weights)}
    for name, value in network.items():
        monkeypatch.setitem(starts_of_quickstart.OTHER_NETWORK, name, value)
    output = tmp_path / "results.json"
    common = ("--store", tiny_store, "--epochs", 1, "--runs", tmp_path, "--output", output)
    run_script(monkeypatch, starts_of_quickstart, "--seeds", 0, 1, *common)
    rows = json.loads(output.read_text())["rows"]
    assert [(row["start"], row["seed"]) for row in rows] == [
        (start, seed) for seed in (0, 1) for start in starts_of_quickstart.STARTS
    ]
    assert len({row["test"]["mean"]["rmse"] for row in rows}) == 8
    assert "| random, all moves |" in capsys.readouterr().out

    def weights(name):
        tensors, _ = load_tensors(tmp_path / f"{name}-0" / "last.safetensors")
        return {key: tensor for key, tensor in tensors.items() if "model/backbone." in key}

    torch.manual_seed(0)
    untrained = build_backbone(RunConfig.from_toml("quickstart-graph").backbone)
    in_its_place = weights("pretrained-gin-virtual-node")
    assert any("virtual_node" in name for name in in_its_place)
    for name, tensor in untrained.named_parameters():
        assert torch.equal(weights("random")[f"model/backbone.{name}"], tensor)
    assert not torch.equal(
        weights("random-all-moves")["model/backbone.project.weight"], untrained.project.weight
    )

    before = (tmp_path / "random-0" / "last.safetensors").stat().st_mtime_ns
    run_script(monkeypatch, starts_of_quickstart, "--seeds", 0, *common)
    assert json.loads(output.read_text())["rows"] == rows[:4]
    after = (tmp_path / "random-0" / "last.safetensors").stat().st_mtime_ns
    assert after == before


def test_the_peer_learns_every_molecule_once_an_epoch():
    from ogb_base_peer import epoch_batches

    rows = np.array([3, 5, 7, 11, 13])
    steps = list(epoch_batches(rows, 2, 3, seed=0))
    assert [len(step) for step in steps] == [2, 2, 1] * 3
    for epoch in range(3):
        assert sorted(np.concatenate(steps[3 * epoch : 3 * epoch + 3])) == rows.tolist()
    assert not np.array_equal(np.concatenate(steps[:3]), np.concatenate(steps[3:6]))


def test_the_peer_reports_the_epoch_that_is_best_on_validation(tiny_store):
    from ogb_base_peer import trained

    config = DataConfig(tasks=["aromatic", "greasy"])
    dataset = Dataset.select(GraphStore(tiny_store), config, 0)
    found = trained(dataset, seed=0, epochs=2, width=8, layers=2)
    assert found["best_epoch"] in (0, 1)
    assert 0 <= found["valid"]["mean"]["rocauc"] <= 1
    assert 0 <= found["test"]["mean"]["rocauc"] <= 1
