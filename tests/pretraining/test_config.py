"""Settings of pretraining: presets that work, and mistakes that say what would."""

import pytest

from graphadapt.errors import ConfigError
from graphadapt.presets import preset_names, read_preset
from graphadapt.pretraining.config import PRESETS, PretrainConfig, feature_weights


@pytest.mark.parametrize("name", preset_names(PRESETS))
def test_every_preset_is_valid_and_survives_a_round_trip(name):
    config = PretrainConfig.from_toml(name)
    assert PretrainConfig.from_dict(config.to_dict()) == config
    assert read_preset(name, PRESETS).startswith("# ")


def test_presets_that_pretrain_are_not_among_those_that_train():
    assert not set(preset_names()) & set(preset_names(PRESETS))


def test_the_shipped_backbone_is_the_reference_network():
    backbone = PretrainConfig.from_toml("gin-virtual-node").backbone
    assert (backbone.kind, backbone.layers, backbone.width) == ("gin-virtual-node", 5, 300)


def test_features_are_those_of_the_vocabulary_in_its_order():
    from graphadapt.molecules.vocabulary import ATOM_FEATURES, BOND_FEATURES

    objectives = PretrainConfig().objectives
    assert list(feature_weights(objectives.atoms)) == list(ATOM_FEATURES)
    assert list(feature_weights(objectives.bonds)) == list(BOND_FEATURES)


NOTHING = {
    f"objectives.{name}.weight": 0.0 for name in ("atoms", "bonds", "descriptors", "fingerprint")
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (NOTHING, "the weights of all objectives are 0, so there is nothing to learn; raise one"),
        ({"objectives.contrast.weight": 1.0}, r"'contrast'; did you mean 'contrastive'\?"),
        ({"objectives.bonds.weight": -1.0}, r"objectives\.bonds\.weight=-1\.0 is negative"),
        ({"objectives.atoms.hydrogens": -1.0}, r"objectives\.atoms\.hydrogens=-1\.0 is neg"),
        (
            {"objectives.bonds.bond_type": 0.0, "objectives.bonds.stereo": 0.0},
            r"objectives\.bonds predicts no feature: raise one of bond_type, stereo, conjugated",
        ),
        ({"objectives.supervised.weight": 1.0}, r"store='' is none of corpus\.stores"),
        ({"objectives.descriptors.clip": 0.0}, r"clip=0\.0 must be above 0"),
        ({"objectives.fingerprint.hidden": -1}, r"fingerprint\.hidden=-1 is negative"),
        ({"objectives.fingerprint.target": "bit"}, r"did you mean 'bits'\?"),
        ({"objectives.contrastive.temperature": 0.0}, r"temperature=0\.0 must be above 0"),
        ({"objectives.contrastive.width": 0}, "use at least 1"),
        ({"masking.graphs": 0.0}, r"masking\.graphs=0\.0 is not in \(0, 1\]"),
        ({"masking.atoms": 1.0}, r"masking\.atoms=1\.0 is not in \(0, 1\)"),
        ({"masking.bonds": 1.0}, r"masking\.bonds=1\.0 is not in \[0, 1\)"),
        ({"corpus.shares": [0.5]}, "1 values for 0 stores; give one a store"),
        ({"corpus.stores": ["a"], "corpus.shares": [0.0]}, "must all be above 0"),
        ({"corpus.stores": ["a", "a"]}, "names a store twice"),
        ({"corpus.held_out": 0.0}, r"held_out=0\.0 is not in \(0, 1\)"),
        ({"corpus.batch_size": 1}, "use at least 2"),
        ({"backbone.kind": "none"}, "leaves nothing to pretrain"),
        ({"backbone.train": "frozen"}, "pretraining moves all of a backbone's weights"),
    ],
)
def test_a_mistake_says_what_would_work(changes, message):
    with pytest.raises(ConfigError, match=message):
        PretrainConfig().with_settings(changes)


def test_a_name_that_is_no_preset_lists_those_that_pretrain():
    with pytest.raises(ConfigError, match="presets are gin-virtual-node, neural-fingerprint"):
        PretrainConfig.from_toml("quickstart")
