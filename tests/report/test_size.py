"""Parameters are counted once each, and only those that move count as trainable."""

import pytest

from graphadapt.config import BackboneConfig
from graphadapt.freeze import freeze
from graphadapt.report.size import parameter_counts, size_table
from graphadapt.run import Run


@pytest.fixture
def model(tiny_run):
    return Run.open(tiny_run).model


def test_the_parts_add_up_to_the_model(model):
    counts = parameter_counts(model, BackboneConfig())
    total = sum(parameter.numel() for parameter in model.parameters())
    parts = ("backbone", "features", "adapters", "routing", "heads")
    assert counts["all"] == {"parameters": total, "trainable": total}
    assert sum(counts[part]["parameters"] for part in parts) == total
    assert counts["heads"]["parameters"] == 3 * (32 + 1)
    assert counts["adapters"]["parameters"] == 4 * 2 * (16 + 32) + 4 * 2 * (32 + 32)


def test_freezing_leaves_backbone_features_and_heads(model):
    frozen = sum(parameter.numel() for parameter in freeze(model).parameters())
    assert parameter_counts(model, BackboneConfig())["frozen"]["parameters"] == frozen


@pytest.mark.parametrize(
    ("settings", "trainable"),
    [
        ({"train": "frozen"}, 0),
        ({"train": "partly", "train_layers": ("convolutions.1.contract.*",)}, 32 * 16 + 16),
    ],
)
def test_what_is_frozen_does_not_count_as_trainable(model, settings, trainable):
    counts = parameter_counts(model, BackboneConfig(**settings))
    assert counts["backbone"]["trainable"] == trainable
    assert counts["all"]["trainable"] == (
        counts["all"]["parameters"] - counts["backbone"]["parameters"] + trainable
    )


def test_a_model_without_adapters_has_none(model):
    model.banks = model.routing = model.readout.bank = None
    counts = parameter_counts(model, BackboneConfig())
    assert counts["adapters"]["parameters"] == counts["routing"]["parameters"] == 0


def test_the_table_has_a_row_a_part(model):
    lines = size_table(parameter_counts(model, BackboneConfig())).splitlines()
    assert [line.split()[0] for line in lines[1:6]] == [
        "backbone",
        "features",
        "adapters",
        "routing",
        "heads",
    ]
