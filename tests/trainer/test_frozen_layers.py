"""What does not move is computed once, or without gradient, and gives the same answers."""

import pytest
import torch

from graphadapt.backbone.checkpoints import set_trainable
from graphadapt.backbone.factory import build_backbone
from graphadapt.config import BackboneConfig
from graphadapt.data.store import GraphStore
from graphadapt.graphs.batch import GraphTable
from graphadapt.run import Run
from graphadapt.trainer.frozen_layers import FrozenLayers

TOP = {"backbone.train": "frozen", "adapters.sites": ["convolutions.1.expand"]}
PARTLY = {
    "backbone.train": "partly",
    "backbone.train_layers": ["convolutions.1.*", "norms.1.*"],
    "adapters.sites": [],
}


def trained(tiny_run, folder, **more) -> Run:
    config = Run.settings(tiny_run).with_settings(
        {"backbone.weights": str(tiny_run), "trainer.epochs": 2, **more}
    )
    run = Run.create(config, folder)
    run.train(shown=False)
    return run


@pytest.mark.parametrize("moving", [TOP, PARTLY], ids=["adapters", "partly"])
def test_kept_states_train_to_what_states_computed_anew_train_to(tiny_run, tmp_path, moving):
    kept = trained(tiny_run, tmp_path / "kept", **moving)
    anew = trained(tiny_run, tmp_path / "anew", **moving, **{"trainer.cache_gb": 0.0})
    assert kept.feed.frozen is not None
    assert kept.feed.frozen.layer == 1
    assert kept.feed.frozen.kept is not None
    assert anew.feed.frozen is not None
    assert anew.feed.frozen.kept is None
    for name, tensor in anew.model.state_dict().items():
        torch.testing.assert_close(kept.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "gin"},
        {"kind": "gin-virtual-node", "jumping_knowledge": "sum"},
        {"kind": "neural-fingerprint"},
    ],
    ids=lambda network: network["kind"],
)
def test_states_kept_in_many_pieces_are_those_of_one_batch(tiny_store, network):
    table = GraphTable.from_store(GraphStore(tiny_store))
    backbone = build_backbone(BackboneConfig(layers=2, width=4, **network))
    frozen = FrozenLayers(backbone, 1, table, "float32")
    rows = torch.arange(len(table)).flip(0)
    anew = frozen.state(rows)
    frozen.keep(batch_size=7, shown=False)
    recalled = frozen.state(rows)
    for name in ("nodes", "graphs", "summed"):
        torch.testing.assert_close(getattr(recalled, name), getattr(anew, name), msg=name)


def test_opening_such_a_run_answers_alike_without_kept_states(tiny_run, tmp_path):
    run = trained(tiny_run, tmp_path / "run", **TOP, **{"trainer.keep": "last"})
    rows = torch.arange(7)
    opened = Run.open(tmp_path / "run")
    assert opened.feed.frozen is None
    torch.testing.assert_close(
        opened.feed.predict(opened.model, rows, opened.everyone),
        run.feed.predict(run.model, rows, run.everyone),
    )


def test_frozen_layers_keep_their_norms_while_layers_above_train(tiny_run, tmp_path):
    run = trained(tiny_run, tmp_path / "run", **PARTLY)
    old = Run.create(run.config, tmp_path / "untrained").model.backbone.state_dict()
    new = run.model.backbone.state_dict()
    layer_of = run.model.backbone.layer_of
    assert all(torch.equal(new[name], old[name]) for name in old if layer_of(name) < 1)
    assert not torch.equal(new["norms.1.running_mean"], old["norms.1.running_mean"])


def test_the_memory_asked_for_is_the_memory_taken(tiny_run, tmp_path):
    frozen = trained(tiny_run, tmp_path / "run", **TOP).feed.frozen
    held = [frozen.kept.nodes, frozen.kept.graphs]
    assert frozen.bytes_needed == sum(t.numel() * t.element_size() for t in held)


@pytest.mark.parametrize(
    ("moving", "layer"),
    [
        (["convolutions.0.expand.weight"], 0),
        (["convolutions.1.*"], 1),
        (["virtual_node.updates.0.*"], 0),
        (["atoms.*", "norms.1.*"], 0),
        ([], 1),
    ],
)
def test_the_lowest_weight_or_site_decides_where_training_begins(tiny_run, moving, layer):
    model = Run.open(tiny_run).model  # its site is convolutions.1.expand
    set_trainable(model.backbone, moving)
    assert model.first_moving_layer == layer
