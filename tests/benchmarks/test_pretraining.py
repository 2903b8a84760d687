"""The comparison of starts at a size for tests, and the probe against first principles."""

import json
import sys

import numpy as np
import pytest
import torch

from graphadapt.config import BackboneConfig, DataConfig
from graphadapt.data.dataset import Dataset
from graphadapt.data.store import GraphStore


@pytest.fixture(autouse=True)
def scripts(monkeypatch, repository):
    """The scripts as modules, as they import each other."""
    monkeypatch.syspath_prepend(repository / "benchmarks")


@pytest.fixture
def weights(write_backbone_package, tmp_path):
    """A package of a small network."""
    return write_backbone_package(BackboneConfig(layers=2, width=8), tmp_path / "small.safetensors")


@pytest.fixture
def data(tmp_path):
    """A folder with a published network's file, at a small width."""
    from graphadapt.backbone.pretrain_gnns import _NAMES, PretrainGnnsNetwork

    theirs = {ours: published for published, ours in _NAMES.items()}
    network = PretrainGnnsNetwork(convolution="gcn", width=8, layers=2)
    tensors = {
        ".".join(theirs.get(part, part) for part in name.split(".")): tensor
        for name, tensor in network.state_dict().items()
    }
    (tmp_path / "data" / "pretrained").mkdir(parents=True)
    torch.save(tensors, tmp_path / "data" / "pretrained" / "gcn_contextpred.pth")
    return tmp_path / "data"


def test_every_start_is_compared_by_every_way(
    weights, data, tiny_store, tmp_path, monkeypatch, capsys
):
    import pretraining

    arguments = {
        "--weights": weights, "--data": data, "--sets": tiny_store, "--seeds": 0, "--epochs": 1,
        "--batch-size": 16, "--adapters": 2, "--rank": 2, "--device": "cpu",
        "--runs": tmp_path / "runs", "--output": tmp_path / "results.json",
    }  # fmt: skip
    flat = [str(part) for pair in arguments.items() for part in pair]
    monkeypatch.setattr(
        sys, "argv", ["pretraining.py", *flat, "--ways", "probe", "adapters", "full"]
    )
    pretraining.main()
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    expected = [
        (start, way)
        for start in ("random small", "ours small", "pretrain-gnns gcn")
        for way in ("probe", "adapters", "full")
    ]
    assert [(row["start"], row["way"]) for row in rows] == expected
    for row in rows:
        assert row["test"]["rmse"] > 0
        assert 0 <= row["test"]["rocauc"] <= 1
    printed = capsys.readouterr().out
    assert "| probe | ours small |" in printed
    assert "store rmse" in printed

    # a stopped comparison reads finished runs back
    folder = tmp_path / "runs" / "ours-small-store-adapters-0"
    before = (folder / "last.safetensors").stat().st_mtime_ns
    pretraining.main()
    assert (folder / "last.safetensors").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows


def test_frozen_starts_keep_their_weights_under_adapters(weights, tiny_store, tmp_path):
    import pretraining

    (start,) = pretraining.starts([weights], None, ["ours"])
    options = type("Options", (), {
        "adapters": 2, "rank": 2, "batch_size": 16, "epochs": 1, "patience": 0, "device": "cpu",
        "precision": "float32",
    })  # fmt: skip
    config = pretraining.settings(str(tiny_store), "adapters", 0, options)
    dataset = Dataset.select(GraphStore(tiny_store), config.data, 0)
    run = pretraining.train(start, dataset, config, tmp_path / "run", 0.0)
    expected = start.make(0, 0.0).state_dict()
    for name, tensor in run.model.backbone.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert "convolutions.0.expand" in run.model.sites


def test_a_probe_of_known_weights_on_an_official_split_is_run_once(weights, tiny_store):
    import pretraining

    random, ours = pretraining.starts([weights], None, ["random", "ours"])
    dataset = Dataset.select(GraphStore(tiny_store), DataConfig(), 0)
    assert pretraining.is_the_same(ours, dataset)
    assert not pretraining.is_the_same(random, dataset)


def test_ridge_weights_solve_their_equations():
    from frozen_probe import ridge

    random = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(30, 4, generator=random), torch.ones(30, 1)], dim=1).double()
    y = torch.randn(30, generator=random).double() + 5
    for strength, weight in zip((0.0, 0.5), ridge(x, y, (0.0, 0.5)), strict=True):
        gradient = x.T @ (x @ weight - y) / 30 + strength * weight * torch.tensor([1, 1, 1, 1, 0])
        assert gradient.abs().max() < 1e-9


def test_logistic_weights_have_no_gradient_left():
    from frozen_probe import logistic

    random = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(40, 3, generator=random), torch.ones(40, 1)], dim=1).double()
    labels = (torch.rand(40, 2, generator=random) < 0.4).double()
    labels[::3, 1] = torch.nan
    weight = logistic(x, labels, 0.1, torch.zeros(4, 2).double())
    for task in range(2):
        known = ~labels[:, task].isnan()
        gap = (x[known] @ weight[:, task]).sigmoid() - labels[known, task]
        gradient = x[known].T @ gap / known.sum()
        gradient[:-1] += 0.1 * weight[:-1, task]
        assert gradient.abs().max() < 1e-4


def test_a_probe_finds_labels_that_are_linear_in_the_embedding(tiny_store):
    from frozen_probe import linear_probe

    dataset = Dataset.select(GraphStore(tiny_store), DataConfig(), 0)
    random = torch.Generator().manual_seed(0)
    labels = torch.from_numpy(np.nan_to_num(dataset.labels, nan=0.5))
    embedding = torch.cat([labels * 2 + 1, torch.randn(len(labels), 2, generator=random)], dim=1)
    answers = linear_probe(embedding, dataset)
    test = dataset.cells("test")
    regression = int(np.flatnonzero(~dataset.is_binary)[0])
    cells = test[:, regression]
    np.testing.assert_allclose(
        answers[cells, regression], dataset.labels[cells, regression], atol=0.05
    )
    for task in np.flatnonzero(dataset.is_binary):
        cells = test[:, task]
        assert ((answers[cells, task] > 0) == (dataset.labels[cells, task] > 0.5)).all()
