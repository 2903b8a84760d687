"""The plain network against the frozen model itself, in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from graphadapt.errors import ConfigError
from graphadapt.export.collate import collate
from graphadapt.export.reference import Reference
from graphadapt.export.restate import restate

BACKBONES = [
    ("gin", {}),
    ("gin-virtual-node", {}),
    ("gcn", {}),
    ("gcn-virtual-node", {}),
    ("gin-virtual-node", {"pooling": "sum", "jumping_knowledge": "sum"}),
    ("gcn-virtual-node", {"jumping_knowledge": "sum"}),
    ("gcn", {"pooling": "sum"}),
    ("gin", {"layers": 1}),
    ("gin-virtual-node", {"layers": 1}),
    ("gcn-virtual-node", {"layers": 1, "jumping_knowledge": "sum", "pooling": "sum"}),
    ("neural-fingerprint", {"fingerprint_width": 20, "embedding_width": 24}),
    ("neural-fingerprint", {"layers": 1, "fingerprint_width": 20, "embedding_width": 9}),
]


def plain_answers(frozen, molecules, features=None, merge=True):
    model = restate(frozen, torch.float64)
    arrays = collate(molecules, features, merge=merge)
    inputs = {name: torch.from_numpy(arrays[name]) for name in model.reads}
    doubles = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
    return model(doubles)[0].numpy()


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize(("kind", "settings"), BACKBONES)
def test_answers_equal_the_frozen_model(
    make_backbone, make_frozen, molecules, kind, settings, merge
):
    frozen = make_frozen(make_backbone(kind, **settings))
    expected = Reference(frozen).answer(molecules)
    answers = plain_answers(frozen, molecules, merge=merge)
    np.testing.assert_allclose(answers, expected, rtol=1e-11, atol=1e-11)


def test_features_join_the_graph_embedding(
    make_backbone, make_frozen, feature_embedding, molecules
):
    frozen = make_frozen(make_backbone("gin"), feature_embedding)
    features = np.random.default_rng(0).uniform(0, 9, (len(molecules), 7)).astype(np.float32)
    expected = Reference(frozen).answer(molecules, features)
    np.testing.assert_allclose(plain_answers(frozen, molecules, features), expected, rtol=1e-11)


def test_features_alone_make_a_model(make_frozen, feature_embedding, molecules):
    frozen = make_frozen(None, feature_embedding)
    features = np.random.default_rng(0).uniform(0, 9, (len(molecules), 7)).astype(np.float32)
    assert restate(frozen).reads == ("features",)
    np.testing.assert_allclose(
        plain_answers(frozen, molecules, features),
        Reference(frozen).answer(molecules, features),
        rtol=1e-11,
    )


@pytest.mark.parametrize("kinds", [("binary", "binary"), ("regression",)])
def test_tasks_of_one_kind_only(make_backbone, make_frozen, molecules, kinds):
    frozen = make_frozen(make_backbone("gin"), None, kinds)
    answers = plain_answers(frozen, molecules)
    np.testing.assert_allclose(answers, Reference(frozen).answer(molecules), rtol=1e-11)
    assert (kinds[0] == "regression") or ((answers > 0) & (answers < 1)).all()


def test_a_zero_epsilon_needs_no_product(make_backbone, make_frozen, molecules):
    backbone = make_backbone("gin")
    for convolution in backbone.convolutions:
        nn.init.zeros_(convolution.epsilon)
    frozen = make_frozen(backbone)
    assert not restate(frozen).backbone.layers[0].scales_itself
    np.testing.assert_allclose(
        plain_answers(frozen, molecules), Reference(frozen).answer(molecules), rtol=1e-11
    )


def test_the_frozen_model_is_left_alone(make_backbone, make_frozen):
    frozen = make_frozen(make_backbone("gin-virtual-node"))
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    plain = restate(frozen)
    for tensor in plain.state_dict().values():
        tensor.zero_()
    after = frozen.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_unknown_backbone_is_named(make_frozen):
    class Other(nn.Module):
        width = 4

    with pytest.raises(ConfigError, match="type Other cannot be exported; MoleculeNetwork"):
        restate(make_frozen(Other()))


def test_only_needed_arrays_are_read(make_backbone, make_frozen):
    reads = {
        kind: set(restate(make_frozen(make_backbone(kind))).reads)
        for kind in ("gin", "gin-virtual-node", "gcn")
    }
    assert reads["gin-virtual-node"] - reads["gin"] == {"graph_kinds", "atom_graph"}
    assert reads["gcn"] - reads["gin"] == {"kind_degree"}
    one_layer = restate(make_frozen(make_backbone("gin", layers=1))).reads
    assert not {"atom_source", "atom_bond", "atom_slots"} & set(one_layer)


def test_looking_for_equal_atoms_pays_sooner_where_rows_are_dear(make_backbone, make_frozen):
    found = [
        restate(make_frozen(make_backbone("gin-virtual-node", width=width, layers=5))).merge_from
        for width in (16, 128, 300)
    ]
    assert found[0] > 10**6 > found[1] > found[2]
    assert found[2] < 32 < found[1] < 256


def test_features_alone_have_no_atoms_to_look_for(make_frozen, feature_embedding):
    assert restate(make_frozen(None, feature_embedding)).merge_from > 10**6
