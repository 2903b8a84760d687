"""Verification without torch: what it passes, and each thing that it refuses, by name."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from graphadapt.cli import main
from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError, DependencyError
from graphadapt.export import verify as module
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.contract import (
    OPSET,
    BundleContract,
    FileInfo,
    fingerprint,
    read_contract,
)
from graphadapt.export.onnx_check import metadata_of
from graphadapt.export.parity_record import Parity
from graphadapt.export.probes import PROBES, Probes
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.verify import verify_bundle
from graphadapt.export.witness import ALONE, Witness

QUICK = ParityPlan(repeats=2, batch_sizes=(1, 16), threads=(1, 2))
TASKS = (TaskInfo("atoms", "regression", "1"),)


def counting_model(tasks=TASKS, factor=1.0, place=None):
    """Counts a molecule's atoms; with ``place``, those of the molecule at that place alone."""
    found = "sum" if place is None else "picked"
    nodes = [
        helper.make_node("ReduceSum", ["graph_atoms", "axis"], ["sum"], keepdims=1),
        helper.make_node("Gather", ["sum", "place"], ["picked"], axis=0),
        helper.make_node("Mul", [found, "factor"], ["answers"]),
    ]
    weights = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor]),
        helper.make_tensor("place", TensorProto.INT64, [1], [place or 0]),
    ]
    if place is None:
        del nodes[1], weights[2]
    graph = helper.make_graph(
        nodes,
        "counting",
        [helper.make_tensor_value_info("graph_atoms", TensorProto.FLOAT, ["graphs", "atoms"])],
        [helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["graphs", len(tasks)])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    helper.set_model_props(model, metadata_of(tasks, "merged", 1))
    return model.SerializeToString()


@pytest.fixture
def bundle(tmp_path):
    """``bundle.json``, ``model.onnx`` and ``probes.json`` of a model that counts atoms."""
    probes = Probes()
    truth = np.array([[float(len(each.atoms))] for each in probes.molecules])
    write(tmp_path, counting_model(), Witness.of(probes, {ALONE: truth}).to_bytes())
    return tmp_path


def write(folder, model, probes, **changes):
    files = {"model.onnx": model, "probes.json": probes}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    contract = BundleContract(
        tasks=TASKS,
        composition={"atoms": 1.0},
        reads=("graph_atoms",),
        most_bonds=64,
        parameters=1,
        parity=Parity(
            largest_error=0.0,
            tolerance=1e-5,
            repeats=1,
            batch_sizes=(1,),
            threads=(1,),
            molecules=1,
            provider="CPUExecutionProvider",
        ),
        versions={"rdkit": "2020.1"},
        files={name: FileInfo.of(content) for name, content in files.items()},
    )
    text = replace(contract, **changes).to_text()
    (folder / "bundle.json").write_text(text, encoding="utf-8")


def test_a_sound_bundle_is_said_to_be_sound(bundle):
    found = verify_bundle(bundle, QUICK)
    assert found.largest_error < 1e-6
    assert found.runs == 2 * 2 * 2
    assert list(found.checks) == ["files", "model", "tasks", "answers"]
    assert found.checks["files"].startswith("2 intact by sha256")
    (bundle / "tuning.json").write_text("{}")
    assert "not part of it: tuning.json" in verify_bundle(bundle, QUICK).checks["files"]


def test_a_changed_byte_is_found_wherever_it_is(bundle):
    for name in ("model.onnx", "probes.json", "bundle.json"):
        path = bundle / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(BundleError, match=rf"{name} (was changed|is cut short|is damaged)"):
            verify_bundle(bundle, QUICK)
        path.write_bytes(content[:middle])
        with pytest.raises(BundleError, match=rf"{name} (has|is cut short)"):
            verify_bundle(bundle, QUICK)
        path.unlink()
        with pytest.raises(BundleError, match=f"{name} is missing|is no bundle: it has no {name}"):
            verify_bundle(bundle, QUICK)
        path.write_bytes(content)
    assert verify_bundle(bundle, QUICK).runs


def test_foreign_and_newer_bundles_are_refused(bundle, tmp_path_factory):
    with pytest.raises(BundleError, match=r"is no bundle: it has no bundle\.json"):
        verify_bundle(tmp_path_factory.mktemp("empty"), QUICK)
    path = bundle / "bundle.json"
    table = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(table | {"format": 9}), encoding="utf-8")
    with pytest.raises(BundleError, match="of format 9, this graphadapt reads 2; upgrade"):
        verify_bundle(bundle, QUICK)
    changed = {k: v for k, v in (table | {"featurisation_version": 7}).items() if k != "sha256"}
    path.write_text(json.dumps(changed | {"sha256": fingerprint(changed)}), encoding="utf-8")
    with pytest.raises(BundleError, match="made for featurisation 7, this graphadapt has 1"):
        read_bundle_files(bundle)


