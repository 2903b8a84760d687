"""``graphadapt predict``: rows in order, failures marked, nothing of torch needed."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from graphadapt.cli import main
from graphadapt.data import tables
from graphadapt.data.store import TaskInfo
from graphadapt.export.contract import OPSET, BundleContract, FileInfo
from graphadapt.export.parity_record import Parity
from graphadapt.molecules.features import FeatureBlock
from graphadapt.serve import answer_table

CSV = 'name,SMILES,dose\nethanol,CCO,1.5\nbroken,C1CC,2\n"helium, noble",[He],3\nempty,,4\n'


def summing_bundle(folder, reads, axes, blocks=()):
    """A bundle whose one answer is the sum of one array's rows."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", [reads, "axis"], ["answers"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info(reads, TensorProto.FLOAT, axes)],
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
        reads=(reads,),
        feature_blocks=blocks,
        most_bonds=64,
        parity=parity,
        files={"model.onnx": FileInfo.of(model)},
    )
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    (folder / "bundle.json").write_text(contract.to_text())
    return folder


@pytest.fixture
def bundle(tmp_path):
    """It counts atoms."""
    return summing_bundle(tmp_path / "bundle", "graph_atoms", ["graphs", "atoms"])


def predict(*arguments, text=None):
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], input=text)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_csv_keeps_its_rows_in_order_and_marks_failures(bundle, tmp_path):
    (tmp_path / "in.csv").write_text(CSV)
    result = predict(bundle, tmp_path / "in.csv")
    assert result.exit_code == 0, result.output
    rows = rows_of(result.stdout)
    assert list(rows[0]) == ["row", "smiles", "atoms", "error"]
    assert [row["row"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["smiles"] for row in rows] == ["CCO", "C1CC", "[He]", ""]
    assert [row["atoms"] for row in rows] == ["3.0", "", "1.0", ""]
    assert [bool(row["error"]) for row in rows] == [False, True, False, True]
    assert "2 of 4 rows could not be answered" in result.stderr
    assert "predict: 4 in" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input_may_be_plain_smiles(bundle, arguments):
    result = predict(bundle, *arguments, text="CCO\nC\n")
    assert [row["atoms"] for row in rows_of(result.stdout)] == ["3.0", "1.0"]


def test_json_is_one_object_a_line(bundle):
    result = predict(bundle, "-", "--json", text="smiles\nCC\nxyz\n")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first == {"row": 1, "smiles": "CC", "answers": {"atoms": 2.0}, "error": None}
    assert second["answers"] is None


def test_json_is_for_standard_output_only(bundle, tmp_path):
    result = predict(bundle, "-", "--json", "-o", tmp_path / "answers.csv", text="CC\n")
    assert result.exit_code == 1
    assert "answers.csv is written as its ending says" in result.stderr
    assert not (tmp_path / "answers.csv").exists()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_batch_size_changes_nothing(bundle, size):
    smiles = ["C" * length for length in range(1, 8)]
    result = predict(bundle, "-", "--batch-size", size, "--threads", 2, text="\n".join(smiles))
    assert [row["smiles"] for row in rows_of(result.stdout)] == smiles
    assert [float(row["atoms"]) for row in rows_of(result.stdout)] == list(range(1, 8))


def test_output_goes_to_a_file(bundle, tmp_path):
    result = predict(bundle, "-", "-o", tmp_path / "out.csv", text="CCO\n")
    assert result.stdout == ""
    assert rows_of((tmp_path / "out.csv").read_text())[0]["atoms"] == "3.0"


@pytest.mark.parametrize("way", ["its name", "another way", "a link", "a hard link", "a link in"])
def test_answers_never_replace_the_table_that_they_are_of(bundle, tmp_path, monkeypatch, way):
    def refuse(*_, **__):
        raise AssertionError("the bundle was opened")

    table, link = tmp_path / "in.csv", tmp_path / "link.csv"
    table.write_text(CSV)
    source, output = table, link
    if way == "its name":
        output = table
    elif way == "another way":
        output = tmp_path / "bundle" / ".." / "in.csv"
    elif way == "a hard link":
        link.hardlink_to(table)
    else:
        link.symlink_to(table)
    if way == "a link in":
        source, output = link, table
    monkeypatch.setattr("graphadapt.cli.predict._opened", refuse)
    result = predict(bundle, source, "-o", output)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {output} is the same file as {source}, which the answers would replace; write "
        "them to another file\n"
    )
    assert table.read_text() == CSV


def test_answers_never_replace_what_standard_input_reads(bundle, tmp_path):
    table = tmp_path / "in.csv"
    table.write_text(CSV)
    with table.open() as stream:
        result = subprocess.run(
            [sys.executable, "-m", "graphadapt", "predict", bundle, "-o", table],
            stdin=stream,
            capture_output=True,
            text=True,
        )
    assert result.returncode == 1
    assert f"{table} is the same file as standard input" in result.stderr
    assert table.read_text() == CSV


def test_earlier_answers_are_replaced(bundle, tmp_path):
    (tmp_path / "in.csv").write_text(CSV)
    for _ in range(2):
        result = predict(bundle, tmp_path / "in.csv", "-o", tmp_path / "out.csv")
        assert result.exit_code == 0, result.output
    assert rows_of((tmp_path / "out.csv").read_text())[0]["atoms"] == "3.0"


