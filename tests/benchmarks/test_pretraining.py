"""The comparison of starts at a size for tests, and the probe against first principles."""

import json
import sys
from argparse import Namespace

import numpy as np
import pytest
import torch

from graphadapt.backbone.protocol import call_linear
from graphadapt.config import BackboneConfig, DataConfig
from graphadapt.data.dataset import Dataset
from graphadapt.data.store import GraphStore
from graphadapt.graphs.batch import GraphTable
from graphadapt.trainer.frozen_layers import FrozenLayers


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


@pytest.fixture
def compare(weights, data, tiny_store, tmp_path, monkeypatch):
    """Run the script at a small size with these options; returns the rows of its file."""
    import pretraining

    def run(*more):
        given = {
            "--weights": weights, "--data": data, "--sets": tiny_store, "--seeds": 0,
            "--epochs": 1, "--batch-size": 16, "--adapters": 2, "--rank": 2, "--device": "cpu",
            "--runs": tmp_path / "runs", "--output": tmp_path / "results.json",
        }  # fmt: skip
        flat = [part for pair in given.items() for part in pair]
        monkeypatch.setattr(sys, "argv", list(map(str, ["pretraining.py", *flat, *more])))
        pretraining.main()
        return json.loads((tmp_path / "results.json").read_text("utf-8"))["rows"]

    return run


@pytest.fixture
def case(weights, tiny_store, tmp_path):
    """Makes a case of the small network on the tiny store."""
    from transfer.case import Case
    from transfer.starts import starts

    def make(start="ours", way="adapters", seed=0, store=tiny_store, **more):
        given = {
            "seeds": [0, 1], "epochs": 1, "set_epochs": {}, "patience": 0, "batch_size": 16,
            "sites": "all", "adapters": 2, "rank": 2, "dropout": 0.2, "device": "cpu",
            "precision": "float32", "runs": tmp_path / "runs", **more,
        }  # fmt: skip
        (chosen,) = starts([weights], None, [start])
        return Case(chosen, str(store), seed, way, Namespace(**given))

    return make


def training_batch(made):
    """All training molecules of a case's set."""
    rows = torch.from_numpy(made.dataset.rows("train"))
    return GraphTable.from_store(made.dataset.store).gather(rows)


def test_every_start_is_compared_by_every_way(compare, tmp_path, capsys):
    ways = ("probe", "adapters", "full")
    rows = compare("--ways", *ways)
    starts = ("random small", "ours small", "pretrain-gnns gcn")
    assert [(row["start"], row["way"]) for row in rows] == [(s, w) for s in starts for w in ways]
    for row in rows:
        assert row["test"]["rmse"] > 0
        assert 0 <= row["test"]["rocauc"] <= 1
    printed, progress = capsys.readouterr()
    assert "| probe | ours small | embedding standardised |" in printed
    assert "store rmse" in printed
    assert "[9/9] pretrain-gnns gcn, store, full, seed 0: rmse" in progress

    # what was measured is not measured again
    assert compare("--ways", *ways) == rows
    assert capsys.readouterr().err.count("measured before") == 9


def test_a_stopped_comparison_goes_on(compare, tmp_path, monkeypatch):
    from transfer.case import Case

    measure, done = Case.row, []

    def measure_until_the_user_stops(self):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(self.title)
        return measure(self)

    with monkeypatch.context() as patch:
        patch.setattr(Case, "row", measure_until_the_user_stops)
        with pytest.raises(SystemExit, match="ours small, store, probe, seed 0; the same command"):
            compare("--starts", "ours", "random")
    before = json.loads((tmp_path / "results.json").read_text("utf-8"))["rows"]
    assert len(before) == 2
    rows = compare("--starts", "ours", "random")
    assert rows[:2] == before
    assert len(rows) == 4


