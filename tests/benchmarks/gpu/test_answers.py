"""A bundle's rates and errors, on the CPU by the code that runs on a GPU, beside the public way."""

import importlib
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from graphadapt.export.bundle import write_bundle
from graphadapt.export.contract import read_contract
from graphadapt.export.contract_parts import Bucket, Precision
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.rounding import BOUNDS, round_model
from graphadapt.export.witness import ALONE, Witness
from graphadapt.freeze import reestimate_norms
from graphadapt.graphs.batch import GraphTable
from graphadapt.serve.batches import batches_in_buckets
from graphadapt.serve.predictor import Predictor

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
BUCKETS = (
    Bucket(atoms=16, slots=4, graphs=16),
    Bucket(atoms=32, slots=4, graphs=8),
    Bucket(atoms=64, slots=6, graphs=4),
)
QUICK = ParityPlan(repeats=1, batch_sizes=(16,), threads=(1,))
COPIES = ("there and back", "none")
NAMES = ("padded fp32", "padded fp16", "merged fp32")


def halved(model, reads, outputs):
    return round_model(model, "fp16", ()), Precision(name="fp16", bound=BOUNDS["fp16"])


@pytest.fixture(scope="module")
def folders(scripts, tmp_path_factory):
    """One tiny network in three bundles."""
    from deployment.trained_network import network, sample

    torch.manual_seed(0)
    frozen = network("gin-virtual-node", (), small=True).requires_grad_(False).eval()
    table = GraphTable.from_molecules(sample(64, (), 0).molecules)
    reestimate_norms(frozen, [table.gather(torch.arange(64))])
    place = tmp_path_factory.mktemp("bundles")
    settings = {
        "padded fp32": {"form": "padded", "buckets": BUCKETS},
        "padded fp16": {"form": "padded", "buckets": BUCKETS, "lower": halved},
        "merged fp32": {},
    }
    for name in NAMES:
        write_bundle(frozen, place / name, plan=QUICK, **settings[name])
    return {name: place / name for name in NAMES}


