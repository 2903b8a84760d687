"""Answers on disk: every row, every format, whole or not at all."""

import csv
import gzip
import io
import json
import sys

import numpy as np
import pytest

from graphadapt.data.store import TaskInfo
from graphadapt.errors import DataError, DependencyError
from graphadapt.serve.answer_table import answer_table, write_answers
from graphadapt.serve.part import Predictions

TASKS = ["toxic", "pKi, human"]


def batch(values, failures):
    tasks = tuple(TaskInfo(name, "regression") for name in TASKS)
    return Predictions(tasks, np.array(values, np.float32), failures)


BATCHES = [
    ([3, 5], ["C", "?"], batch([[0.1, 2], [np.nan, np.nan]], {1: "not SMILES, sorry"})),
    ([6], ["CC"], batch([[1e-9, 1234567.0]], {})),
]
ROWS = [
    ("3", "C", "0.1", "2.0", ""),
    ("5", "?", "", "", "not SMILES, sorry"),
    ("6", "CC", "1e-09", "1234567.0", ""),
]


def write(table):
    for each in BATCHES:
        table.write(*each)


def test_csv_has_a_header_and_a_row_for_every_molecule():
    stream = io.StringIO()
    write(write_answers(stream, TASKS, as_json=False))
    header, *rows = csv.reader(io.StringIO(stream.getvalue()))
    assert header == ["row", "smiles", *TASKS, "error"]
    assert [tuple(row) for row in rows] == ROWS


def test_json_lines_leave_failures_empty():
    stream = io.StringIO()
    write(write_answers(stream, TASKS, as_json=True))
    first, failed, last = map(json.loads, stream.getvalue().splitlines())
    assert first == {
        "row": 3,
        "smiles": "C",
        "answers": {"toxic": 0.1, "pKi, human": 2.0},
        "error": None,
    }
    assert (failed["answers"], failed["error"]) == (None, "not SMILES, sorry")
    assert last["answers"]["toxic"] == 1e-9


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_files_hold_the_same_rows(tmp_path, name):
    with answer_table(tmp_path / name, TASKS) as table:
        write(table)
        assert not (tmp_path / name).exists()
    opener = gzip.open if name.endswith("gz") else open
    with opener(tmp_path / name, "rt", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file)][1:] == ROWS
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_parquet_has_types_and_nothing_where_a_row_failed(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    with answer_table(tmp_path / "a.parquet", TASKS) as table:
        write(table)
    columns = parquet.read_table(tmp_path / "a.parquet").to_pydict()
    assert columns["row"] == [3, 5, 6]
    assert columns["error"] == [None, "not SMILES, sorry", None]
    assert columns["pKi, human"] == [2.0, None, 1234567.0]


def test_jsonl_files_are_json_lines(tmp_path):
    with answer_table(tmp_path / "a.jsonl", TASKS) as table:
        write(table)
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == [3, 5, 6]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_failure_leaves_nothing_behind(tmp_path, name):
    (tmp_path / name).write_text("old")
    with pytest.raises((IndexError, ValueError)), answer_table(tmp_path / name, TASKS) as table:
        table.write([1], ["C"], batch([], {}))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_an_unknown_ending_and_an_absent_folder_are_errors(tmp_path):
    with (
        pytest.raises(DataError, match=r"answers go to \.csv, \.csv\.gz, \.parquet, \.jsonl files"),
        answer_table(tmp_path / "a.xlsx", TASKS),
    ):
        pass
    with (
        pytest.raises(DataError, match="there is no folder"),
        answer_table(tmp_path / "absent" / "a.csv", TASKS),
    ):
        pass


@pytest.mark.parametrize("name", ["row", "smiles", "error", "applicability"])
def test_a_task_named_as_a_column_beside_the_tasks_goes_to_json_lines(name):
    with pytest.raises(DataError, match=f"a task is named '{name}'.*; write JSON lines"):
        write_answers(io.StringIO(), [name], as_json=False, applicability=True)
    write_answers(io.StringIO(), [name], as_json=True, applicability=True)


def test_parquet_without_pyarrow_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(DependencyError, match="Parquet needs pyarrow"),
        answer_table(tmp_path / "a.parquet", TASKS),
    ):
        pass


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "parquet"])
def test_bytes_that_are_no_text_do_not_stop_the_table(tmp_path, ending):
    asked = b"\xffC".decode("utf-8", "surrogateescape")  # as Python reads it from a pipe
    path = tmp_path / f"answers.{ending}"
    with answer_table(path, TASKS) as table:
        table.write([1], [asked], batch([[np.nan, np.nan]], {0: f"{asked!r} is not SMILES"}))
    if ending == "parquet":
        written = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()[0]["smiles"]
        assert written == r"\udcffC"
    else:
        content = gzip.decompress(path.read_bytes()) if ending == "csv.gz" else path.read_bytes()
        assert rb"\udcffC" in content.replace(rb"\\udcffC", rb"\udcffC")
