"""The file that ships a backbone, and the card that says what it is."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.package import card_path, file_digest
from graphadapt.config import BackboneConfig, RunConfig
from graphadapt.errors import CheckpointError
from graphadapt.pretraining import package as packaging
from graphadapt.pretraining.package import write_package
from graphadapt.pretraining.run import PretrainRun
from graphadapt.run import Run
from graphadapt.trainer.checkpoint import load_tensors
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.start_weights import start_backbone


@pytest.fixture(scope="module")
def package(pretrained, tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "small.safetensors"
    card = write_package(PretrainRun.open(pretrained), path, licence="MIT")
    assert card == json.loads(card_path(path).read_text("utf-8"))
    return path


@pytest.fixture
def card(package):
    return json.loads(card_path(package).read_text("utf-8"))


def started_from(package):
    return BackboneConfig(layers=2, width=8, dropout=0.0, weights=str(package))


def test_matrices_are_half_and_vectors_whole(package):
    tensors, _ = load_tensors(package)
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float16 if tensor.ndim >= 2 else torch.float32), name


def test_a_backbone_starts_from_the_file_in_full_precision(package):
    backbone = build_backbone(started_from(package))
    start_backbone(backbone, started_from(package))
    tensors, _ = load_tensors(package)
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, tensors[name].to(tensor.dtype)), name
    assert next(backbone.parameters()).dtype == torch.float32


def test_the_card_says_data_objectives_settings_figures_and_digest(card, package, labelled_store):
    assert card["weights"]["sha256"] == file_digest(package)
    assert card["weights"]["bytes"] == package.stat().st_size
    assert card["licence"] == "MIT"
    assert card["backbone"]["kind"] == "gin-virtual-node"
    first, second = card["data"]["stores"]
    assert first["molecules"] == 40
    assert first["held_out"] == 4
    assert 0 < first["trained_on"] <= 36  # what the best checkpoint had seen
    assert second["sources"][0]["licence"] == "not stated"
    assert card["objectives"]["supervised"]["weight"] == 0.5
    assert card["training"]["steps"] > 0
    assert str(labelled_store.parent) not in json.dumps(card)  # nobody's folders
    assert 0 <= card["rounding"]["root_mean_square"] <= card["rounding"]["largest"] < 0.1
    assert 92 in card["vocabulary"]["never_trained"]["atom"]["atomic_number"]


def test_figures_are_of_the_weights_in_the_file(card, package, pretrained):
    run = PretrainRun.open(pretrained)
    start_backbone(run.model.backbone, started_from(package))
    found = run.evaluate()
    figures = card["figures"]
    assert found.score == pytest.approx(figures.pop("held_out_score"), rel=1e-5)
    assert found.mean == pytest.approx(figures, rel=1e-5)


def test_norms_hold_the_mean_over_many_steps_that_hide_parts(package, pretrained):
    run = PretrainRun.open(pretrained)
    start_backbone(run.model.backbone, started_from(package))
    learner, backbone, seen = run.learner(), run.model.backbone, []
    # as they were taken: inside training mode, where norms below use the batch's own
    for norm in [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm1d)]:
        norm.train()
        norm.momentum = 0.0
    backbone.norms[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean(0)))
    torch.manual_seed(0)
    with torch.no_grad():
        for step in range(learner.steps_per_epoch):
            learner.loss(step, Workers())
    expected = torch.stack(seen).mean(0)
    assert len(seen) > 1
    torch.testing.assert_close(backbone.norms[0].running_mean, expected, rtol=1e-2, atol=1e-2)


def test_a_run_is_packaged_to_the_same_bytes(package, pretrained, tmp_path):
    torch.manual_seed(7)
    write_package(PretrainRun.open(pretrained), tmp_path / "small.safetensors", licence="MIT")
    assert (tmp_path / "small.safetensors").read_bytes() == package.read_bytes()


def test_a_run_trains_from_the_package(package, labelled_store, tmp_path):
    config = RunConfig().with_settings(
        {
            "data.store": str(labelled_store),
            "backbone.layers": 2,
            "backbone.width": 8,
            "backbone.weights": str(package),
            "backbone.train": "frozen",
            "adapters.count": 0,
            "sampler.batch_size": 16,
            "trainer.epochs": 1,
            "trainer.device": "cpu",
            "trainer.precision": "float32",
        }
    )
    Run.create(config, tmp_path / "run").train(shown=False)
    trained = Run.open(tmp_path / "run").model.backbone.state_dict()
    tensors, _ = load_tensors(package)
    assert all(torch.equal(trained[name], tensors[name].to(trained[name])) for name in trained)


def test_an_unfinished_run_or_a_taken_place_is_refused(settings, pretrained, package, tmp_path):
    run = PretrainRun.create(settings, tmp_path / "run")
    with pytest.raises(CheckpointError, match="is not trained to its end; go on with `graphadapt"):
        write_package(run, tmp_path / "a.safetensors")
    run = PretrainRun.open(pretrained)
    with pytest.raises(CheckpointError, match=r"must end in \.safetensors"):
        write_package(run, tmp_path / "a.bin")
    with pytest.raises(
        CheckpointError, match="exists already; choose another place or use --force"
    ):
        write_package(run, package)


@pytest.mark.parametrize("refused", ["new.safetensors", "new.json"])
@pytest.mark.parametrize("at", ["writing", "moving"])
def test_weights_and_card_are_written_both_or_neither(
    pretrained, tmp_path, monkeypatch, refused, at
):
    """The system says that the disk is full without a name, or names a file that nobody knows."""
    path, move = tmp_path / "new.safetensors", Path.replace

    def failing(write):
        def written(place, *contents):
            if place.name == refused:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(place, *contents)

        return written

    def moved(old, place):
        if place == tmp_path / refused:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(old))
        return move(old, place)

    if at == "moving":
        monkeypatch.setattr(Path, "replace", moved)
    else:
        monkeypatch.setattr(packaging, "save_tensors", failing(packaging.save_tensors))
        monkeypatch.setattr(packaging, "write_text", failing(packaging.write_text))
    with pytest.raises(OSError, match=refused) as caught:
        write_package(PretrainRun.open(pretrained), path)
    assert caught.value.filename == str(tmp_path / refused)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_package(PretrainRun.open(pretrained), path)
    assert {item.name for item in tmp_path.iterdir()} == {"new.safetensors", "new.json"}


def test_a_folder_that_comes_to_be_in_the_way_leaves_nothing(pretrained, tmp_path):
    run = PretrainRun.open(pretrained)
    scored = run.evaluate
    run.evaluate = lambda: ((tmp_path / "new.json").mkdir(), scored())[1]
    with pytest.raises(CheckpointError, match=r"new\.json is a folder; choose another name"):
        write_package(run, tmp_path / "new.safetensors")
    assert [item.name for item in tmp_path.iterdir()] == ["new.json"]


def test_the_reference_network_fits_eight_megabytes(tmp_path):
    from graphadapt.pretraining.package import _stored
    from graphadapt.trainer.checkpoint import save_tensors

    backbone = build_backbone(BackboneConfig())
    save_tensors(tmp_path / "whole.safetensors", _stored(backbone), {})
    assert (tmp_path / "whole.safetensors").stat().st_size < 8e6
