"""The train command, and what it says when it cannot."""

import pytest
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.run import Run


def call(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def test_running_out_of_memory_is_advice(tiny_store, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(Run, "train", fail)
    done = call(
        "plain", "-o", tmp_path / "run", "--set", f"data.store={tiny_store}",
        "--set", "backbone.width=8", "--set", "backbone.weights=''", "--set", "trainer.device=cpu",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "out of memory" in done.output
    assert "sampler.batch_size" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a settings file, a preset (fingerprint, full-graph,"),
        (["nowhere"], "is neither a file nor a preset; presets are"),
        (["plain", "--resume"], "--resume takes its settings from the run folder"),
        (["plain", "--set", "trainer.epoch=1"], "did you mean 'epochs'"),
        (["plain", "--set", "trainer.epochs"], "has no value; write it as section.name=value"),
        (["quickstart"], "would keep random weights for good"),
        (["plain", "--set", "backbone.width=8"], "backbone.weights=''"),
        (
            ["plain", "--set", "backbone.kind=none", "--set", "features.blocks=['counts']"],
            "set backbone.weights='' or another kind",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tiny_store, tmp_path):
    store = ["--set", f"data.store={tiny_store}"]
    done = call(*arguments, *store, "-o", tmp_path / "run")
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
