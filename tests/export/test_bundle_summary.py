"""A bundle is described from its contract, and damage to its files is seen."""

from dataclasses import replace

import pytest

from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError
from graphadapt.export.bundle_summary import inspect_bundle
from graphadapt.export.contract import BundleContract, FileInfo, read_contract
from graphadapt.export.contract_parts import Applicability, Bucket, Calibration, Precision
from graphadapt.export.parity_record import Parity
from graphadapt.molecules.features import FeatureBlock


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not really a model")
    contract = BundleContract(
        tasks=(TaskInfo("toxic", "binary"), TaskInfo("potency", "regression", "pIC50")),
        composition={"toxic": 0.5, "potency": 0.25, "other": 0.25},
        selection={"mass": 0.9, "top_m": None},
        reads=("features",),
        feature_blocks=(FeatureBlock(kind="counts", size=64),),
        most_bonds=4,
        parity=Parity(
            largest_error=2e-7,
            tolerance=1e-5,
            repeats=200,
            batch_sizes=(1, 16),
            threads=(1, 2),
            molecules=50,
            provider="CPUExecutionProvider",
        ),
        metrics={
            "cells": 7,
            "freeze_gap": {
                "part": "valid",
                "soft": {"rmse": 0.5},
                "frozen": {"rmse": 0.75},
                "gap": {"rmse": -0.25},
            },
        },
        origin={"run": "full", "config": {"trainer": {"epochs": 3, "novel": 1}}},
        versions={"graphadapt": "0.1.0"},
        files={"model.onnx": FileInfo.of(b"not really a model")},
    )
    (tmp_path / "bundle.json").write_text(contract.to_text(), encoding="utf-8")
    return tmp_path


def test_tasks_composition_parity_and_files_are_shown(bundle):
    text = inspect_bundle(bundle).to_text()
    for part in (
        "2 tasks: 1 binary, 1 regression",
        "counts (64)",
        "adapters kept: mass 0.9",
        "2.0e-07 of the scale, within the bound of 1e-05; 50 molecules",
        "also in the mix: other 0.25",
        "intact",
        "cells: 7",
        "rmse      0.5000  0.7500  -0.2500",
        'run: "full"',
        "graphadapt 0.1.0",
        "trainer.epochs = 3",
        "trainer.novel = 1",
    ):
        assert part in text


def test_form_precision_temperature_and_applicability_are_shown_where_they_are(bundle):
    contract = BundleContract.from_text((bundle / "bundle.json").read_text("utf-8"))
    assert "form: merged\n" in inspect_bundle(bundle).to_text()
    changed = replace(
        contract,
        form="padded",
        buckets=(Bucket(atoms=16, slots=4, graphs=8), Bucket(atoms=32, slots=4, graphs=8)),
        precision=Precision(name="int8", loss={"rmse": 0.0123}, bound=0.01, forced=True),
        calibration={"toxic": Calibration(temperature=1.75, cells=90, before=0.1, after=0.05)},
        outputs=("answers", "applicability"),
        applicability=Applicability(measure="mahalanobis", molecules=1234, components=8),
    )
    (bundle / "bundle.json").write_text(changed.to_text(), encoding="utf-8")
    text = inspect_bundle(bundle).to_text()
    for part in (
        "form: padded, buckets of atoms and bonds 16x4, 32x4",
        "precision: int8, loses on validation: rmse +0.0123 (forced)",
        "applicability: against 1,234 training molecules",
        "1.75",
    ):
        assert part in text


def changed(bundle, **parts):
    """What is said of the bundle with other parts."""
    path = bundle / "bundle.json"
    contract = BundleContract.from_text(path.read_text("utf-8"))
    path.write_text(replace(contract, **parts).to_text(), encoding="utf-8")
    return inspect_bundle(bundle).to_text()


def test_the_bound_is_the_one_that_was_held_to(bundle):
    parity = read_contract(bundle).parity
    text = changed(bundle, parity=replace(parity, largest_error=3e-5, float32_error=2e-5))
    assert "3.0e-05 of the scale, within the bound of 4.0e-05, twice what PyTorch itself" in text
    text = changed(bundle, parity=replace(parity, largest_error=0.08, tolerance=0.05))
    assert "8.0e-02 of the scale, above the bound of 0.05, and forced" in text


