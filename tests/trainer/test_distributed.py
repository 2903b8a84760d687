"""Two processes train what one process would, up to rounding."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from graphadapt.config import RunConfig
from graphadapt.errors import ConfigError
from graphadapt.run import Run
from graphadapt.trainer.checkpoint import load_tensors
from graphadapt.trainer.distributed import process_group


def settings(store):
    return RunConfig().with_settings(
        {
            "data.store": str(store),
            "features.blocks": ["counts"],
            "features.hidden": [8],
            "features.dropout": 0.0,
            "backbone.kind": "none",
            "adapters.count": 3,
            "adapters.rank": 2,
            "prior.width": 4,
            "objective.balance": 0.01,
            "sampler.batch_size": 12,
            "sampler.task_count": 2,
            "trainer.epochs": 2,
            "trainer.precision": "float32",
            "trainer.device": "cpu",
        }
    )


TRAIN = """
import sys
from pathlib import Path
from graphadapt.config import RunConfig
from graphadapt.run import Run
from graphadapt.trainer.distributed import process_group
import json, torch
with process_group(torch.device("cpu")) as workers:
    config = RunConfig.from_dict(json.loads(Path(sys.argv[1]).read_text()))
    run = Run.create(config, Path(sys.argv[2]), workers=workers)
    run.train(workers=workers, shown=False)
"""


def test_two_processes_agree_with_one(tiny_store, tmp_path):
    config = settings(tiny_store)
    Run.create(config, tmp_path / "one").train(shown=False)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "train.py").write_text(TRAIN)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", str(tmp_path / "train.py")]
    done = subprocess.run(
        [*command, str(tmp_path / "config.json"), str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, _ = load_tensors(tmp_path / "one" / "last.safetensors")
    two, state = load_tensors(tmp_path / "two" / "last.safetensors")
    assert state["finished"]
    assert one.keys() == two.keys()
    losses = [
        [
            json.loads(line)["loss"]
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5, msg=name)


def test_more_processes_than_gpus_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with (
        pytest.raises(ConfigError, match=r"process 2 of torchrun has no GPU .*-node 1, or trainer"),
        process_group(torch.device("cuda")),
    ):
        raise AssertionError("it may not begin")


def test_two_processes_train_graphs_by_the_command_and_go_on_after_a_kill(tiny_store, tmp_path):
    """Batch norms and adapters inside the network, from where the last checkpoint was."""
    config = {
        "data.store": tiny_store,
        "backbone.kind": "gin-virtual-node",
        "backbone.layers": 2,
        "backbone.width": 8,
        "adapters.sites": "['expand']",
        "adapters.count": 2,
        "adapters.rank": 2,
        "prior.width": 4,
        "sampler.batch_size": 12,
        "sampler.task_count": 2,
        "trainer.epochs": 60,
        "trainer.precision": "float32",
        "trainer.device": "cpu",
    }
    run = tmp_path / "run"
    (tmp_path / "settings.toml").write_text("")
    pairs = [part for key, value in config.items() for part in ("--set", f"{key}={value}")]
    first = start_command(tmp_path / "settings.toml", "-o", run, *pairs)
    while len(finished_epochs(run)) < 2 and first.poll() is None:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    _, said = first.communicate()
    assert first.returncode != 0, "it was done before it could be killed"
    assert finished_epochs(run), said
    again = start_command("-o", run, "--resume")
    _, said = again.communicate(timeout=240)
    assert again.returncode == 0, said
    assert load_tensors(run / "last.safetensors")[1]["finished"]
    assert finished_epochs(run) == list(range(60))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert all(map(math.isfinite, losses))
    assert min(losses[-5:]) < losses[0]


def start_command(*arguments):
    """``graphadapt train`` under ``torchrun`` with two processes, as a group of its own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*command, "--standalone", "-m", "graphadapt", "train", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def finished_epochs(run):
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0]
    return [json.loads(line)["epoch"] for line in whole.splitlines()]