def test_parquet_is_read_and_written(bundle, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"molecule": ["CCO", "xyz"], "note": ["a", "b"]})
    parquet.write_table(table, tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    result = predict(bundle, tmp_path / "in.parquet", "--smiles", "molecule", "-o", out)
    assert result.exit_code == 0, result.output
    assert parquet.read_table(out).to_pydict()["atoms"] == [3.0, None]


def test_own_columns_are_read_from_the_table(tmp_path):
    block = FeatureBlock(kind="columns", columns=("dose",))
    folder = summing_bundle(tmp_path / "b", "features", ["graphs", "features"], (block,))
    result = predict(folder, "-", text="smiles,dose\nC,2.5\nCC,\n")
    first, second = rows_of(result.stdout)
    assert first["atoms"] == "2.5"
    assert "'dose' holds nan" in second["error"]
    absent = predict(folder, "-", text="smiles,dosis\nC,2.5\n")
    assert absent.exit_code == 1
    assert "did you mean 'dosis'" in absent.stderr


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (("absent.csv",), None, "absent.csv does not exist; give a table"),
        (("-", "--smiles", "structure"), "smiles\nC\n", "structure"),
        (("-", "-o", "answers.xlsx"), "C\n", "answers go to .csv"),
        (("-", "--provider", "Imaginary"), "C\n", "has no Imaginary"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(bundle, arguments, text, message):
    result = predict(bundle, *arguments, text=text)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_a_tampered_bundle_is_refused(bundle):
    (bundle / "model.onnx").write_bytes(b"x")
    result = predict(bundle, "-", text="C\n")
    assert result.exit_code == 1
    assert "model.onnx has 1 bytes" in result.stderr


def test_a_table_streams_through_in_parts(bundle, tmp_path):
    sizes = [1 + 7 * place % 30 for place in range(500)]
    lines = ["smiles,name", *(f"{'C' * size},n{place}" for place, size in enumerate(sizes))]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    out = tmp_path / "out.csv"
    result = predict(bundle, tmp_path / "in.csv", "-o", out, "--batch-size", 60, "--threads", 2)
    assert result.exit_code == 0, result.output
    rows = rows_of(out.read_text())
    assert [int(row["row"]) for row in rows] == list(range(1, 501))
    assert [float(row["atoms"]) for row in rows] == sizes


def test_reading_and_writing_go_on_beside_each_other(bundle, tmp_path, monkeypatch):
    """The first part is still being written when the third is read."""
    read_on, threads = threading.Event(), set()
    read = tables.table_parts

    def noted(*arguments, **settings):
        for number, part in enumerate(read(*arguments, **settings)):
            if number == 2:
                read_on.set()
            yield part

    @contextmanager
    def opened(*arguments, **settings):
        def waiting(*answers):
            threads.add(threading.current_thread())
            assert read_on.wait(60), "nothing was read while this was written"

        yield SimpleNamespace(write=waiting)

    monkeypatch.setattr(tables, "table_parts", noted)
    monkeypatch.setattr(answer_table, "answer_table", opened)
    result = predict(bundle, "-", "-o", tmp_path / "out.csv", "--batch-size", 1, text="CCO\n" * 6)
    assert result.exit_code == 0, result.output
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_a_source_that_breaks_off_leaves_no_file(bundle, tmp_path):
    (tmp_path / "in.csv").write_bytes(b"smiles\n" + b"CCO\n" * 3000 + b"\xff\n")
    out = tmp_path / "out.csv"
    result = predict(bundle, tmp_path / "in.csv", "-o", out, "--batch-size", 50)
    assert result.exit_code == 1
    assert "is not UTF-8" in result.stderr
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_no_rows_are_a_header(bundle):
    result = predict(bundle, "-", text="smiles\n")
    assert (result.exit_code, result.stdout) == (0, "row,smiles,atoms,error\n")


def test_another_provider_serves_unless_strict(bundle):
    result = predict(bundle, "-", "--provider", "tensorrt", "--provider", "cpu", text="CCO\n")
    assert result.exit_code == 0, result.output
    if "Tensorrt" not in " ".join(onnxruntime.get_available_providers()):
        assert "has no TensorrtExecutionProvider" in result.stderr
        strict = predict(bundle, "-", "--provider", "tensorrt", "--strict", text="CCO\n")
        assert strict.exit_code == 1


def test_an_unknown_composition_is_one_line(bundle):
    result = predict(bundle, "-", "--composition", "mine", text="CCO\n")
    assert result.exit_code == 1
    assert "no composition 'mine'" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_ctrl_c_ends_at_once_and_leaves_no_file(bundle, tmp_path):
    out = tmp_path / "out.csv"
    command = [sys.executable, "-m", "graphadapt", "predict", bundle, "-", "-o", out]
    with subprocess.Popen(
        [*map(str, command), "--batch-size", "50"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        process.stdin.write("smiles\n" + "CCO\n" * 2500)
        process.stdin.flush()
        wait_for(lambda: [path for path in tmp_path.iterdir() if ".out.csv." in path.name])
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode in (1, 130)
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def wait_for(found, seconds=60):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "dgl", "ogb", "onnx", "safetensors", "pandas"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
from graphadapt.cli import main
main(sys.argv[1:])
"""


def test_the_command_runs_without_torch_dgl_ogb_and_onnx(bundle):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED, "predict", str(bundle)],
        input="CCO\nxyz\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [row["atoms"] for row in rows_of(done.stdout)] == ["3.0", ""]
