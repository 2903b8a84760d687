"""Settings are read once, checked, and survive a round trip."""

import dataclasses
import tomllib
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.config import (
    AdapterConfig,
    BackboneConfig,
    DataConfig,
    FeatureConfig,
    ObjectiveConfig,
    PriorConfig,
    RelationConfig,
    RoutingConfig,
    RunConfig,
    SamplerConfig,
)
from graphadapt.errors import ConfigError, GraphAdaptError
from graphadapt.presets import preset_names
from graphadapt.training_config import TrainerConfig


def settings_of(cls=RunConfig, prefix=""):
    """Dotted name, type and default of every setting."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        name = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(hints[item.name]):
            yield from settings_of(hints[item.name], f"{name}.")
        else:
            yield name, hints[item.name], item.default


def test_the_defaults_are_a_run_that_can_be_configured():
    assert RunConfig() == RunConfig.from_dict({})


def test_a_file_is_read_into_sections(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[trainer]\nepochs = 3\n[features]\nblocks = ["counts"]\n'
        '[relation.prior]\nkind = "uniform"\n',
        encoding="utf-8",
    )
    config = RunConfig.from_toml(path)
    assert config.trainer.epochs == 3
    assert config.features.blocks == ("counts",)
    assert config.relation.prior.kind == "uniform"
    assert config.relation.sampler.kind == "labels"


def test_plain_tables_survive_a_round_trip():
    config = RunConfig().with_settings(
        {"features.blocks": ["counts", "columns"], "backbone.train": "frozen", "trainer.clip": 0}
    )
    assert RunConfig.from_dict(config.to_dict()) == config
    assert config.features.blocks == ("counts", "columns")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid(name):
    assert isinstance(RunConfig.from_toml(name), RunConfig)


def test_a_name_that_is_no_file_and_no_preset_lists_the_presets():
    with pytest.raises(ConfigError, match=r"'nowhere' is neither a file nor a preset; presets are"):
        RunConfig.from_toml("nowhere")


def test_a_file_that_is_not_toml_says_where(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("epochs 3", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.toml is not TOML: .*line 1"):
        RunConfig.from_toml(path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"trainr": {}}, r"unknown section: 'trainr'; did you mean 'trainer'\?"),
        (
            {"trainer": {"epoch": 1}},
            r"setting under \[trainer\]: 'epoch'; did you mean 'epochs'\?",
        ),
        ({"relation": {"prior": {"knd": "file"}}}, r"under \[relation\.prior\]: 'knd'.*'kind'"),
        ({"zzz": {}}, "known are adapters, backbone"),
        ({"trainer": 3}, "trainer is a section of settings, got 3"),
        ({"trainer": {"epochs": "3"}}, "trainer.epochs='3' is not of type int"),
        ({"trainer": {"epochs": 3.0}}, "trainer.epochs=3.0 is not of type int"),
        ({"trainer": {"epochs": True}}, "trainer.epochs=True is not of type int"),
        ({"trainer": {"clip": True}}, "trainer.clip=True is not of type float"),
        ({"adapters": {"readout": 1}}, "adapters.readout=1 is not of type bool"),
        ({"features": {"blocks": "counts"}}, "features.blocks is a list, got 'counts'"),
        ({"features": {"hidden": ["a"]}}, "features.hidden='a' is not of type int"),
        ({"backbone": {"kind": "gni"}}, r"backbone.kind='gni' is not one of .*did you mean 'gin'"),
        ({"backbone": {"pooling": 7}}, "backbone.pooling=7 is not one of 'mean', 'sum'"),
    ],
)
def test_a_wrong_key_or_type_is_named_with_what_would_work(table, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict(table)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataConfig(validation_fraction=1.0), "validation_fraction=1.0 is not between"),
        (lambda: FeatureConfig(hidden=()), "needs at least one positive width"),
        (lambda: FeatureConfig(dropout=1.0), r"features.dropout=1.0 is not in \[0, 1\)"),
        (lambda: BackboneConfig(layers=0), "layers must be at least 1, got 0"),
        (lambda: BackboneConfig(train="partly"), "train_layers and backbone.train='partly'"),
        (lambda: BackboneConfig(train_layers=("a",)), "give both or neither"),
        (lambda: AdapterConfig(count=-1), "count must be at least 0, got -1"),
        (lambda: AdapterConfig(rank=0), "rank must be at least 1, got 0"),
        (lambda: AdapterConfig(readout=False), "needs somewhere to sit"),
        (lambda: RelationConfig(kind="file"), "go together"),
        (lambda: RelationConfig(file="a.csv"), "go together"),
        (lambda: RelationConfig(minimum_overlap=1), "needs at least 2"),
        (lambda: RelationConfig(neighbours=0), "use at least 1"),
        (lambda: RelationConfig(shrinkage=-1.0), "shrinkage=-1.0 is negative"),
        (lambda: PriorConfig(width=0), "width must be at least 1"),
        (lambda: PriorConfig(layers=-1), "layers must be at least 0"),
        (lambda: PriorConfig(free=-0.5), "free=-0.5 is negative"),
        (lambda: RoutingConfig(temperature=0.0), "temperature=0.0 must be above 0"),
        (lambda: RoutingConfig(threshold=1.0), r"threshold=1.0 is not in \[0, 1\)"),
        (lambda: ObjectiveConfig(consistency=-1.0), "objective.consistency=-1.0 is negative"),
        (lambda: SamplerConfig(batch_size=1), "use at least 2"),
        (lambda: SamplerConfig(neighbourhood=0.8, random=0.4), "add up to at most 1"),
        (lambda: TrainerConfig(epochs=0), "epochs must be at least 1"),
        (lambda: TrainerConfig(learning_rate=0.0), "must be a number above 0"),
        (lambda: TrainerConfig(average=1.0), r"not in \[0, 1\)"),
        (lambda: TrainerConfig(learning_rate=float("inf")), "must be a number above 0"),
        (lambda: TrainerConfig(clip=-1.0), "trainer.clip=-1.0 must be a number that is 0 or more"),
        (lambda: TrainerConfig(weight_decay=-1.0), "weight_decay=-1.0 must be a number"),
        (lambda: TrainerConfig(final_rate=-2.0), "final_rate=-2.0 must be a number"),
        (lambda: TrainerConfig(checkpoint_seconds=float("nan")), "=nan must be a number"),
        (lambda: TrainerConfig(patience=-3), "trainer.patience=-3 must be 0 or more"),
        (lambda: TrainerConfig(threads=-1), "trainer.threads=-1 must be 0 or more"),
        (lambda: TrainerConfig(seed=-1), r"trainer.seed=-1 is not in \[0, 2\^63\)"),
        (lambda: TrainerConfig(seed=10**20), "trainer.seed=100000000000000000000 is not in"),
        (lambda: AdapterConfig(count=0, sites=("expand",)), "leaves nothing to put at"),
        (lambda: FeatureConfig(blocks=("counts", "counts")), "names one twice"),
        (lambda: RunConfig(backbone=BackboneConfig(kind="none")), "leaves nothing to read"),
        (
            lambda: RunConfig(
                backbone=BackboneConfig(kind="none"),
                features=FeatureConfig(blocks=("counts",)),
                adapters=AdapterConfig(sites=("expand",)),
            ),
            "adapters.sites name backbone layers",
        ),
    ],
)
def test_a_value_that_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_whole_number_is_taken_where_a_decimal_is_meant():
    config = RunConfig.from_dict({"trainer": {"clip": 2}})
    assert isinstance(config.trainer.clip, float)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainer.epoch": 1}, "setting in 'trainer.epoch': 'epoch'; did you mean 'epochs'"),
        ({"training.epochs": 1}, "section in 'training.epochs'"),
        ({"relation.prior.kin": "file"}, "did you mean 'kind'"),
    ],
)
def test_an_override_of_nothing_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().with_settings(settings)


def test_an_override_changes_one_setting_and_leaves_the_original():
    config = RunConfig()
    changed = config.with_settings({"relation.regulariser.kind": "uniform"})
    assert changed.relation.regulariser.kind == "uniform"
    assert changed.with_settings({"relation.regulariser.kind": "labels"}) == config


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().trainer.epochs = 3


@given(st.sampled_from([s for s in settings_of() if s[1] in (int, float)]), st.data())
def test_any_number_is_either_refused_by_name_or_kept(setting, data):
    name, kind, _ = setting
    numbers = st.integers(-3, 99) if kind is int else st.floats(-2, 3)
    value = data.draw(numbers)
    last = name.rpartition(".")[2]
    try:
        kept = RunConfig().with_settings({name: value}).to_dict()
    except ConfigError as error:
        refusal = str(error)
    else:
        for part in name.split("."):
            kept = kept[part]
        assert kept == value
        return
    assert last in refusal


def test_errors_are_one_tree_and_also_plain_value_errors():
    assert issubclass(ConfigError, GraphAdaptError)
    assert issubclass(ConfigError, ValueError)


def test_preset_files_are_plain_toml(repository: Path):
    folder = repository / "graphadapt" / "presets"
    assert {path.stem for path in folder.glob("*.toml")} == set(preset_names())
    for path in folder.glob("*.toml"):
        tomllib.loads(path.read_text("utf-8"))
