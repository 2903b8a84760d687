"""`graphadapt inspect` tells by itself what it is given, and says what it holds."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from graphadapt.backbone.package import bundled_weights
from graphadapt.cli import main
from graphadapt.cli.inspect import target_kind
from graphadapt.config import BackboneConfig, RunConfig
from graphadapt.presets import preset_names
from graphadapt.pretraining.config import PRESETS, PretrainConfig
from graphadapt.pretraining.run import PretrainRun
from graphadapt.report import run_summary
from graphadapt.run import Run


def inspect(*arguments):
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def test_a_run_is_shown_with_settings_sizes_relation_and_routes(tiny_run):
    result = inspect(tiny_run)
    assert result.exit_code == 0, result.output
    for text in (
        "3 tasks: 2 binary, 1 regression",
        "trained 2 of 2 epochs",
        "adapters.count = 4",
        "convolutions.1.expand",
        "relation 'labels' of prior, sampler",
        "routing by site",
        "all together",
    ):
        assert text in result.output


def test_json_holds_the_gates_of_every_task(tiny_run):
    found = json.loads(inspect(tiny_run, "--json").output)
    assert found["kind"] == "run"
    assert found["settings"] == Run.open(tiny_run).config.to_dict()
    assert found["training"]["epochs"] == 2
    gates = Run.open(tiny_run).model.gates()
    for site, by_task in found["gates"].items():
        assert by_task["potency"] == pytest.approx(gates[site][2].tolist(), abs=1e-5)
    assert set(found["sites"]) == {"convolutions.1.expand", "readout"}


def test_a_run_that_was_never_trained_is_shown_too(tiny_run, tmp_path):
    folder = tmp_path / "fresh"
    shutil.copytree(tiny_run, folder)
    (folder / "best.safetensors").unlink()
    assert "trained 2 of 2 epochs" in inspect(folder).output
    (folder / "last.safetensors").unlink()
    (folder / "metrics.jsonl").unlink()
    assert "trained 0 of 2 epochs" in inspect(folder).output


def test_the_picture_is_drawn(tiny_run, tmp_path):
    result = inspect(tiny_run, "--plot", tmp_path / "run.png", "--json")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(result.stdout)["kind"] == "run"
    assert result.stderr == f"Drew {tmp_path / 'run.png'}\n"


@pytest.mark.parametrize("ending", ["pdf", "png", "svg"])
def test_only_a_picture_of_the_kind_is_replaced(tiny_run, tmp_path, ending):
    path = tmp_path / f"run.{ending}"
    path.write_text("smiles,label\nCCO,1\n")
    result = inspect(tiny_run, "--plot", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {path} exists and is not a .{ending} picture; choose another file\n"
    )
    assert path.read_text() == "smiles,label\nCCO,1\n"
    path.write_bytes(b"")
    for _ in range(2):
        result = inspect(tiny_run, "--plot", path)
        assert result.exit_code == 0, result.output
    assert path.stat().st_size > 1000


def test_a_store_is_shown_with_its_cells(tiny_store):
    result = inspect(tiny_store)
    assert result.exit_code == 0, result.output
    assert "63 molecules" in result.output
    assert "marked cells: cliff" in result.output
    found = json.loads(inspect(tiny_store, "--json").output)
    assert (found["kind"], found["molecules"], found["flags"]) == ("store", 63, ["cliff"])
    assert [task["name"] for task in found["tasks"]] == ["aromatic", "greasy", "potency"]


def test_settings_of_a_prepared_store_count_the_whole_model(tiny_store, tiny_run, tmp_path):
    config = Run.open(tiny_run).config
    lines = [f'[data]\nstore = "{tiny_store}"', "[features]\nblocks = ['counts']\nhidden = [16]"]
    lines.append("[backbone]\nlayers = 2\nwidth = 16\n[prior]\nwidth = 8")
    lines.append("[adapters]\ncount = 4\nrank = 2\nsites = ['convolutions.1.expand']")
    path = tmp_path / "run.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = json.loads(inspect(path, "--json").output)
    trained = json.loads(inspect(tiny_run, "--json").output)
    assert found["parameters"] == trained["parameters"]
    assert found["sites"] == trained["sites"]
    assert config.backbone.width == 16


def test_settings_without_their_store_count_the_backbone(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[data]\nstore = "nowhere"\n[adapters]\nsites = ["convolutions.*.expand"]\n',
        encoding="utf-8",
    )
    result = inspect(path)
    assert result.exit_code == 0, result.output
    assert "store nowhere is not prepared yet" in result.output
    found = json.loads(inspect(path, "--json").output)
    assert found["parameters"]["backbone"]["parameters"] == 3_374_833 - 301 * 128
    assert found["sites"] == [f"convolutions.{layer}.expand" for layer in range(5)]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_shown(name):
    result = inspect(name, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["settings"] == RunConfig.from_toml(name).to_dict()


@pytest.mark.parametrize("name", preset_names(PRESETS))
def test_every_pretraining_preset_is_shown(name):
    result = inspect(f"{PRESETS}/{name}")
    assert result.exit_code == 0, result.output
    assert f"pretraining of {name}" in result.output
    assert "none named yet" in result.output


@pytest.mark.parametrize("name", sorted(bundled_weights()))
def test_weights_are_shown_by_name_and_by_file(name):
    result = inspect(name)
    assert result.exit_code == 0, result.output
    for text in (
        f"kind {name}",
        "MIT AND CC-BY-SA-3.0",
        "MOSES",
        "descriptors_r2",
        "never trained",
    ):
        assert text in result.output
    by_file = json.loads(inspect(bundled_weights()[name], "--json").output)
    assert by_file["kind"] == "weights"
    assert by_file["backbone"]["kind"] == name


def test_a_card_that_lacks_a_section_is_one_line(write_backbone_package, tmp_path):
    path = write_backbone_package(BackboneConfig(layers=1, width=4), tmp_path / "own.safetensors")
    result = inspect(path)
    assert result.exit_code == 1
    assert "own.json is no whole card: 'objectives'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_pretraining_run_is_shown_with_corpus_objectives_and_figures(tiny_store, tmp_path):
    config = PretrainConfig().with_settings(
        {
            "corpus.stores": [str(tiny_store)],
            "corpus.held_out": 0.2,
            "corpus.batch_size": 16,
            "backbone.layers": 2,
            "backbone.width": 8,
            "objectives.descriptors.weight": 0.0,
            "objectives.fingerprint.weight": 0.0,
            "trainer.epochs": 1,
            "trainer.device": "cpu",
            "trainer.precision": "float32",
        }
    )
    run = PretrainRun.create(config, tmp_path / "run")
    assert "trained 0 of 1 epochs; go on with `graphadapt pretrain --resume" in (
        inspect(tmp_path / "run").output
    )
    score = run.train(shown=False).best_score
    result = inspect(tmp_path / "run")
    assert result.exit_code == 0, result.output
    for text in (
        "pretraining of gin-virtual-node, 2 layers of 8, on atoms, bonds",
        f"best held-out score {score:.4f}",
        "objectives.fingerprint.weight = 0.0",
        str(tiny_store),
        "Say what a hidden atom is",
        "atoms_chirality_accuracy",
        "head of bonds",
    ):
        assert text in result.output
    found = json.loads(inspect(tmp_path / "run", "--json").output)
    assert (found["kind"], found["corpus"][0]["molecules"]) == ("pretraining", 63)
    assert found["training"]["last"]["validation"] == run.evaluate().mean
    refused = inspect(tmp_path / "run", "--plot", tmp_path / "x.png")
    assert refused.stderr.endswith("run is a pretraining run\n")
    held = CliRunner().invoke(main, ["evaluate", str(tmp_path / "run")])
    assert "it holds a run of `graphadapt pretrain`" in held.output


def test_what_a_target_is_shows_in_its_files(tiny_run, tiny_store, tmp_path):
    assert target_kind(str(tiny_run)) == "run"
    assert target_kind(str(tiny_store)) == "store"
    (tmp_path / "bundle.json").touch()
    assert target_kind(str(tmp_path)) == "bundle"
    assert target_kind(str(tmp_path / "bundle.json")) == "settings"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "is a folder without targets.json, config.json, store.json, bundle.json"),
        ("nothing", "does not exist; give a run folder"),
        ("data.csv", "is not TOML"),
        ("a.safetensors", "is a file of weights without a card a.json beside it; give the run"),
    ],
)
def test_what_cannot_be_inspected_is_said_in_one_line(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "data.csv").write_text("smiles,label\nCC,1\n", encoding="utf-8")
    result = inspect(tmp_path / name)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_only_a_run_can_be_drawn(tiny_store, tmp_path):
    result = inspect(tiny_store, "--plot", tmp_path / "x.png")
    assert result.exit_code == 1
    assert "--plot draws a run's relations and routing" in result.stderr
    result = inspect("full", "--plot", tmp_path / "x.png")
    assert result.stderr.endswith("full is settings\n")


def test_many_sites_are_shown_in_tables_that_fit_a_terminal(tiny_run):
    model = Run.open(tiny_run).model
    gate = np.full((3, 4), 0.25, np.float32)
    sites = [f"virtual_node.updates.{layer}.expand" for layer in range(7)]
    text = run_summary._routes(model, dict.fromkeys(sites, gate))
    heads = [line.split()[1:] for line in text.splitlines() if line.startswith("task ")]
    assert heads == [sites[:3], sites[3:6], sites[6:]]
    assert max(map(len, text.splitlines())) < 110
