"""Cards of backbone weights: what fits is taken, what does not is named."""

import json

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Lipinski, MolSurf

from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.package import (
    CARD_FORMAT,
    architecture,
    bundled_weights,
    card_path,
    check_card,
    file_digest,
    read_card,
)
from graphadapt.config import BackboneConfig, RunConfig
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.errors import CheckpointError
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.vocabulary import ATOM_FEATURES, FEATURISATION_VERSION
from graphadapt.presets import preset_names
from graphadapt.trainer.start_weights import start_backbone


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "some.safetensors"
    path.write_bytes(b"weights")
    write_card(path)
    return path


def write_card(path, **changes):
    card = {
        "format": CARD_FORMAT,
        "backbone": architecture(BackboneConfig()),
        "featurisation_version": FEATURISATION_VERSION,
        "weights": {"sha256": file_digest(path)},
        **changes,
    }
    card_path(path).write_text(json.dumps(card))


def test_a_card_that_belongs_to_its_file_is_read(weights):
    check_card(read_card(weights), weights, BackboneConfig())


def test_settings_that_weights_do_not_depend_on_may_differ(weights):
    config = BackboneConfig(dropout=0.1, message_passing="tensor", train="frozen")
    check_card(read_card(weights), weights, config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 256}, r"of width=256; set backbone\.width=300"),
        (
            {"kind": "gin", "layers": 4},
            r"set backbone\.kind='gin-virtual-node', backbone\.layers=5",
        ),
        ({"pooling": "sum"}, r"of pooling='sum'; set backbone\.pooling='mean'"),
        ({"jumping_knowledge": "sum"}, r"set backbone\.jumping_knowledge='last'"),
        ({"kind": "neural-fingerprint"}, r"set backbone\.kind='gin-virtual-node'"),
    ],
)
def test_another_network_is_told_the_settings_that_would_fit(weights, settings, message):
    with pytest.raises(CheckpointError, match=message):
        check_card(read_card(weights), weights, BackboneConfig(**settings))


def test_an_older_featurisation_is_refused(weights):
    write_card(weights, featurisation_version=0)
    with pytest.raises(CheckpointError, match="was trained on featurisation version 0"):
        check_card(read_card(weights), weights, BackboneConfig())


def test_a_card_that_is_missing_damaged_or_of_another_file_is_refused(weights):
    write_card(weights, format=99)
    with pytest.raises(CheckpointError, match=r"has format 99; this program reads"):
        read_card(weights)
    write_card(weights)
    weights.write_bytes(b"others")
    with pytest.raises(CheckpointError, match="its sha256 differs; copy both files again"):
        read_card(weights)
    card_path(weights).write_text("[1]")
    with pytest.raises(CheckpointError, match="is no card of backbone weights"):
        read_card(weights)
    card_path(weights).unlink()
    with pytest.raises(CheckpointError, match=r"has no card some\.json beside it; copy both"):
        read_card(weights)


OGB_SETS = {f"ogbg-mol{name}" for name in ("tox21", "toxcast", "muv", "sider", "bbbp")}


@pytest.mark.parametrize("name", ["gin-virtual-node", "neural-fingerprint"])
def test_weights_that_ship_are_what_their_cards_say(name):
    path = bundled_weights()[name]
    card = read_card(path)
    config = BackboneConfig(**card["backbone"], weights=name)
    check_card(card, path, config)
    backbone = build_backbone(config)
    start_backbone(backbone, config)
    assert path.stat().st_size <= 8e6
    assert card["licence"] == "MIT AND CC-BY-SA-3.0"
    assert "supervised" not in card["objectives"]  # no label of any set
    sources = [source for store in card["data"]["stores"] for source in store["sources"]]
    assert {source["name"] for source in sources} == {"MOSES", "moleculeace", *OGB_SETS}
    assert card["figures"]["descriptors_r2"] > 0.8
    assert card["figures"]["bonds_bond_type_accuracy"] > 0.95
    never = card["vocabulary"]["never_trained"]["atom"]
    tables = zip(ATOM_FEATURES.items(), backbone.atoms.tables, strict=True)
    for (feature, values), table in tables:
        for value, row in zip(values, table.weight, strict=True):
            assert row.any() == (value not in never.get(feature, [])), (feature, value)
    assert 53 not in never["atomic_number"]  # iodine, which MOSES lacks


@pytest.mark.parametrize("name", ["gin-virtual-node", "neural-fingerprint"])
def test_weights_that_ship_know_molecules_that_the_same_network_untrained_does_not(name):
    """Descriptors of molecules not fitted, read linearly off the embedding."""
    smiles = moleculeace_source().smiles[::60]
    molecules = [Chem.MolFromSmiles(text) for text in smiles]
    truth_GQ = torch.tensor(
        [
            (MolSurf.PEOE_VSA6(m), MolSurf.SlogP_VSA3(m), Lipinski.NumAromaticHeterocycles(m))
            for m in molecules
        ]
    ).double()
    batch = GraphTable.from_molecules([featurise_smiles(text) for text in smiles]).gather(
        torch.arange(len(smiles))
    )
    config = BackboneConfig(**read_card(bundled_weights()[name])["backbone"], weights=name)
    torch.manual_seed(0)
    backbone = build_backbone(config).eval()
    untrained = unexplained(backbone, batch, truth_GQ)
    start_backbone(backbone, config)
    trained = unexplained(backbone, batch, truth_GQ)
    assert trained.max() < 0.15
    assert (trained < 0.7 * untrained).all()


@torch.no_grad()
def unexplained(backbone, batch, truth_GQ):
    """Share of the variance of every third molecule that a ridge on the others leaves."""
    x_GD = backbone(batch).double()
    x_GD = (x_GD - x_GD.mean(0)) / x_GD.std(0).clamp(min=1e-3)
    judged = torch.arange(len(x_GD)) % 3 == 0
    center_Q = truth_GQ[~judged].mean(0)
    fitted_ND = x_GD[~judged]
    square_DD = fitted_ND.T @ fitted_ND + 30 * torch.eye(x_GD.shape[1]).double()
    weight_DQ = torch.linalg.solve(square_DD, fitted_ND.T @ (truth_GQ[~judged] - center_Q))
    error_NQ = x_GD[judged] @ weight_DQ + center_Q - truth_GQ[judged]
    return error_NQ.square().mean(0) / truth_GQ[judged].var(0)


def test_presets_fit_the_weights_that_they_start_from():
    started = set()
    for name in preset_names():
        config = RunConfig.from_toml(name).backbone
        if config.weights:
            path = bundled_weights()[config.weights]
            check_card(read_card(path), path, config)
            started.add(name)
    assert {"plain", "full-graph", "quickstart-graph"} <= started


@pytest.mark.parametrize(("train", "is_told"), [("all", True), ("frozen", False)])
def test_a_random_start_is_offered_where_it_would_work(weights, train, is_told):
    config = BackboneConfig(width=256, train=train)
    with pytest.raises(CheckpointError) as refusal:
        check_card(read_card(weights), weights, config)
    assert ("backbone.weights='' to start at random" in str(refusal.value)) == is_told


def test_every_network_that_ships_is_tested():
    assert sorted(bundled_weights()) == ["gin-virtual-node", "neural-fingerprint"]


def test_a_neural_fingerprint_depends_on_its_own_widths():
    found = architecture(BackboneConfig(kind="neural-fingerprint", fingerprint_width=64))
    assert found["fingerprint_width"] == 64
    assert "pooling" not in found