@pytest.fixture(scope="module")
def file(folders, run_benchmark, tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "arrays.npz"
    run_benchmark("gpu_suite", "--small", "--prepare", path, "--bundle", *folders.values())
    return path


@pytest.fixture(scope="module")
def arrays(file):
    from gpu.arrays import Arrays

    return Arrays.read(file)


@pytest.fixture(scope="module")
def plan(scripts):
    from gpu.plan import SuitePlan

    return SuitePlan(device=torch.device("cpu")).smaller()


@pytest.fixture(scope="module")
def rows(arrays, plan):
    from gpu.providers import onnx_rows

    return list(onnx_rows(arrays, plan))


def test_each_bundle_is_timed_one_by_one_and_in_bulk(rows, arrays, plan):
    timed = [row for row in rows if "median_s" in row]
    found = [
        (f"{row['form']} {row['precision']}", row["molecules"], row["by"], row["copies"])
        for row in timed
    ]
    ours, bare = "graphadapt.serve", "session.run"
    assert found == [
        *((name, n, ours, c) for name in NAMES[:2] for n in (1, 24) for c in COPIES),
        *((NAMES[2], n, bare, "there and back") for n in (1, 24)),
    ]
    for row in timed:
        assert (row["provider"], row["graph"]) == (CPU, False), "there is nothing to record on"
        assert row["median_s"] > 0
        assert row["per_second"] == pytest.approx(row["molecules"] / row["median_s"])
    molecules = [arrays.columns.molecule(int(row)) for row in arrays.rows[: plan.stream]]
    sizes = [len(each.atoms) for each in molecules]
    slots = [int(np.bincount(each.bonds.reshape(-1)).max(initial=0)) for each in molecules]
    batches = batches_in_buckets(sizes, slots, BUCKETS)
    in_bulk = [row for row in timed if row["molecules"] > 1 and row["form"] == "padded"]
    assert {(row["runs"], row["batch"]) for row in in_bulk} == {
        (len(batches), max(len(batch.rows) for batch in batches))
    }


def test_errors_are_those_of_the_public_way_from_smiles(rows, arrays, folders):
    for name, carried in zip(NAMES, arrays.bundles, strict=True):
        contract = read_contract(folders[name])
        witness = Witness.from_bytes((folders[name] / "probes.json").read_bytes())
        np.testing.assert_array_equal(carried.answers, witness.answers[ALONE])
        with Predictor(folders[name]) as predictor:
            answers = predictor.predict(witness.smiles).values
        off = float((np.abs(answers - carried.answers) / carried.scale).max())
        for row in rows:
            if "error" not in row or f"{row['form']} {row['precision']}" != name:
                continue
            assert row["error"] == pytest.approx(off, rel=0.5, abs=2e-6)
            assert row["allowed"] == contract.parity.allowed
            assert row["holds"]
        assert (off > 1e-4) == ("fp16" in name), "half precision shows"


def test_answers_in_place_are_those_of_a_predictor(arrays, folders):
    from gpu.answers import OURS, Product, arranger
    from graphadapt.serve.bundle_reader import read_bundle

    bundle = read_bundle(folders["padded fp32"])
    way = Product(bundle, CPU)
    assert (way.name, way.keeps_shapes, way.records) == (OURS, True, False)
    rows = arrays.rows[:24]
    with Predictor(bundle) as predictor:
        expected = predictor.answer([arrays.columns.molecule(int(row)) for row in rows])
    for _ in range(2):
        for batch in arranger(bundle.contract, way)(arrays.columns, rows):
            np.testing.assert_allclose(
                way.ask(batch), expected[batch.rows], rtol=1e-5, atol=1e-5 * np.abs(expected).max()
            )
    way.close()


def test_wrong_answers_do_not_hold(arrays, plan):
    from gpu.answers import answer_rows

    carried = arrays.bundles[0]
    allowed = 10 * next(iter(answer_rows(arrays, carried, CPU, plan)))["allowed"]
    answers = carried.answers.copy()
    answers[7, 3] += allowed * carried.scale[7, 3]
    for wrong, error in ((answers, pytest.approx(allowed, rel=0.2)), (answers * np.nan, np.inf)):
        found = list(answer_rows(arrays, replace(carried, answers=wrong), CPU, plan))
        assert all((row["error"], row["holds"]) == (error, False) for row in found)


def test_it_runs_from_a_bare_checkout_without_rdkit(file, run_bare, tmp_path):
    output = tmp_path / "found.json"
    settings = ("--small", "--arrays", file, "--output", output, "--parts", "onnx")
    done = run_bare("gpu_suite", *settings)
    rows = json.loads(output.read_text("utf-8"))["rows"]
    assert [row for row in rows if "failed" in row] == [], done.stderr
    assert sum("median_s" in row and row["holds"] for row in rows) == 10
    assert "| padded fp16 | graphadapt.serve | 24 |" in done.stdout


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="there is CUDA")
def test_a_provider_that_is_missing_is_skipped_with_the_reason(rows, arrays, plan):
    from gpu.answers import answer_rows
    from gpu.providers import tensorrt_rows

    (skipped,) = [row for row in rows if "skipped" in row]
    assert (skipped["provider"], "runs on" in skipped["skipped"]) == (CUDA, True)
    (row,) = answer_rows(arrays, arrays.bundles[0], CUDA, plan)
    assert f"has no {CUDA}" in row["skipped"]
    (row,) = tensorrt_rows(arrays, plan)
    assert "this ONNX Runtime runs on" in row["skipped"]


def test_on_a_gpu_every_bundle_is_asked_there_and_nowhere_else(monkeypatch):
    from gpu import providers
    from gpu.plan import SuitePlan

    fakes = {
        "onnxruntime": SimpleNamespace(
            preload_dlls=lambda: None, get_available_providers=lambda: [CUDA, CPU]
        ),
        "gpu.answers": SimpleNamespace(
            answer_rows=lambda arrays, bundle, provider, plan: [{"asked": (bundle, provider)}]
        ),
    }
    monkeypatch.setattr(
        providers, "import_module", lambda name: fakes.get(name) or importlib.import_module(name)
    )
    plan = SuitePlan(device=torch.device("cuda"))
    arrays = SimpleNamespace(bundles=("first", "second"))
    rows = list(providers.onnx_rows(arrays, plan))
    assert [row["asked"] for row in rows] == [("first", CUDA), ("second", CUDA)]
