"""`graphadapt evaluate`: every number of the report, in the order that was asked for."""

import json
import shutil

import pytest
import torch
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.cli.composition import parse_composition
from graphadapt.errors import ConfigError
from graphadapt.report.evaluation import evaluate_part
from graphadapt.run import Run
from graphadapt.trainer.checkpoint import load_tensors, save_tensors
from graphadapt.trainer.run_folder import LAST


def evaluate(*arguments):
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_the_table_names_part_composition_tasks_and_both_means(tiny_run):
    result = evaluate(tiny_run)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"{tiny_run}: 29 test cells, all 3 tasks asked together, weighed alike"
    assert {line.split()[0] for line in lines[3:7]} == {"aromatic", "greasy", "potency", "mean"}
    assert any(line.startswith("mean over all cells: rocauc") for line in lines)
    assert any("cells (17.2%) of molecules that train another task" in line for line in lines)
    assert any(line.split()[:2] == ["readout", "4"] for line in lines)


def test_json_and_file_hold_the_same_numbers_as_the_run(tiny_run, tmp_path):
    result = evaluate(tiny_run, "--json", "-o", tmp_path / "new" / "scores.json")
    found = json.loads(result.stdout)
    assert found == json.loads((tmp_path / "new" / "scores.json").read_text("utf-8"))
    run = Run.open(tiny_run)
    expected = run.evaluate("test")
    assert found["everything"]["mean"] == pytest.approx(expected.mean)
    assert found["everything"]["tasks"]["potency"] == pytest.approx(expected.tasks["potency"])
    assert found["composition"] == pytest.approx(
        {"aromatic": 1 / 3, "greasy": 1 / 3, "potency": 1 / 3}
    )
    assert found["composition_matters"] is True
    assert found["routing"]["readout"]["used"]["potency"] == 4
    assert found["awa"] == {}


def test_a_composition_changes_the_answers(tiny_run):
    run = Run.open(tiny_run)
    found = json.loads(evaluate(tiny_run, "--composition", "greasy=3,potency", "--json").stdout)
    assert found["composition"] == {"greasy": 0.75, "potency": 0.25}
    expected = evaluate_part(run, "test", torch.tensor([0.0, 0.75, 0.25]))
    assert found["everything"]["mean"] == pytest.approx(expected.everything.mean)
    assert "each task asked by itself" in evaluate(tiny_run, "--composition", "each").output
    shown = evaluate(tiny_run, "--composition", "greasy=3,potency").output
    assert "composition greasy=0.75, potency=0.25" in shown


def test_other_parts_and_weights_can_be_scored(tiny_run):
    found = json.loads(evaluate(tiny_run, "--part", "valid", "--weights", "last", "--json").stdout)
    assert (found["part"], found["weights"]) == ("valid", "last")
    expected = Run.open(tiny_run, "last").evaluate("valid")
    assert found["everything"]["mean"] == pytest.approx(expected.mean)


def test_tasks_can_be_shown_without_shared_molecules(tiny_run):
    unshared = json.loads(evaluate(tiny_run, "--json").stdout)["unshared"]["tasks"]
    lines = evaluate(tiny_run, "--without-shared-molecules").stdout.splitlines()
    cells = {line.split()[0]: line.split()[1] for line in lines[3:6]}
    assert cells == {name: str(int(values["cells"])) for name, values in unshared.items()}


def test_allocation_is_measured_on_request(tiny_run):
    result = evaluate(tiny_run, "--awa", "--json")
    found = json.loads(result.stdout)["awa"]
    assert found["readout"]["routed"]["pairs"] == 3
    assert "Taking adapters out" in result.stderr
    assert "adapter weight allocation" in evaluate(tiny_run, "--awa").stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", [1 / 3, 1 / 3, 1 / 3]),
        ("b", [0, 1, 0]),
        ("a=1, c=3", [0.25, 0, 0.75]),
        ("a=b=2,c=2", [0, 0, 0.5, 0.5]),
    ],
)
def test_compositions_are_read(text, expected):
    names = ["a", "b", "c", "a=b"] if len(expected) == 4 else ["a", "b", "c"]
    expected = [0, 0, 0.5, 0.5] if len(expected) == 4 else expected
    assert parse_composition(text, names).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("text", ['"hERG, pIC50"=3,x', '"hERG, pIC50=3", x=1'])
