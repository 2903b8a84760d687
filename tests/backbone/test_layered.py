"""Backbones may be run from any layer on, and know which layer reads which weight."""

import pytest
import torch

from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.layered import LayeredBackbone
from graphadapt.backbone.protocol import call_linear
from graphadapt.config import BackboneConfig
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.molecules.featurise import featurise_smiles

KINDS = ("gin", "gin-virtual-node", "gcn", "gcn-virtual-node", "neural-fingerprint")


@pytest.fixture
def batch() -> GraphBatch:
    texts = ("CCO", "C", "c1ccccc1C(=O)[O-]", "[Na+].[Cl-]")
    return GraphTable.from_molecules([featurise_smiles(text) for text in texts]).gather(
        torch.arange(len(texts))
    )


def backbone_of(kind: str, **more) -> LayeredBackbone:
    torch.manual_seed(0)
    config = BackboneConfig(
        kind=kind, layers=3, width=8, fingerprint_width=6, embedding_width=5, **more
    )
    return build_backbone(config).double().eval()


def states_before(backbone: LayeredBackbone, batch: GraphBatch, layer: int) -> list[torch.Tensor]:
    state = backbone.run(backbone.start(batch), layer, batch)
    return [each for each in (state.nodes, state.graphs, state.summed) if each is not None]


@pytest.mark.parametrize("jumping_knowledge", ["last", "sum"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_states_before_any_layer_lead_to_the_same_embedding(kind, jumping_knowledge, first, batch):
    backbone = backbone_of(kind, jumping_knowledge=jumping_knowledge)
    state = backbone.run(backbone.start(batch), first, batch)
    torch.testing.assert_close(backbone.embed(state, batch), backbone(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_moves_no_state_below_its_layer(kind, batch):
    backbone = backbone_of(kind)
    for name, parameter in backbone.named_parameters():
        layer = backbone.layer_of(name)
        if layer == 0:
            continue
        before = states_before(backbone, batch, layer)
        with torch.no_grad():
            parameter += torch.randn_like(parameter)
        for old, new in zip(before, states_before(backbone, batch, layer), strict=True):
            torch.testing.assert_close(new, old, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_atoms_and_first_states_are_layer_0s(kind):
    backbone = backbone_of(kind)
    first = {name for name, _ in backbone.named_parameters() if backbone.layer_of(name) == 0}
    assert {name for name, _ in backbone.named_parameters() if name.startswith("atoms.")} <= first
    assert any(name.startswith("convolutions.0.") for name in first)
    assert not any(name.startswith("convolutions.1") for name in first)


@pytest.mark.parametrize("kind", KINDS)
def test_every_linear_layer_is_called_by_its_own_layer(kind, batch):
    backbone = backbone_of(kind)
    names = {module: name for name, module in backbone.named_modules()}
    state = backbone.start(batch)
    for layer in range(backbone.num_layers):
        called = []

        def note(linear, x, called=called):
            called.append(linear)
            return call_linear(linear, x)

        state = backbone.advance(state, batch, note)
        assert called
        assert {backbone.layer_of(names[linear]) for linear in called} == {layer}
