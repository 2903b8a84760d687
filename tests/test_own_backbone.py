"""Runs of a network that the caller brings: trained, opened again, refused where it cannot be."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.protocol import call_linear
from graphadapt.config import BackboneConfig, RunConfig
from graphadapt.errors import CheckpointError, ConfigError
from graphadapt.own_backbone import check_own_backbone
from graphadapt.run import Run
from graphadapt.trainer.fine_tuning import FineTuning
from graphadapt.trainer.interrupt import Interrupted


class Own(nn.Module):
    """A network that cannot be run layer by layer, and applies one layer twice."""

    def __init__(self, seed=5, width=8):
        super().__init__()
        torch.manual_seed(seed)
        self.inside = build_backbone(BackboneConfig(kind="gin", layers=2, width=8))
        self.tied = nn.ModuleList([nn.Linear(8, 8)] * 2)
        self.width = width

    def forward(self, batch, linear=call_linear):
        embedding_GD = self.inside(batch, linear)
        for layer in self.tied:
            embedding_GD = linear(layer, embedding_GD)
        return embedding_GD


class Other(Own):
    """Of the same weights, read otherwise."""


class Shared(Own):
    """Two layers of one weight."""

    def __init__(self):
        super().__init__()
        self.twin = nn.Linear(8, 8)
        self.twin.weight = self.tied[0].weight

    def forward(self, batch, linear=call_linear):
        return linear(self.twin, super().forward(batch, linear))


class WithoutLinear(Own):
    def forward(self, batch):
        return self.inside(batch)


class WithoutDefault(Own):
    def forward(self, batch, linear):
        return super().forward(batch, linear)


class TwoAnswers(Own):
    def forward(self, batch, linear=call_linear):
        return super().forward(batch, linear), None


class PassedBy(Own):
    """Applies its own layers without asking."""

    def forward(self, batch, linear=call_linear):
        return self.tied[0](self.inside(batch, linear))


@pytest.fixture
def config(tiny_store):
    return RunConfig().with_settings(
        {
            "data.store": str(tiny_store),
            "backbone.kind": "gin",
            "backbone.layers": 2,
            "backbone.width": 8,
            "adapters.count": 2,
            "adapters.rank": 2,
            "adapters.sites": ["expand"],
            "prior.width": 4,
            "sampler.batch_size": 16,
            "sampler.task_count": 2,
            "trainer.epochs": 2,
            "trainer.precision": "float32",
            "trainer.device": "cpu",
        }
    )


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], tensor) for name, tensor in second.items()
    )


def test_a_run_of_ones_own_network_trains_as_one_of_its_settings(config, tmp_path):
    known = Run.create(config, tmp_path / "known")
    own = Run.create(config, tmp_path / "own", own_backbone=deepcopy(known.model.backbone))
    own.model.load_state_dict(known.model.state_dict())  # adapters and heads start alike
    known.train(shown=False)
    own.train(shown=False)
    assert same(own.model.state_dict(), known.model.state_dict())


def test_it_opens_with_its_trained_weights(config, tmp_path):
    run = Run.create(config, tmp_path / "run", own_backbone=Own())
    run.train(shown=False)
    opened = Run.open(tmp_path / "run", "last", own_backbone=Own(seed=6))
    assert same(opened.model.state_dict(), run.model.state_dict())
    assert not same(opened.model.backbone.state_dict(), Own().state_dict())
    assert opened.evaluate("test").mean == run.evaluate("test").mean


def test_it_goes_on_from_its_checkpoint_to_the_same_bits(config, tmp_path, monkeypatch):
    whole = Run.trained(config, tmp_path / "whole", shown=False, own_backbone=Own())
    loss = FineTuning.loss

    def loss_while_the_user_stops(self, step, workers):
        if step == self.steps_per_epoch + 1:
            raise KeyboardInterrupt
        return loss(self, step, workers)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "loss", loss_while_the_user_stops)
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            Run.trained(config, tmp_path / "run", shown=False, own_backbone=Own())
    assert (tmp_path / "run" / "last.safetensors").exists()
    run = Run.trained(config, tmp_path / "run", shown=False, own_backbone=Own(seed=6))
    assert same(run.model.state_dict(), whole.model.state_dict())
    assert run.is_finished


def test_one_that_has_no_checkpoint_yet_is_created_again(config, tmp_path):
    Run.create(config, tmp_path / "run", own_backbone=Own())
    with pytest.raises(CheckpointError, match="has no checkpoint to go on from; create the run"):
        Run.open(tmp_path / "run", "none", own_backbone=Own())
    Run.create(config, tmp_path / "run", own_backbone=Own())


def test_it_moves_as_the_run_says_whatever_it_did_before(config, tmp_path):
    network = Own()
    frozen = config.with_settings({"backbone.train": "frozen"})
    Run.create(frozen, tmp_path / "frozen", own_backbone=network).train(shown=False)
    assert same(network.state_dict(), Own().state_dict())
    Run.create(config, tmp_path / "all", own_backbone=network).train(shown=False)
    for name, weight in Own().named_parameters():
        assert not torch.equal(network.get_parameter(name), weight), name


def test_a_run_is_opened_by_whoever_has_its_network(config, tiny_run, tmp_path):
    Run.create(config, tmp_path / "run", own_backbone=Own()).train(shown=False)
    with pytest.raises(CheckpointError, match=r"own, Own; only Python opens it, by Run\.open"):
        Run.open(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"own, Own; give one of that class .*, not Other"):
        Run.open(tmp_path / "run", own_backbone=Other())
    with pytest.raises(CheckpointError, match="of its settings, not with Own; open it without"):
        Run.open(tiny_run, own_backbone=Own())


@pytest.mark.parametrize("sites", [["expand"], []])
def test_its_weights_start_no_network_of_the_settings(config, tmp_path, sites):
    own = config.with_settings({"adapters.sites": sites})
    Run.create(own, tmp_path / "run", own_backbone=Own()).train(shown=False)
    for place in (tmp_path / "run", tmp_path / "run" / "best.safetensors"):
        another = config.with_settings({"backbone.weights": str(place)})
        with pytest.raises(CheckpointError, match=r"your own, Own, whose weights fit no other"):
            Run.create(another, tmp_path / "another")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (SimpleNamespace(width=8), "of type SimpleNamespace is no nn.Module"),
        (nn.Linear(2, 2), "of type Linear has width=None; set it to the columns"),
        (Own(width=7), r"as \(2, 8\), and width=7 promises \(2, 7\)"),
        (TwoAnswers(), r"embeds 2 molecules as tuple, and width=8 promises"),
        (WithoutLinear(), r"is not called as forward\(batch, linear=call_linear\)"),
        (WithoutDefault(), r"is not called as forward\(batch, linear=call_linear\)"),
        (PassedBy(), r"applies tied\.0 by itself, or not at all, where adapters would never be"),
        (Shared(), r"shares the weight of tied\.0 with another layer"),
    ],
)
def test_what_is_no_backbone_is_refused_before_anything_is_written(config, tmp_path, network, said):
    everywhere = config.with_settings({"adapters.sites": ["*"]})
    with pytest.raises(ConfigError, match=said):
        Run.create(everywhere, tmp_path / "run", own_backbone=network)
    assert not (tmp_path / "run").exists()


def test_weights_of_two_origins_are_refused(config, tmp_path):
    named = config.with_settings({"backbone.weights": "gin-virtual-node"})
    with pytest.raises(ConfigError, match="load your own_backbone's weights before the run"):
        Run.create(named, tmp_path / "run", own_backbone=Own())
    assert not (tmp_path / "run").exists()


def test_a_network_of_another_size_is_told_from_the_run(config, tmp_path):
    Run.create(config, tmp_path / "run", own_backbone=Own()).train(shown=False)
    smaller = Own()
    smaller.inside = build_backbone(BackboneConfig(kind="gin", layers=1, width=8))
    with pytest.raises(CheckpointError, match="not fit the own_backbone that was given, which"):
        Run.open(tmp_path / "run", own_backbone=smaller)


def test_the_check_leaves_no_trace():
    network = Own().train()
    network.inside.eval()
    check_own_backbone(network, ["expand", "tied.0"])
    assert same(network.state_dict(), Own().state_dict())
    assert network.training
    assert not any(module.training for module in network.inside.modules())


def test_only_networks_that_know_of_padding_are_trained_on_padded_batches(config, tmp_path):
    """On a GPU, where batches are padded otherwise."""
    feed = SimpleNamespace(device=torch.device("cuda"))

    def planned(model):
        return FineTuning(model, feed, None, None, None).planned

    known = Run.create(config, tmp_path / "known").model
    own = Run.create(config, tmp_path / "own", own_backbone=Own()).model
    assert (planned(known), planned(own)) == (True, False)