def test_a_name_with_a_comma_stands_in_quotes(text):
    assert parse_composition(text, ["x", "hERG, pIC50"]).tolist() == [0.25, 0.75]


def test_each_stays_a_word():
    assert parse_composition("each", ["a"]) == "each"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grasy", "unknown task 'grasy'; did you mean 'greasy'"),
        ("greasy=x", "weight 'x' of task 'greasy' is no number"),
        ("greasy,greasy", "names task 'greasy' twice"),
        ("greasy=-1", "is not a share"),
        ("", "at least one task"),
    ],
)
def test_a_composition_that_cannot_work_is_one_line(tiny_run, text, message):
    result = evaluate(tiny_run, "--composition", text)
    assert result.exit_code == 1
    assert message in result.stderr
    with pytest.raises(ConfigError, match=message.split(";")[0]):
        parse_composition(text, ["aromatic", "greasy", "potency"])


def test_one_task_is_asked_alone(tiny_run):
    line = evaluate(tiny_run, "--composition", "greasy").stdout.splitlines()[0]
    assert line.endswith("test cells, asked for task greasy alone")


def test_what_cannot_be_done_is_said_before_the_work(tiny_run, tmp_path, monkeypatch):
    def no_work(*_):
        pytest.fail("the run was scored")

    monkeypatch.setattr("graphadapt.report.evaluation.evaluate_part", no_work)
    (tmp_path / "file").touch()
    result = evaluate(tiny_run, "-o", tmp_path / "file" / "scores.json")
    assert result.stderr.startswith(f"Error: {tmp_path / 'file'}")
    plain = Run.open(tiny_run)
    plain.model.routing = None
    monkeypatch.setattr(Run, "open", lambda *_: plain)
    assert "has no adapters, so there is no allocation" in evaluate(tiny_run, "--awa").stderr


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("victim.csv", b"smiles,label\nCCO,1\n"),
        ("numbers.json", b"[1, 2]"),
        ("config.json", b'{"data": {"store": "s"}}'),
        ("table.parquet", b"PAR1\xff\xfe"),
    ],
)
def test_a_file_that_is_no_result_is_not_replaced(tiny_run, tmp_path, monkeypatch, name, held):
    monkeypatch.setattr(Run, "open", lambda *_: pytest.fail("the run was opened"))
    (tmp_path / name).write_bytes(held)
    result = evaluate(tiny_run, "-o", tmp_path / name)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {tmp_path / name} exists and is not a result of `graphadapt evaluate`; choose "
        "another file\n"
    )
    assert (tmp_path / name).read_bytes() == held


def test_an_earlier_result_or_an_empty_file_is_replaced(tiny_run, tmp_path):
    path = tmp_path / "scores.json"
    path.touch()
    assert evaluate(tiny_run, "--part", "valid", "-o", path).exit_code == 0
    assert json.loads(path.read_text("utf-8"))["part"] == "valid"
    assert evaluate(tiny_run, "-o", path).exit_code == 0
    assert json.loads(path.read_text("utf-8"))["part"] == "test"


def test_a_run_that_is_not_finished_says_so(tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    tensors, state = load_tensors(folder / LAST)
    save_tensors(folder / LAST, tensors, state | {"finished": False})
    result = evaluate(folder)
    assert result.exit_code == 0
    assert result.stdout.partition("\n")[0].endswith("weighed alike")
    assert result.stderr == (
        f"note: {folder} is trained for 2 of 2 epochs; finish it with "
        f"`graphadapt train --resume -o {folder}`\n"
    )
    assert evaluate(tiny_run).stderr == ""


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    result = evaluate(tmp_path)
    assert result.exit_code == 1
    assert "is no run folder" in result.stderr
