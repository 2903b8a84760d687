"""``graphadapt corpus`` and ``graphadapt pretrain`` from structures to a file that others use."""

import json
import shlex

import pytest
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.data.store import GraphStore
from graphadapt.trainer.interrupt import Interrupted
from graphadapt.trainer.loop import Trainer


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="graphadapt")


SMALL = {
    "corpus.batch_size": 8,
    "corpus.held_out": 0.1,
    "backbone.layers": 2,
    "backbone.width": 8,
    "trainer.epochs": 1,
    "trainer.device": "cpu",
    "trainer.precision": "float32",
}


def settings(store, **more):
    pairs = {"corpus.stores": [str(store)], **SMALL, **more}
    return [part for name, value in pairs.items() for part in ("--set", f"{name}={value!r}")]


@pytest.fixture(scope="module")
def store(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "store"
    table = repository / "tests" / "molecules.csv"
    result = run("corpus", table, "-o", folder, "--most", 40, "--processes", 1, "--licence", "MIT")
    assert result.exit_code == 0, result.output
    assert "40 taken" in result.output
    assert "graphadapt pretrain gin-virtual-node" in result.output
    return folder


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    result = run("pretrain", "gin-virtual-node", "-o", folder, "--json", *settings(store))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["run"] == str(folder)
    assert found["held_out_score"] < 1
    return folder


def test_a_corpus_holds_what_objectives_predict_and_no_label(store):
    found = GraphStore(store)
    assert [block.kind for block in found.feature_blocks] == ["counts", "descriptors"]
    assert (len(found), found.tasks) == (40, ())


def test_a_corpus_of_nothing_says_what_became_of_it(tmp_path):
    (tmp_path / "bad.csv").write_text("smiles\nxx\nyy\n")
    result = run("corpus", tmp_path / "bad.csv", "-o", tmp_path / "c", "--processes", 1)
    assert result.exit_code == 1
    assert "no molecule is left for the corpus: 2 unparsable" in result.output


def test_a_corpus_as_json_says_what_became_of_its_sources(store, repository, tmp_path):
    table = repository / "tests" / "molecules.csv"
    result = run(
        "corpus", table, "-o", tmp_path / "rest", "--apart-from", store, "--features", "",
        "--processes", 1, "--json",
    )  # fmt: skip
    (source,) = json.loads(result.stdout)["sources"]
    assert source["taken"] + 40 == source["molecules"] == 63
    assert source["kept apart"] == 40


@pytest.mark.parametrize("features", ["none", "counts", "descriptors"])
def test_the_advice_after_a_corpus_trains_on_it_whatever_it_holds(repository, tmp_path, features):
    table, store = repository / "tests" / "molecules.csv", tmp_path / "store"
    result = run(
        *("corpus", table, "-o", store, "--most", 40),
        *("--features", features, "--processes", 1),
    )
    (advice,) = [line for line in result.stdout.splitlines() if line.startswith("Next: ")]
    arguments = shlex.split(advice.removeprefix("Next: graphadapt "))
    arguments[arguments.index("RUN")] = str(tmp_path / "run")
    small = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value!r}")]
    done = run(*arguments, *small)
    assert done.exit_code == 0, done.output


def test_a_finished_run_is_packaged_without_training_again(trained, tmp_path):
    path = tmp_path / "small.safetensors"
    before = (trained / "last.safetensors").stat().st_mtime_ns
    result = run("pretrain", "-o", trained, "--package", path)
    assert result.exit_code == 0, result.output
    assert f"Wrote {path}" in result.output
    assert "atoms_atomic_number_accuracy" in result.output
    assert (trained / "last.safetensors").stat().st_mtime_ns == before
    assert json.loads(path.with_suffix(".json").read_text())["licence"] == "MIT"
    again = run("pretrain", "-o", trained, "--package", path)
    assert again.exit_code == 1
    assert "use --force" in again.output
    forced = run("pretrain", "-o", trained, "--package", path, "--force", "--json")
    assert json.loads(forced.stdout)["package"] == str(path)
    shapes = "--set backbone.layers=2 --set backbone.width=8"
    assert f"train ogb -o RUN --set data.store=STORE --set backbone.weights={path} {shapes}" in (
        result.output
    )