def test_rows_of_other_settings_stay_beside_and_are_never_averaged(compare, capsys):
    options = ("--starts", "ours", "--ways", "adapters")
    compare(*options)
    rows = compare(*options, "--set-epochs", "store=2")
    rows = compare(*options, "--sites", "top")
    assert [row["settings"]["epochs"] for row in rows] == [1, 2, 1]
    assert [row["settings"]["sites"] for row in rows] == ["all", "all", "top"]
    printed = capsys.readouterr().out.splitlines()
    (every,) = [line for line in printed[-2:] if "sites all" in line]
    assert "(1, 1 epochs); " in every
    assert "(1, 2 epochs) |" in every


def test_rows_of_replaced_weights_are_measured_again(compare, weights, write_backbone_package):
    from graphadapt.backbone.package import card_path, file_digest
    from graphadapt.trainer.checkpoint import load_tensors, save_tensors

    options = ("--starts", "ours", "pretrain-gnns", "--ways", "probe")
    before = compare(*options)
    tensors, state = load_tensors(weights)
    save_tensors(weights, {name: tensor * 2 for name, tensor in tensors.items()}, state)
    card = json.loads(card_path(weights).read_text("utf-8"))
    card["weights"]["sha256"] = file_digest(weights)
    card_path(weights).write_text(json.dumps(card))
    after = {row["start"]: row for row in compare(*options)}
    ours, gcn = before
    assert after["pretrain-gnns gcn"] == gcn
    assert after["ours small"]["inputs"]["weights"] != ours["inputs"]["weights"]
    assert after["ours small"]["test"] != ours["test"]
    assert len(after) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set-epochs", "stor=2"], "--set-epochs names stor; the sets are store"),
        (["--set-epochs", "store"], "'store' is not SET=EPOCHS, such as ogbg_molmuv=3"),
        (["--set-epochs", "store=0"], "'store=0' is not SET=EPOCHS"),
    ],
)
def test_epochs_of_no_set_are_refused(compare, capsys, options, said):
    with pytest.raises(SystemExit):
        compare(*options)
    assert said in capsys.readouterr().err


def test_frozen_starts_keep_their_weights_under_adapters(case):
    made = case()
    run = made.train()
    expected = made.start.make(0, 0.0).state_dict()
    for name, tensor in run.model.backbone.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert "network.convolutions.0.expand" in run.model.sites


def test_adapters_at_the_top_leave_the_layers_below_remembered(case, monkeypatch):
    keep, remembered = FrozenLayers.keep, []

    def record(self, *given, **named):
        remembered.append(self.layer)
        keep(self, *given, **named)

    monkeypatch.setattr(FrozenLayers, "keep", record)
    run = case(sites="top").train()
    top = ("network.convolutions.1.expand", "network.convolutions.1.contract")
    assert run.model.sites == top
    assert remembered == [1]


def test_sites_are_all_linear_layers_or_those_from_the_last_layer_on():
    from graphadapt.backbone.factory import build_backbone
    from transfer.starts import adapter_sites

    def sites(place, **settings):
        return adapter_sites(build_backbone(BackboneConfig(width=4, **settings)), place)

    virtual = {"kind": "gin-virtual-node", "layers": 3}
    pair = ("expand", "contract")
    convolutions = [f"convolutions.{layer}.{name}" for layer in range(3) for name in pair]
    updates = [f"virtual_node.updates.{layer}.{name}" for layer in range(2) for name in pair]
    assert sorted(sites("all", **virtual)) == sorted([*convolutions, *updates])
    assert sites("top", **virtual) == convolutions[-2:]
    counted = {"kind": "neural-fingerprint", "layers": 2}
    top = ["convolutions.1.expand", "convolutions.1.contract", "readouts.1", "project"]
    assert sites("top", **counted) == top
    assert len(sites("all", **counted)) == 7


def test_norms_of_a_random_start_know_the_training_molecules(case):
    made = case("random", "probe")
    batch = training_batch(made)
    network = made.network().network
    assert not any(module.training for module in network.norms)
    seen = []
    for norm in network.norms:
        norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.train()
    network(batch)
    for norm, input_ND in zip(network.norms, seen, strict=True):
        torch.testing.assert_close(norm.running_var, input_ND.var(dim=0))


