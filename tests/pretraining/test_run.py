"""A pretraining folder: stopped runs end as if nothing had happened, and others start from it."""

import json

import pytest
import torch

from graphadapt.config import RunConfig
from graphadapt.errors import CheckpointError, ConfigError
from graphadapt.pretraining.learner import Pretraining
from graphadapt.pretraining.run import PretrainRun
from graphadapt.run import Run
from graphadapt.trainer.checkpoint import load_tensors
from graphadapt.trainer.interrupt import Interrupted


def outcome(folder):
    tensors, _ = load_tensors(folder / "last.safetensors")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["molecules_per_second"]
    return tensors, lines


@pytest.mark.parametrize("stops", [(1,), (0, 2, 5)])
def test_a_stopped_run_ends_with_the_same_bits(settings, pretrained, tmp_path, monkeypatch, stops):
    loss = Pretraining.loss
    left = list(stops)

    def interrupted(self, step, workers):
        if left and step == left[0]:
            left.pop(0)
            raise Interrupted("stopped")
        return loss(self, step, workers)

    monkeypatch.setattr(Pretraining, "loss", interrupted)
    folder = tmp_path / "run"
    run = PretrainRun.create(settings, folder)
    for _ in stops:
        with pytest.raises(Interrupted):
            run.train(shown=False, resume=True)
        run = PretrainRun.open(folder, "none")
    run.train(shown=False, resume=True)
    assert left == []
    tensors, lines = outcome(folder)
    expected, expected_lines = outcome(pretrained)
    assert lines == expected_lines
    assert [name for name in expected if not torch.equal(tensors[name], expected[name])] == []


def test_training_lowers_the_loss(pretrained):
    _, lines = outcome(pretrained)
    assert lines[-1]["loss"] < lines[0]["loss"] < 1.5
    assert lines[-1]["validation"].keys() >= {"atoms_loss", "descriptors_r2", "supervised_loss"}


def test_an_opened_run_judges_as_it_was_judged(pretrained):
    run = PretrainRun.open(pretrained)
    _, state = load_tensors(pretrained / "best.safetensors")
    assert run.evaluate().mean == pytest.approx(state["validation"])
    assert run.is_finished


def test_a_finished_run_is_read_back_not_trained_again(settings, pretrained):
    before = (pretrained / "last.safetensors").stat().st_mtime_ns
    PretrainRun.trained(settings, pretrained, shown=False)
    assert (pretrained / "last.safetensors").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match="holds a run of other settings"):
        PretrainRun.trained(settings.with_settings({"trainer.seed": 5}), pretrained)


def test_folders_that_are_in_the_way_or_hold_no_run_are_refused(settings, pretrained, tmp_path):
    with pytest.raises(CheckpointError, match="holds a run already; resume it or choose another"):
        PretrainRun.create(settings, pretrained)
    with pytest.raises(CheckpointError, match=r"is no pretraining run: it has no config\.json"):
        PretrainRun.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged, or no pretraining run"):
        PretrainRun.open(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json holds no object"):
        PretrainRun.open(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something other than a run"):
        PretrainRun.create(settings, tmp_path)
    with pytest.raises(CheckpointError, match="is a file; give a folder for the run"):
        PretrainRun.create(settings, tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="no checkpoint called 'newest'; use best or last"):
        PretrainRun.open(pretrained, "newest")


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_alike(settings, tmp_path):
    first = PretrainRun.create(settings, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"has no best\.safetensors yet; train the run first"):
        PretrainRun.open(tmp_path / "run")
    again = PretrainRun.open(tmp_path / "run", "none")
    expected = first.model.state_dict()
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_run_of_another_kind_is_called_so(pretrained):
    with pytest.raises(CheckpointError, match="it holds a run of `graphadapt pretrain`"):
        Run.settings(pretrained)


def test_weights_of_other_settings_are_told_by_a_few_names(settings, pretrained, tmp_path):
    run = PretrainRun.create(settings.with_settings({"backbone.layers": 3}), tmp_path / "run")
    (tmp_path / "run" / "best.safetensors").write_bytes(
        (pretrained / "best.safetensors").read_bytes()
    )
    with pytest.raises(
        CheckpointError, match=r"does not fit its own settings: \d+ missing"
    ) as said:
        PretrainRun.open(run.folder, "best")
    assert len(str(said.value).partition("settings:")[2]) < 300


def test_a_run_may_go_on_from_the_weights_of_another(settings, pretrained, tmp_path):
    changed = settings.with_settings(
        {"backbone.weights": str(pretrained), "objectives.bonds.weight": 0.0}
    )
    run = PretrainRun.create(changed, tmp_path / "second")
    expected = PretrainRun.open(pretrained).model.backbone.state_dict()
    for name, tensor in run.model.backbone.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_fine_tuning_starts_from_the_folder(pretrained, labelled_store, tmp_path):
    config = RunConfig().with_settings(
        {
            "data.store": str(labelled_store),
            "backbone.layers": 2,
            "backbone.width": 8,
            "backbone.weights": str(pretrained),
            "adapters.count": 0,
            "trainer.device": "cpu",
            "trainer.precision": "float32",
        }
    )
    run = Run.create(config, tmp_path / "run")
    expected = PretrainRun.open(pretrained).model.backbone.state_dict()
    for name, tensor in run.model.backbone.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