def test_a_loss_that_nobody_measured_is_called_so(bundle):
    none, one = {"toxic": "no labelled cell", "potency": "no labelled cell"}, {"toxic": "why"}
    lost = Precision(name="fp16", unmeasured=none, forced=True)
    assert "fp16, is unmeasured; 2 tasks have no metric there (forced)" in changed(
        bundle, precision=lost
    )
    part = Precision(name="fp16", loss={"rmse": 0.001}, unmeasured=one)
    text = changed(bundle, precision=part)
    assert "loses on validation: rmse +0.0010; 1 task has no metric there" in text


def test_tables_are_counted_by_their_knots(bundle):
    table = Calibration(
        method="isotonic",
        logits=(-1.0, 1.0),
        probabilities=(0.2, 0.7),
        cells=300,
        before=0.1,
        after=0.01,
    )
    assert "isotonic, 2 knots" in changed(bundle, calibration={"toxic": table})


def test_tasks_without_calibration_are_named(bundle):
    record = {"method": "isotonic", "left_out": {"toxic": "3 cells"}, "after": {"ap": 0.25}}
    text = changed(bundle, metrics={"calibration": record})
    assert "not calibrated: toxic (3 cells)\n" in text
    assert "calibrated answers on validation: ap 0.2500" in text
    none = {"method": "isotonic", "left_out": {}, "after": {}}
    text = changed(bundle, metrics={"calibrations": {"a": record, "b": none}})
    assert "not calibrated: toxic in 1 of 2 compositions (3 cells)\n" in text
    assert "calibrated answers of a on validation: ap 0.2500" in text
    many = {f"t{count}": "few" for count in range(8)}
    text = changed(bundle, metrics={"calibration": {"left_out": many}})
    assert "t4 (few), and 3 more that the contract names" in text


def test_every_composition_has_its_freeze_gap(bundle):
    gap = read_contract(bundle).metrics["freeze_gap"]
    text = changed(bundle, metrics={"freeze_gaps": {"a": gap, "b": {"missing": "no store"}}})
    assert "freeze gap of a on valid cells:" in text
    assert "freeze gap of b not measured: no store" in text


def test_facts_are_the_contract(bundle):
    facts = inspect_bundle(bundle).to_dict()
    assert facts["kind"] == "bundle"
    assert facts["states"] == {"model.onnx": "intact"}
    assert facts["parity"]["repeats"] == 200


@pytest.mark.parametrize(("content", "state"), [(b"changed", "damaged"), (None, "missing")])
def test_a_file_that_is_not_as_promised_is_marked(bundle, content, state):
    if content is None:
        (bundle / "model.onnx").unlink()
    else:
        (bundle / "model.onnx").write_bytes(content)
    found = inspect_bundle(bundle)
    assert found.to_dict()["states"] == {"model.onnx": state}
    assert state in found.to_text()


def test_a_changed_contract_is_refused(bundle):
    path = bundle / "bundle.json"
    path.write_text(path.read_text("utf-8").replace("potency", "patency"), encoding="utf-8")
    with pytest.raises(BundleError, match="was changed after it was written"):
        inspect_bundle(bundle)


def test_a_folder_without_contract_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"is no bundle: it has no bundle\.json"):
        inspect_bundle(tmp_path)


def test_a_freeze_gap_that_was_not_measured_says_why(bundle):
    contract = BundleContract.from_text((bundle / "bundle.json").read_text("utf-8"))
    changed = replace(contract, metrics={"freeze_gap": {"missing": "no store at stores/gone"}})
    (bundle / "bundle.json").write_text(changed.to_text(), encoding="utf-8")
    text = inspect_bundle(bundle).to_text()
    assert "freeze gap not measured: no store at stores/gone" in text


@pytest.mark.parametrize(
    "metrics",
    [
        {"freeze_gap": {"strange": 1}},
        {"freeze_gap": 3},
        {"freeze_gap": {}},
        {"calibration": 3},
        {"calibration": {"left_out": 3}},
        {"calibrations": [3]},
    ],
)
def test_figures_of_another_version_are_no_fault(bundle, metrics):
    contract = BundleContract.from_text((bundle / "bundle.json").read_text("utf-8"))
    changed = replace(contract, metrics=metrics, origin={"config": {"trainer": 3}, "run": None})
    (bundle / "bundle.json").write_text(changed.to_text(), encoding="utf-8")
    assert "trainer = 3" in inspect_bundle(bundle).to_text()