def test_embeddings_of_frozen_starts_are_standardised(case):
    made = case("ours", "probe")
    batch = training_batch(made)
    network = made.network()
    with torch.no_grad():
        plain_GD, scaled_GD = network.network(batch), network(batch)
        from_states_GD = network.finish(
            network.run(network.start(batch), 2, batch), batch, call_linear
        )
    expected_GD = (plain_GD - plain_GD.mean(dim=0)) / plain_GD.std(dim=0)
    torch.testing.assert_close(scaled_GD, expected_GD.clamp(-5, 5))
    torch.testing.assert_close(from_states_GD, scaled_GD)
    assert scaled_GD.std(dim=0).max() > 0.9  # not all clipped


def test_a_standard_embedding_is_cut_off(case):
    from transfer.standard_embedding import LIMIT

    made = case("ours", "probe")
    batch = training_batch(made)
    network = made.network()
    network.spread.fill_(1e-3)
    with torch.no_grad():
        far_GD, found_GD = (network.network(batch) - network.center) / 1e-3, network(batch)
    expected_GD = torch.where(far_GD.abs() > LIMIT, LIMIT * far_GD.sign(), far_GD)
    torch.testing.assert_close(found_GD, expected_GD)
    assert (found_GD.abs() == LIMIT).any()
    assert (found_GD.abs() < LIMIT).any()


def test_a_column_of_an_embedding_that_says_nothing_stays_finite(case):
    from transfer.standard_embedding import StandardEmbedding

    made = case("ours", "probe")
    network = made.start.make(0, 0.0)
    with torch.no_grad():
        network.norms[-1].weight[0], network.norms[-1].bias[0] = 0.0, 2.0
    batch = training_batch(made)
    with torch.no_grad():
        found_GD = StandardEmbedding(network, [batch])(batch)
    assert torch.isfinite(found_GD).all()
    assert found_GD[:, 0].abs().max() < 1e-5
    assert found_GD[:, 1].std() > 0.5


def test_layers_of_a_standard_embedding_are_those_of_its_network(case):
    wrapped = case("ours", "probe").network()
    names = dict(wrapped.network.named_parameters())
    assert {n: wrapped.layer_of(f"network.{n}") for n in names} == {
        n: wrapped.network.layer_of(n) for n in names
    }
    assert wrapped.layer_of("center") == wrapped.num_layers == 2


def test_a_probe_of_known_weights_on_an_official_split_is_run_once(case):
    assert case("ours", "probe").is_without_chance
    assert not case("random", "probe").is_without_chance
    assert not case("ours", "adapters").is_without_chance


def test_ridge_weights_solve_their_equations():
    from transfer.frozen_probe import ridge

    random = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(30, 4, generator=random), torch.ones(30, 1)], dim=1).double()
    y = torch.randn(30, generator=random).double() + 5
    for strength, weight in zip((0.0, 0.5), ridge(x, y, (0.0, 0.5)), strict=True):
        gradient = x.T @ (x @ weight - y) / 30 + strength * weight * torch.tensor([1, 1, 1, 1, 0])
        assert gradient.abs().max() < 1e-9


def test_logistic_weights_have_no_gradient_left():
    from transfer.frozen_probe import logistic

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
    from transfer.frozen_probe import linear_probe

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


@pytest.mark.parametrize("name", ["gin-virtual-node", "neural-fingerprint"])
def test_committed_rows_are_of_the_weights_that_ship(repository, name):
    from graphadapt.backbone.package import bundled_weights
    from transfer.starts import starts

    (ours,) = starts([bundled_weights()[name]], None, ["ours"])
    results = (repository / "benchmarks" / "results").glob("pretraining*.json")
    rows = [row for path in results for row in json.loads(path.read_text("utf-8"))["rows"]]
    marks = {row["inputs"]["weights"] for row in rows if row["start"] == ours.name}
    assert marks == {ours.mark}, "measure them again by benchmarks/pretraining.py"
