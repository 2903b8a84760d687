"""First weights of a backbone, wherever they are named."""

from pathlib import Path

import pytest
import torch

from graphadapt.backbone import package
from graphadapt.backbone.factory import build_backbone
from graphadapt.config import BackboneConfig
from graphadapt.errors import CheckpointError
from graphadapt.run import Run
from graphadapt.trainer import start_weights
from graphadapt.trainer.checkpoint import load_tensors, save_tensors
from graphadapt.trainer.start_weights import model_tensors, start_backbone, whole_weights_path


def small(weights):
    return BackboneConfig(layers=2, width=16, weights=str(weights))


@pytest.mark.parametrize("name", ["", "best.safetensors", "last.safetensors"])
def test_a_run_folder_and_its_checkpoints_give_their_backbone(tiny_run, name):
    config = small(tiny_run / name if name else tiny_run)
    backbone = build_backbone(config)
    start_backbone(backbone, config)
    which = "last" if "last" in name else "best"
    expected = Run.open(tiny_run, which).model.backbone.state_dict()
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


def test_averaged_weights_are_taken_where_there_are_any(tmp_path):
    path = tmp_path / "last.safetensors"
    tensors = {
        "model/a": torch.zeros(1),
        "average/a": torch.ones(1),
        "optimiser/a#step": torch.ones(1),
    }
    save_tensors(path, tensors, {})
    assert model_tensors(path)["a"].item() == 1
    save_tensors(path, {"a": torch.full((1,), 2.0)}, {})
    assert model_tensors(path)["a"].item() == 2


@pytest.fixture
def shipped(monkeypatch, tiny_run, tmp_path):
    """A package that comes with graphadapt under the name ``small``."""
    import json

    path = tmp_path / "small.safetensors"
    own = {
        name.removeprefix("backbone."): tensor.half() if tensor.ndim == 2 else tensor
        for name, tensor in load_tensors(tiny_run / "best.safetensors")[0].items()
        if name.startswith("backbone.")
    }
    save_tensors(path, own, {start_weights.PACKAGE_MARK: {}})
    card = {
        "format": package.CARD_FORMAT,
        "backbone": package.architecture(small("")),
        "featurisation_version": 1,
        "weights": {"sha256": package.file_digest(path)},
    }
    package.card_path(path).write_text(json.dumps(card))
    monkeypatch.setattr(start_weights, "bundled_weights", lambda: {"small": path})
    return own


def test_weights_that_come_with_the_package_are_called_by_name(shipped):
    backbone = build_backbone(small("small"))
    start_backbone(backbone, small("small"))
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, shipped[key].to(tensor.dtype)), key
    with pytest.raises(CheckpointError, match=r"set backbone\.width=16"):
        start_backbone(backbone, BackboneConfig(layers=2, width=8, weights="small"))


def test_names_stay_names_and_paths_become_whole(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert whole_weights_path("") == ""
    assert whole_weights_path("small") == "small"
    assert whole_weights_path("other") == str(tmp_path / "other")
    Path("small").mkdir()
    assert whole_weights_path("small") == "small"
    assert whole_weights_path("./small") == str(tmp_path / "small")


def test_what_cannot_be_started_from_is_named(shipped, tiny_run, tmp_path):
    def start(weights, **more):
        config = BackboneConfig(**{"layers": 2, "width": 16, **more, "weights": str(weights)})
        start_backbone(build_backbone(config), config)

    with pytest.raises(CheckpointError, match=r"none of the weights that come with .* \(small\)"):
        start("smal")
    with pytest.raises(CheckpointError, match=r"is no run folder: it has no config\.json"):
        start(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is damaged, or no run folder"):
        start(tmp_path)
    random = r", or backbone\.weights='' to start at random$"
    with pytest.raises(CheckpointError, match=r"of layers=3; set backbone\.layers=2" + random):
        start(tiny_run, layers=3)
    with pytest.raises(
        CheckpointError, match=r"of pooling='sum'; set backbone\.pooling='mean'" + random
    ):
        start(tiny_run, pooling="sum")
    with pytest.raises(CheckpointError, match="is no readable checkpoint"):
        start(tiny_run / "config.json")
