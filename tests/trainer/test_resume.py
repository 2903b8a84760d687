"""A run that is killed or stopped ends as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.config import RunConfig
from graphadapt.errors import CheckpointError
from graphadapt.run import Run
from graphadapt.trainer.checkpoint import load_tensors, save_tensors
from graphadapt.trainer.fine_tuning import FineTuning
from graphadapt.trainer.interrupt import Interrupted


def settings(store: Path, **more) -> RunConfig:
    return RunConfig().with_settings(
        {
            "data.store": str(store),
            "features.blocks": ["counts"],
            "features.hidden": [8],
            "backbone.layers": 2,
            "backbone.width": 8,
            "adapters.count": 3,
            "adapters.rank": 2,
            "adapters.sites": ["expand"],
            "prior.width": 4,
            "objective.consistency": 0.1,
            "objective.balance": 0.01,
            "objective.entropy": 0.01,
            "sampler.batch_size": 8,
            "sampler.task_count": 2,
            "trainer.epochs": 3,
            "trainer.average": 0.9,
            "trainer.checkpoint_seconds": 0.0,
            "trainer.precision": "float32",
            "trainer.device": "cpu",
            **more,
        }
    )


def outcome(folder: Path) -> tuple[dict, list[dict]]:
    tensors, _ = load_tensors(folder / "last.safetensors")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["molecules_per_second"]
    return tensors, lines


def assert_same_outcome(folder: Path, other: Path) -> None:
    tensors, lines = outcome(folder)
    expected, expected_lines = outcome(other)
    assert lines == expected_lines
    assert tensors.keys() == expected.keys()
    different = [name for name in tensors if not torch.equal(tensors[name], expected[name])]
    assert different == []


def assert_resumes_to(folder: Path, other: Path) -> None:
    Run.open(folder, "none").train(resume=True, shown=False)
    assert_same_outcome(folder, other)


@pytest.fixture(scope="module")
def uninterrupted(tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    Run.create(settings(tiny_store), folder).train(shown=False)
    return folder


@pytest.fixture
def stop_run(monkeypatch):
    """Begin a run that the user stops during a step, which is counted from 0."""
    loss = FineTuning.loss

    def stop(config: RunConfig, folder: Path, step_of: Callable[[int], int] = lambda _: 0) -> str:
        def loss_while_the_user_stops(self, step, workers):
            if step == step_of(self.steps_per_epoch):
                signal.raise_signal(signal.SIGINT)
            return loss(self, step, workers)

        with monkeypatch.context() as patch:
            patch.setattr(FineTuning, "loss", loss_while_the_user_stops)
            with pytest.raises(Interrupted) as stopped:
                Run.create(config, folder).train(shown=False)
        return str(stopped.value)

    return stop


def start_command(folder: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "graphadapt", "train", *more, "-o", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )


def wait_for_step(folder: Path, least: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "last.safetensors").exists():
            _, state = load_tensors(folder / "last.safetensors")
            if state["step"] >= least:
                return
        time.sleep(0.01)
    pytest.fail(f"no checkpoint of step {least}: {process.communicate()[1]}")


def slow_settings(store: Path, file: Path) -> None:
    """The same settings as a file, for a command to read."""
    sections = settings(store).to_dict()
    lines = []
    for section, values in sections.items():
        plain = {k: v for k, v in values.items() if not isinstance(v, dict)}
        nested = {k: v for k, v in values.items() if isinstance(v, dict)}
        lines += [f"[{section}]", *(f"{k} = {json.dumps(v)}" for k, v in plain.items())]
        for name, inner in nested.items():
            lines += [f"[{section}.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in inner.items())]
    file.write_text("\n".join(lines))


def test_a_killed_run_resumes_to_the_same_bits(tiny_store, tmp_path, uninterrupted):
    slow_settings(tiny_store, tmp_path / "run.toml")
    folder = tmp_path / "run"
    process = start_command(folder, str(tmp_path / "run.toml"))
    wait_for_step(folder, 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, state = load_tensors(folder / "last.safetensors")
    if state["finished"]:
        pytest.fail("the run ended before it could be killed; give it more steps")
    resumed = start_command(folder, "--resume")
    output, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert "Trained" in output
    assert_same_outcome(folder, uninterrupted)


def test_ctrl_c_saves_and_says_how_to_go_on(tiny_store, tmp_path, uninterrupted):
    slow_settings(tiny_store, tmp_path / "run.toml")
    folder = tmp_path / "run"
    process = start_command(folder, str(tmp_path / "run.toml"))
    wait_for_step(folder, 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "train --resume" in errors
    assert "Traceback" not in errors
    assert_resumes_to(folder, uninterrupted)


def test_a_stop_inside_an_epoch_keeps_the_epochs_mean_loss(
    tiny_store, tmp_path, uninterrupted, stop_run
):
    assert stop_run(settings(tiny_store), tmp_path / "run") == "stopped after step 1"
    assert_resumes_to(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_stop_at_an_epochs_last_step_keeps_its_validation(
    tiny_store, tmp_path, uninterrupted, stop_run, epoch
):
    stop_run(settings(tiny_store), tmp_path / "run", lambda steps: (epoch + 1) * steps - 1)
    assert_resumes_to(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_run_that_ends_while_it_validates_validates_again(
    tiny_store, tmp_path, uninterrupted, monkeypatch, epoch
):
    evaluate, asked = Run.evaluate, []

    def evaluate_until_the_machine_fails(self, part, composition_T=None):
        asked.append(part)
        if len(asked) > epoch:
            raise MemoryError
        return evaluate(self, part, composition_T)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "evaluate", evaluate_until_the_machine_fails)
        with pytest.raises(MemoryError):
            Run.create(settings(tiny_store), tmp_path / "run").train(shown=False)
    assert_resumes_to(tmp_path / "run", uninterrupted)


def test_a_checkpoint_of_another_model_is_told_by_a_few_names(tiny_store, tmp_path, uninterrupted):
    run = Run.create(settings(tiny_store, **{"backbone.layers": 3}), tmp_path / "run")
    (tmp_path / "run" / "last.safetensors").write_bytes(
        (uninterrupted / "last.safetensors").read_bytes()
    )
    with pytest.raises(CheckpointError, match=r"does not fit its own settings: \d+ missing"):
        run.train(resume=True, shown=False)


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tiny_store, tmp_path, uninterrupted):
    Run.create(settings(tiny_store), tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"epoch": 0, "step": 3}\n')
    assert_resumes_to(tmp_path / "run", uninterrupted)


def test_its_folder_may_be_given_to_another_run(tiny_store, tmp_path, uninterrupted):
    Run.create(settings(tiny_store, **{"trainer.epochs": 9}), tmp_path / "run")
    Run.create(settings(tiny_store), tmp_path / "run").train(shown=False)
    assert_same_outcome(tmp_path / "run", uninterrupted)


def test_early_stopping_ends_the_run(tiny_store, tmp_path):
    config = settings(tiny_store, **{"trainer.patience": 1, "trainer.learning_rate": 1e-12})
    state = Run.create(config.with_settings({"trainer.epochs": 9}), tmp_path / "run").train(
        shown=False
    )
    assert state.finished
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) < 9


def test_a_second_run_in_the_same_folder_is_refused(tiny_store, uninterrupted):
    with pytest.raises(CheckpointError, match="holds a run already"):
        Run.create(settings(tiny_store), uninterrupted)


def test_opening_an_untrained_run_says_what_is_missing(tiny_store, tmp_path):
    Run.create(settings(tiny_store), tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"has no best\.safetensors yet; train the run"):
        Run.open(tmp_path / "run")


def test_a_store_that_was_prepared_anew_is_noticed_if_it_differs(
    tiny_store, tmp_path, uninterrupted, stop_run
):
    store, folder = tmp_path / "store", tmp_path / "run"
    shutil.copytree(tiny_store, store)
    stop_run(settings(store), folder)
    labels = (store / "labels.npy").read_bytes()
    np.save(store / "labels.npy", np.load(store / "labels.npy") + 1)
    with pytest.raises(CheckpointError, match="other data than its settings name now") as refused:
        Run.open(folder, "none").train(resume=True, shown=False)
    assert "\n" not in str(refused.value)
    (store / "labels.npy").write_bytes(labels)
    assert_resumes_to(folder, uninterrupted)


def test_a_trained_model_is_not_scored_on_a_store_that_was_prepared_anew(
    tiny_store, tmp_path, uninterrupted
):
    store, folder = tmp_path / "store", tmp_path / "run"
    shutil.copytree(tiny_store, store)
    shutil.copytree(uninterrupted, folder)
    table = json.loads((folder / "config.json").read_text("utf-8"))
    table["data"]["store"] = str(store)
    (folder / "config.json").write_text(json.dumps(table), "utf-8")
    found = Run.open(folder).evaluate("valid")
    assert found == Run.open(uninterrupted).evaluate("valid")
    np.save(store / "labels.npy", np.load(store / "labels.npy")[:, ::-1])
    with pytest.raises(CheckpointError, match="other data than its settings name now"):
        Run.open(folder).evaluate("valid")


def test_a_checkpoint_without_a_mark_of_its_data_goes_on(tiny_store, tmp_path, uninterrupted):
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    tensors, state = load_tensors(folder / "last.safetensors")
    assert len(state.pop("data")) == 16
    save_tensors(folder / "last.safetensors", tensors, {**state, "finished": False, "step": 0})
    trainer = Run.open(folder, "none").trainer(resume=True, shown=False)
    assert (trainer.state.step, len(trainer.state.data)) == (0, 16)


def test_a_run_goes_on_uncaptured_where_the_user_says_so(tiny_store, tmp_path, uninterrupted):
    slow_settings(tiny_store, tmp_path / "run.toml")
    folder = tmp_path / "run"
    process = start_command(folder, str(tmp_path / "run.toml"))
    wait_for_step(folder, 2, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    again = start_command(folder, "--resume", "--set", "trainer.capture=false")
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert "Trained" in output
    assert_same_outcome(folder, uninterrupted)


def test_what_a_run_computes_cannot_be_changed_where_it_goes_on(uninterrupted):
    arguments = ["train", "--resume", "-o", str(uninterrupted), "--set", "trainer.epochs=9"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert done.output.strip() == (
        "Error: --resume cannot change trainer.epochs: the run goes on with its folder's settings; "
        "--set takes trainer.capture and trainer.checkpoint_seconds here"
    )
