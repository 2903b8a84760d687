"""``graphadapt export``: from a run folder to a bundle that answers like the run."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.cli.export import _several
from graphadapt.cli.predict import predict as predict_command
from graphadapt.errors import ConfigError
from graphadapt.export import calibration
from graphadapt.export.contract import read_contract
from graphadapt.export.reference import Reference
from graphadapt.export.run_bundle import export_run
from graphadapt.freeze import Selection
from graphadapt.report.freeze_gap import freeze_run
from graphadapt.run import Run
from graphadapt.serve.predictor import Predictor


def export(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def bundle(tiny_run, tmp_path_factory):
    """Two of the three tasks, in another order, and what the command printed."""
    folder = tmp_path_factory.mktemp("export") / "bundle"
    result = export(
        tiny_run,
        "-o",
        folder,
        "--tasks",
        "potency,greasy",
        "--composition",
        "greasy=3,potency",
        "--mass",
        "0.999999",
        "--repeats",
        2,
    )
    assert result.exit_code == 0, result.output
    return folder, result


def test_the_result_says_what_was_written_and_what_freezing_cost(bundle):
    folder, result = bundle
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{folder}: 2 tasks, ")
    assert lines[1].startswith("largest error ")
    assert "2 runs at each of batch 1, 16, 32, 64, 256" in lines[1]
    assert "freeze gap on validation: " in lines[2]
    assert "rmse" in lines[2]
    assert lines[3].startswith("calibration by temperature of 0 of 1 binary task (needs 50 cells, ")
    assert re.fullmatch(r"not calibrated: greasy \(\d+ cells, \d+ of the rarer class\)", lines[4])
    assert lines[5].endswith(f"graphadapt predict {folder}")
    assert "parity: " in result.stderr


def test_the_contract_records_tasks_mix_selection_and_run(bundle, tiny_run):
    contract = Predictor(bundle[0]).contract
    assert contract.task_names == ("potency", "greasy")
    assert contract.composition == {"greasy": 0.75, "potency": 0.25}
    assert contract.selection == {"mass": 0.999999}
    assert set(contract.kept) == {"convolutions.1.expand", "readout"}
    assert set(contract.metrics["freeze_gap"]) >= {"soft", "frozen", "gap"}
    assert contract.origin["run"] == tiny_run.name
    assert contract.parity.repeats == 2


def test_the_bundle_answers_smiles_like_the_frozen_run(bundle, tiny_run):
    run = Run.open(tiny_run)
    names = [task.name for task in run.inputs.tasks]
    frozen = freeze_run(
        run,
        tasks=("potency", "greasy"),
        composition_T=torch.tensor([{"greasy": 0.75, "potency": 0.25}.get(n, 0.0) for n in names]),
        selection=Selection(mass=0.999999),
    )
    store, rows = run.dataset.store, run.dataset.rows("test")
    molecules = [store.molecule(int(row)) for row in rows]
    features = np.asarray(store.features(run.inputs.blocks)[rows], np.float32)
    answers = Predictor(bundle[0]).predict([store.smiles(int(row)) for row in rows])
    expected = Reference(frozen).answer(molecules, features)
    assert not answers.failures
    np.testing.assert_allclose(answers.values, expected, rtol=1e-4, atol=1e-5)


def test_predict_takes_the_bundle(bundle):
    result = CliRunner().invoke(predict_command, [str(bundle[0]), "-"], input="CCO\n")
    header, row = result.stdout.splitlines()
    assert header == "row,smiles,potency,greasy,error"
    assert 0 <= float(row.split(",")[3]) <= 1


def test_json_is_the_contract(tiny_run, tmp_path, monkeypatch):
    from graphadapt.export import run_bundle

    calls = {}

    class Contract:
        def to_text(self):
            return json.dumps(calls)

    def stand_in(run, folder, **settings):
        calls.update(tasks=settings["tasks"], top_m=settings["selection"].top_m)
        assert settings["composition_T"] is None
        return Contract(), None

    monkeypatch.setattr(run_bundle, "export_run", stand_in)
    result = export(tiny_run, "-o", tmp_path / "b", "--top-m", 2, "--json")
    assert json.loads(result.stdout) == {"tasks": [], "top_m": 2}


def test_the_adapters_form_takes_several_compositions(tiny_run, tmp_path, monkeypatch):
    from graphadapt.export import run_bundle

    calls = {}

    def stand_in(run, folder, compositions, **settings):
        calls.update(compositions)
        return SimpleNamespace(to_text=lambda: "{}")

    monkeypatch.setattr(run_bundle, "export_compositions", stand_in)
    common = (tiny_run, "-o", tmp_path / "b", "--form", "adapters", "--json")
    mixes = ("--composition", "both:greasy=3,potency", "--composition", "each")
    assert export(*common, *mixes, "--tasks", "potency,greasy").exit_code == 0
    named = {name: w.tolist() for name, w in calls.items()}
    assert named == {"both": [0, 0.75, 0.25], "potency": [0, 0, 1], "greasy": [0, 1, 0]}
    calls.clear()
    assert export(*common).exit_code == 0
    assert list(calls) == ["all", "aromatic", "greasy", "potency"]
    result = export(*common, "--composition", "a:greasy", "--composition", "a:potency")
    assert "two compositions are called 'a'; name each once" in result.stderr


TASKS = ["all", "b:c", "c", "a, b"]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ((), ["all requested", "all", "b:c", "c", "a, b"]),
        (("each",), TASKS),
        (("mix: b:c=2,c",), ["mix"]),
        (("b:c",), ["b:c"]),
        ((" b:c=1, c ",), ["b:c=1, c"]),
        (("x:c", "y:b:c"), ["x", "y"]),
        (('"a, b"=1',), ['"a, b"=1']),
        (("z:all", "c"), ["z", "c"]),
    ],
)
def test_compositions_have_the_names_that_were_given(texts, names):
    found = _several(texts, TASKS, TASKS)
    assert list(found) == names
    assert all(float(w.sum()) == pytest.approx(1) for w in found.values())


def test_a_name_ends_at_its_colon_unless_the_whole_is_a_task():
    found = _several(("b:c", "x:b:c=3,c"), TASKS, TASKS)
    assert [w.tolist() for w in found.values()] == [[0, 1, 0, 0], [0, 0.75, 0.25, 0]]
    found = _several((), ["c"], TASKS)
    assert [w.tolist() for w in found.values()] == [[0, 0, 1, 0]] * 2


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ((":c",), "composition ':c' cannot be read; write NAME:TASK=WEIGHT"),
        (("x:each",), "or `each` alone, which names every task's own"),
        (("x:",), "at least one task of weight above 0"),
        (("",), "at least one task of weight above 0"),
        (("x:d",), "unknown task 'd'"),
        (("d",), "unknown task 'd'"),
        (("each", "each"), "two compositions are called"),
        (("c:c", "each"), "two compositions are called 'c'"),
    ],
)
def test_compositions_that_cannot_be_told_apart_are_refused(texts, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        _several(texts, TASKS, TASKS)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("place", "arguments", "message"),
    [
        ("b", ("--form", "adapters", "--precision", "int8"), "adapter files are float32; leave"),
        ("b", ("--form", "padded", "--precision", "int8"), "int8 is for CPUs and the padded form"),
        ("b", ("--form", "padded", "--triton", "{}/b"), "lie within each other; give each a"),
        (
            "b",
            ("--form", "padded", "--triton", "{}/b/models"),
            "lie within each other; give each a",
        ),
        ("m/b", ("--form", "padded", "--triton", "{}/m"), "lie within each other; give each a"),
        ("b", ("--form", "padded", "--triton", "{}/file/m"), "cannot be written: "),
        ("file", (), "file is a file; give a folder"),
        ("own", (), "own holds answers.csv beside its bundle, which a new one would remove"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_run_is_read(
    tiny_run, bundle, tmp_path, place, arguments, message
):
    (tmp_path / "file").write_text("x")
    shutil.copytree(bundle[0], tmp_path / "own")
    (tmp_path / "own" / "answers.csv").write_text("mine")
    words = [word.format(tmp_path) for word in arguments]
    result = export(tiny_run, "-o", tmp_path / place, *words)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert message in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "own"]


def test_a_lower_precision_states_what_it_costs_and_more_is_refused(
    tiny_run, tmp_path, monkeypatch
):
    from graphadapt.export import rounding, run_measures

    monkeypatch.setattr(run_measures, "FEWEST_MOLECULES", 10)
    monkeypatch.setitem(rounding.BOUNDS, "fp16", -1.0)
    monkeypatch.setitem(calibration.FEWEST_CELLS, "isotonic", 5)
    arguments = (tiny_run, "-o", tmp_path / "b", "--precision", "fp16", "--repeats", 1)
    arguments += ("--calibrate", "isotonic")
    arguments += ("--form", "padded", "--triton", tmp_path / "triton")
    refused = export(*arguments)
    assert refused.exit_code == 1
    assert "so nothing was written; take fp32, or --force" in refused.stderr
    assert not list(tmp_path.iterdir())
    result = export(*arguments, "--force")
    assert result.exit_code == 0, result.output
    assert "fp16 loses on validation: " in result.stdout
    assert "calibration by isotonic of 2 of 2 binary tasks, on validation: error " in result.stdout
    assert "applicability from " in result.stdout
    contract = read_contract(tmp_path / "b")
    assert (contract.form, contract.precision.name, contract.precision.forced) == (
        "padded",
        "fp16",
        True,
    )
    assert contract.outputs == ("answers", "applicability")
    assert (tmp_path / "triton" / "b" / "1" / "model.py").is_file()
    verified = CliRunner().invoke(main, ["verify", str(tmp_path / "b"), "--repeats", "1"])
    assert verified.exit_code == 0, verified.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--composition", "greasy", "--composition", "potency"), "are for --form adapters"),
        (("--form", "padded", "--precision", "int8"), "int8 is for CPUs and the padded form for"),
        (("--sweep", "--top-m", 2), "--sweep tries every selection; leave"),
        (("--sweep", "--precision", "fp16"), "--sweep writes no bundle; leave"),
        (("--sweep", "--triton", "models"), "--sweep writes no bundle; leave"),
        (("--triton", "models"), "--triton goes with --form padded"),
        (("--form", "adapters", "--precision", "int8"), "adapter files are float32"),
        (("--tasks", "greasy,potenc"), "unknown task 'potenc'; did you mean 'potency'?"),
        (("--tasks", "potenc", "--composition", "greasy"), "did you mean 'potency'?"),
        (("--tasks", "greasy,greasy"), "named twice"),
        (("--tasks", ","), "--tasks ',' names no task; name one or more, or leave it out"),
        (("--composition", "grease"), "unknown task 'grease'; did you mean 'greasy'?"),
        (("--top-m", 9), "top_m=9 is more than the 4 adapters there are; use 1 to 4"),
        (("--threshold", 1), "threshold=1.0 is not in [0, 1)"),
        (("--top-m", 2, "--mass", 0.5), "give one rule only"),
        (("--mass", 1.5), "mass=1.5 is not in (0, 1]"),
        (("--composition", "each"), "is no single network"),
        (("--composition", "greasy=-1"), "greasy"),
        (("--no-calibrate", "--calibrate", "isotonic"), "exclude each other"),
        (("--no-calibrate", "--calibrate", "temperature"), "exclude each other"),
        (("--no-calibrate", "--calibrate", "none"), "exclude each other"),
        (("--calibrate", "platt"), "'platt' is not one of"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(tiny_run, tmp_path, arguments, message):
    result = export(tiny_run, "-o", tmp_path / "b", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_older_word_for_no_calibration_still_means_it(tiny_run, tmp_path, monkeypatch):
    from graphadapt.export import run_bundle

    asked = []

    def stand_in(run, folder, **settings):
        asked.append(settings["options"].calibrate)
        return SimpleNamespace(to_text=lambda: "{}"), None

    monkeypatch.setattr(run_bundle, "export_run", stand_in)
    for more in ((), ("--no-calibrate",), ("--calibrate", "none"), ("--calibrate", "isotonic")):
        assert export(tiny_run, "-o", tmp_path / "b", "--json", *more).exit_code == 0
    assert asked == ["temperature", "none", "none", "isotonic"]


def test_a_run_without_adapters_has_none_to_select(tiny_run, tmp_path):
    run = Run.open(tiny_run)
    run.model.routing = None
    with pytest.raises(ConfigError, match="no adapters to select from; leave the selection out"):
        export_run(run, tmp_path / "b", selection=Selection(top_m=1))


def test_nothing_but_a_bundle_is_written_over(tiny_run, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    result = export(tiny_run, "-o", tmp_path)
    assert result.exit_code == 1
    assert "holds something other than a bundle" in result.stderr