def test_a_model_of_other_weights_is_found_by_its_answers(bundle):
    """Hashes are right, because whoever changed the model wrote them anew."""
    probes = (bundle / "probes.json").read_bytes()
    write(bundle, counting_model(factor=1.001), probes)
    with pytest.raises(BundleError, match=r"off by 1\.00e-03 .* made with .*rdkit 2020\.1"):
        verify_bundle(bundle, QUICK)
    write(bundle, counting_model(factor=float("nan")), probes)
    with pytest.raises(BundleError, match="off by inf"):
        verify_bundle(bundle, QUICK)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (999, r"fails on molecules to be answered: .*Gather"),
        (0, "answers are off by inf of their scale"),
    ],
)
def test_a_model_that_fails_or_answers_too_few_is_one_line(bundle, place, message):
    write(bundle, counting_model(place=place), (bundle / "probes.json").read_bytes())
    with pytest.raises(BundleError, match=message):
        verify_bundle(bundle, QUICK)
    result = CliRunner().invoke(main, ["verify", str(bundle), "--repeats", "1"])
    assert result.exit_code == 1
    assert sum(line.startswith("Error: ") for line in result.stderr.splitlines()) == 1


def test_a_model_of_other_tasks_is_found_by_what_it_says(bundle):
    other = counting_model((TaskInfo("bonds", "regression", "1"),))
    write(bundle, other, (bundle / "probes.json").read_bytes())
    with pytest.raises(BundleError, match="the two belong to different bundles"):
        verify_bundle(bundle, QUICK)


def test_the_bound_is_said_as_it_is(bundle):
    contract = read_contract(bundle)
    assert verify_bundle(bundle, QUICK).checks["answers"].endswith("runs; the bound is 1e-05")
    parity = replace(contract.parity, float32_error=2e-5)
    write(bundle, counting_model(), (bundle / "probes.json").read_bytes(), parity=parity)
    said = verify_bundle(bundle, QUICK).checks["answers"]
    assert said.endswith("the bound is 4.0e-05, twice what PyTorch itself is off by in float32")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "cannot be read: TypeError"),
        (b"{", "cannot be read: JSONDecodeError"),
        (b'{"smiles": ["C"], "columns": {}, "answers": {"": []}}', "other numbers of answers"),
        (b'{"smiles": ["C"], "columns": {}, "answers": {"": [[1, 2]]}}', "does not answer all"),
        (b'{"smiles": ["no"], "columns": {}, "answers": {"": [[1]]}}', "no cannot be read here"),
        (b'{"smiles": [1], "columns": {}, "answers": {"": [[1]]}}', "holds no SMILES, or no table"),
        (b'{"smiles": ["C"], "columns": [], "answers": {"": [[1]]}}', "or no table of columns"),
    ],
)
def test_probes_of_another_kind_are_refused(bundle, content, message):
    write(bundle, (bundle / "model.onnx").read_bytes(), content)
    with pytest.raises(BundleError, match=message):
        verify_bundle(bundle, QUICK)


def test_a_bundle_without_probes_is_refused(bundle):
    contract = read_contract(bundle)
    files = {"model.onnx": contract.files["model.onnx"]}
    text = replace(contract, files=files).to_text()
    (bundle / "bundle.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"names no probes\.json; export again"):
        verify_bundle(bundle, QUICK)


def test_a_low_precision_may_be_off_by_twice_what_it_was(bundle):
    contract = read_contract(bundle)
    parity = replace(contract.parity, largest_error=1e-2)
    assert module.allowed_error(replace(contract, parity=parity)) == (1e-5, "1e-05")
    precision = replace(contract.precision, name="int8")
    allowed, said = module.allowed_error(replace(contract, parity=parity, precision=precision))
    assert (allowed, said) == (2e-2, "2.0e-02, twice what it was off by in int8 when written")
    assert module.allowed_error(replace(contract, precision=precision)) == (1e-5, "1e-05")


def test_a_witness_is_kept_to_ten_digits():
    answers = np.array([[1 / 3], [2e-9 / 7]])
    witness = Witness(("C", "N"), {"pH": [1.5, 2.0]}, {ALONE: answers})
    again = Witness.from_bytes(witness.to_bytes())
    assert (again.smiles, again.columns) == (witness.smiles, witness.columns)
    np.testing.assert_allclose(again.answers[ALONE], answers, rtol=1e-9)


def test_verification_needs_onnx_and_says_so(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "graphadapt.export.onnx_check")
    with pytest.raises(DependencyError, match="needs onnx; run: pip install onnx"):
        verify_bundle(bundle, QUICK)


def test_the_command_says_what_it_checked(bundle):
    command = ["verify", str(bundle), "--repeats", "1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"{bundle} is sound"
    facts = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert facts["checks"]["tasks"].startswith("1 with their units")
    (bundle / "model.onnx").write_bytes(b"")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: {bundle}: model.onnx has 0 bytes")


def test_verification_loads_no_torch(bundle):
    script = (
        "import sys\nsys.modules.update(torch=None, dgl=None, ogb=None)\n"
        "from graphadapt.export.repeated_runs import ParityPlan\n"
        "from graphadapt.export.verify import verify_bundle\n"
        "verify_bundle(sys.argv[1], ParityPlan(repeats=1, batch_sizes=(1,), threads=(1,)))"
    )
    done = subprocess.run([sys.executable, "-c", script, bundle], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_probes_are_small_large_and_empty():
    sizes = [len(each.atoms) for each in Probes().molecules]
    bonds = [len(each.bonds) for each in Probes().molecules]
    assert min(sizes) == 1
    assert max(sizes) >= 200
    assert min(bonds) == 0
    assert len(sizes) == len(PROBES) == len(set(PROBES))
