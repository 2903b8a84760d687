"""``graphadapt tune``: what was tried is shown, what was fastest is kept and used."""

import json
import os

import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from graphadapt.cli import main
from graphadapt.data.store import TaskInfo
from graphadapt.export.contract import OPSET, BundleContract, FileInfo
from graphadapt.export.parity_record import Parity
from graphadapt.serve.predictor import Predictor

QUICK = ("--blocks", "1", "--molecules", "4")


@pytest.fixture
def bundle(tmp_path):
    """It counts atoms."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["graph_atoms", "axis"], ["answers"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info("graph_atoms", TensorProto.FLOAT, ["graphs", "atoms"])],
        [helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["graphs", 1])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    model = proto.SerializeToString()
    parity = Parity(
        largest_error=0.0,
        tolerance=1e-5,
        repeats=1,
        batch_sizes=(1,),
        threads=(1,),
        molecules=1,
        provider="CPUExecutionProvider",
    )
    contract = BundleContract(
        tasks=(TaskInfo("atoms", "regression"),),
        composition={"atoms": 1.0},
        reads=("graph_atoms",),
        most_bonds=64,
        parity=parity,
        files={"model.onnx": FileInfo.of(model)},
    )
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    (folder / "bundle.json").write_text(contract.to_text())
    return folder


def run(*arguments, text=None):
    return CliRunner().invoke(main, [*map(str, arguments)], input=text)


def test_what_was_tried_is_shown_and_the_best_is_kept(bundle):
    result = run("tune", bundle, *QUICK)
    assert result.exit_code == 0, result.output
    for setting in ("threads", "optimisation", "arena", "workers", "atoms per run"):
        assert setting in result.stdout
    assert f"kept in {bundle / 'tuning.json'}" in result.stdout
    assert "tune: 7/7" in result.stderr
    assert Predictor(bundle).remarks == ()
    answered = run("predict", bundle, text="CCO\n")
    assert "tuning.json" not in answered.stderr
    assert "3.0" in answered.stdout


def test_json_holds_everything_that_was_tried(bundle, tmp_path):
    (tmp_path / "mine.smi").write_text("CCO\nc1ccccc1\nbroken(\n")
    result = run("tune", bundle, tmp_path / "mine.smi", "--json", *QUICK)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["tuning"]["workers"] >= 1
    assert {each["setting"] for each in found["tried"] if each["taken"]} == {
        "threads",
        "optimisation",
        "arena",
        "workers",
        "atoms_per_run",
    }
    assert json.loads((bundle / "tuning.json").read_text())["tried"] == found["tried"]


def test_a_stale_tuning_is_left_aside_with_a_word(bundle):
    run("tune", bundle, *QUICK)
    path = bundle / "tuning.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 7'))
    result = run("predict", bundle, text="CCO\n")
    assert result.exit_code == 0
    assert "tuning.json is of format 7" in result.stderr


def test_where_nothing_can_be_kept_nothing_is_measured(bundle, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was measured")

    monkeypatch.setattr("graphadapt.serve.tune.tune", refuse)
    monkeypatch.setattr("os.access", lambda place, mode, **_: mode == os.R_OK)
    result = run("tune", bundle, *QUICK)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert "tuning.json cannot be kept there; tune a copy of the bundle" in result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent", "does not exist"), ("mine.smi", "is a file"), ("", "is no bundle: it has no")],
)
def test_what_is_no_bundle_is_one_line(tmp_path, name, message):
    (tmp_path / "mine.smi").write_text("CCO\n")
    result = run("tune", tmp_path / name, *QUICK)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert message in result.stderr


def test_a_file_without_molecules_is_one_line(bundle, tmp_path):
    (tmp_path / "mine.smi").write_text("broken(\n")
    result = run("tune", bundle, tmp_path / "mine.smi", *QUICK)
    assert result.exit_code == 1
    assert "none of 1 molecules can be read" in result.stderr
    assert not (bundle / "tuning.json").exists()