def test_a_package_is_refused_before_hours_of_training_not_after(store, tmp_path):
    (tmp_path / "p.json").touch()
    result = run(
        "pretrain", "gin-virtual-node", "-o", tmp_path / "run", *settings(store),
        "--package", tmp_path / "p.safetensors",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "p.json exists already" in result.output
    assert not (tmp_path / "run").exists()


def test_a_run_that_lost_its_numbers_is_not_packaged(store, tmp_path):
    more = {"trainer.learning_rate": 1e30, "trainer.clip": 0.0, "trainer.average": 0.0}
    result = run(
        "pretrain", "gin-virtual-node", "-o", tmp_path / "run", *settings(store, **more),
        "--package", tmp_path / "p.safetensors",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "answer nothing that is a number; train it again" in result.output
    assert not (tmp_path / "p.safetensors").exists()


def test_a_stopped_run_says_how_it_goes_on(store, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise Interrupted("stopped after step 3")

    monkeypatch.setattr(Trainer, "fit", stopped)
    result = run("pretrain", "gin-virtual-node", "-o", tmp_path / "a run", *settings(store))
    assert result.exit_code == 130
    place = shlex.quote(str(tmp_path / "a run"))
    assert result.stderr == (
        f"stopped after step 3; go on with `graphadapt pretrain --resume -o {place}`\n"
    )


def test_a_run_is_resumed_and_packaged_in_one_go(trained, tmp_path):
    result = run("pretrain", "--resume", "-o", trained, "--package", tmp_path / "p.safetensors")
    assert result.exit_code == 0, result.output
    assert "best held-out score" in result.output


def test_a_run_says_what_comes_next(store, tmp_path):
    result = run("pretrain", "neural-fingerprint", "-o", tmp_path / "run", *settings(store))
    assert result.exit_code == 0, result.output
    assert f"graphadapt pretrain -o {tmp_path / 'run'} --package" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "-o", "r"], "give a settings file, a preset (gin-virtual-node, neural"),
        (["pretrain", "gin-virtual-node", "-o", "r", "--resume"], "leave CONFIG out"),
        (["pretrain", "gin-virtual-node", "-o", "r"], "corpus.stores is empty; name prepared"),
        (["pretrain", "gin", "-o", "r"], "is neither a file nor a preset; presets are gin-virt"),
        (["pretrain", "-o", "r", "--package", "p.safetensors"], "r is no pretraining run"),
        (["pretrain", "-o", "r", "--resume"], "r is no pretraining run: it has no config.json"),
        (
            ["pretrain", "gin-virtual-node", "-o", "r", "--set", "objectives.contrast.weight=1"],
            "did you mean 'contrastive'?",
        ),
        (
            ["pretrain", "gin-virtual-node", "-o", "r", "--force"],
            "--licence and --force are of a package; give its file with --package",
        ),
        (["pretrain", "-o", "r", "--package", "p.txt"], "p.txt must end in .safetensors"),
        (
            ["pretrain", "-o", "r", "--package", "p.safetensors", "--set", "trainer.epochs=1"],
            "give a settings file, a preset (gin-virtual-node",
        ),
        (
            ["pretrain", "gin-virtual-node", "-o", "r", "--set", "corpus.stores=[s]"],
            "[s] is no TOML value for corpus.stores; texts in it stand in quotes",
        ),
        (["corpus", "nowhere", "-o", "s"], "nowhere does not exist; give a table file"),
        (["corpus", "t.csv", "-o", "s", "--features", "columns:a"], "a corpus has no columns"),
        (["corpus", "nowhere", "-o", "s", "--seed", "-1"], "-1 is not in the range x>=0"),
        (["corpus", "-o", "s"], "Missing argument 'SOURCES...'"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
