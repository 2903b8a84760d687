"""The first run, on a small store: every stage, and going on after a stop."""

import json

import pytest
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.errors import CheckpointError
from graphadapt.quickstart import Quickstart
from graphadapt.run import Run
from graphadapt.trainer.interrupt import Interrupted

SMALL = {
    "backbone.width": 8,
    "backbone.fingerprint_width": 8,
    "backbone.embedding_width": 8,
    "adapters.rank": 4,
    "sampler.batch_size": 16,
    "trainer.epochs": 1,
    "trainer.device": "cpu",
}


pytestmark = pytest.mark.usefixtures("small_start")


def settings(store):
    return {"data.store": str(store), **SMALL}


@pytest.fixture(scope="module")
def first(tiny_store, tmp_path_factory, small_start):
    said = []
    folder = tmp_path_factory.mktemp("quickstart")
    quickstart = Quickstart(folder, settings=settings(tiny_store), say=said.append)
    return folder, quickstart.run(), "\n".join(said)


def test_every_stage_leaves_its_folder_and_its_table(first):
    folder, figures, said = first
    names = {item.name for item in folder.iterdir()}
    assert names == {"graph", "run", "bundle-five", "bundle-all"}
    for text in ("1/5", "2/5", "3/5", "4/5", "5/5", "potency", "freeze gap", "Try next"):
        assert text in said
    assert figures["test"]["rmse"] > 0
    assert figures["start"] == "neural-fingerprint"
    assert [row["batch"] for row in figures["comparison"]]
    assert all(row["largest_error"] < 1e-3 for row in figures["comparison"])


def test_a_second_call_goes_on_from_what_is_there(first, tiny_store):
    folder, figures, _ = first
    before = (folder / "run" / "last.safetensors").read_bytes()
    again = Quickstart(folder, settings=settings(tiny_store), say=lambda _: None).run()
    assert (folder / "run" / "last.safetensors").read_bytes() == before
    assert again["test"] == figures["test"]


def test_the_command_prints_json_and_nothing_else(tiny_store, tmp_path):
    pairs = []
    for name, value in settings(tiny_store).items():
        pairs += ["--set", f"{name}={json.dumps(value)}"]
    done = CliRunner().invoke(
        main, ["quickstart", "-o", str(tmp_path / "q"), "--graph-only", "--json", *pairs]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["test"]["rmse"] > 0
    assert "4/4" in done.stderr
    assert f"graphadapt evaluate {tmp_path}/q/graph --awa" in done.stderr


def test_a_folder_of_other_settings_is_refused(first, tiny_store):
    other = {**settings(tiny_store), "trainer.seed": 5}
    with pytest.raises(CheckpointError, match="holds a run of other settings"):
        Quickstart(first[0], settings=other, say=lambda _: None).run()


@pytest.mark.parametrize(
    ("place", "message"),
    [("thesis.tex", "holds thesis.tex, which is no part"), ("bundle-all/a.txt", "than a bundle")],
)
def test_a_folder_of_something_else_is_refused_before_the_work(
    tmp_path, monkeypatch, place, message
):
    monkeypatch.setattr(Run, "trained", lambda *_: pytest.fail("it trained"))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("x")
    done = CliRunner().invoke(main, ["quickstart", "-o", str(tmp_path)])
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stdout == ""


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise Interrupted("stopped after step 3")

    monkeypatch.setattr(Run, "trained", stop)
    done = CliRunner().invoke(main, ["quickstart", "-o", str(tmp_path / "q")])
    assert done.exit_code == 130
    assert done.stderr == "stopped after step 3; go on with the same command\n"
