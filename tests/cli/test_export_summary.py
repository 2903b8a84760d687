"""What ``graphadapt export`` says of a bundle: what is calibrated, and what nobody measured."""

from dataclasses import replace

import pytest

from graphadapt.cli.export_summary import summary_of
from graphadapt.data.store import TaskInfo
from graphadapt.export import calibration
from graphadapt.export.contract import BundleContract, FileInfo
from graphadapt.export.contract_parts import (
    Applicability,
    Calibration,
    Composition,
    Precision,
)
from graphadapt.export.parity_record import Parity


@pytest.fixture
def contract():
    return BundleContract(
        tasks=(TaskInfo("toxic", "binary"), TaskInfo("greasy", "binary")),
        composition={"toxic": 1.0},
        reads=("features",),
        most_bonds=4,
        parity=Parity(
            largest_error=2e-7,
            tolerance=1e-5,
            repeats=2,
            batch_sizes=(1,),
            threads=(1,),
            molecules=5,
            provider="CPUExecutionProvider",
        ),
        files={"model.onnx": FileInfo(1, "")},
    )


def composition(**own):
    return Composition(
        file="0", weights={}, parameters=1, largest_error=0.0, merged_error=0.0, **own
    )


def calibrated(held_out):
    return Calibration(
        temperature=2.0,
        cells=90,
        before=0.2,
        after=0.1,
        held_out=held_out,
        log_loss_before=0.7,
        log_loss_after=0.5,
        log_loss_held_out=0.6,
    )


def test_the_summary_says_what_calibration_owes_to_chance(contract, tmp_path):
    line = (
        "calibration by temperature of 1 of 2 binary tasks, on validation: error 0.2000 before, "
        "0.1000 after, 0.1500 on cells left out; log loss 0.7000 before, 0.5000 after, 0.6000 on "
        "cells left out"
    )
    merged = replace(contract, calibration={"toxic": calibrated(0.15)})
    assert line in summary_of(tmp_path, merged).splitlines()
    mixes = {
        name: composition(calibration={"toxic": calibrated(held_out)})
        for name, held_out in (("a", 0.1), ("b", 0.2))
    }
    assert line in summary_of(tmp_path, replace(contract, form="adapters", compositions=mixes))
    assert "calibration" not in summary_of(tmp_path, contract)


def test_the_summary_says_how_typical_validation_is(contract, tmp_path):
    figures = [
        Applicability(measure="mahalanobis", molecules=2000, valid_below_5_percent=share)
        for share in (0.02, 0.06)
    ]
    line = "applicability from 2,000 training molecules; {} % of validation is below 0.05"
    merged = replace(contract, applicability=figures[0])
    assert line.format(2.0) in summary_of(tmp_path, merged).splitlines()
    mixes = {
        name: composition(applicability=figure) for name, figure in zip("ab", figures, strict=True)
    }
    several = replace(contract, form="adapters", compositions=mixes)
    assert line.format(4.0) in summary_of(tmp_path, several).splitlines()
    assert "applicability" not in summary_of(tmp_path, contract)


def test_the_summary_says_what_is_left_without_calibration(contract, tmp_path):
    reasons = {"toxic": "90 cells, 7 of the rarer class", "greasy": "0 cells, 0 of the rarer class"}
    record = calibration.calibration_record("isotonic", reasons)
    lines = summary_of(tmp_path, replace(contract, metrics={"calibration": record})).splitlines()
    place = lines.index(
        "calibration by isotonic of 0 of 2 binary tasks (needs 200 cells, 40 of each class)"
    )
    assert lines[place + 1] == (
        "not calibrated: toxic (90 cells, 7 of the rarer class), greasy (0 cells, 0 of the rarer "
        "class)"
    )
    record = calibration.calibration_record("temperature", {"greasy": "2 cells"}, {"ap": 0.5})
    merged = replace(
        contract, calibration={"toxic": calibrated(0.15)}, metrics={"calibration": record}
    )
    lines = summary_of(tmp_path, merged).splitlines()
    assert lines[-3:-1] == [
        "not calibrated: greasy (2 cells)",
        "calibrated answers on validation: ap 0.5000",
    ]


def test_the_summary_says_what_nobody_measured(contract, tmp_path):
    lost = Precision(name="int8", unmeasured={"toxic": "no cell", "greasy": "no"}, forced=True)
    text = summary_of(tmp_path, replace(contract, precision=lost))
    assert "\nint8 is unmeasured; 2 tasks have no metric there (forced)\n" in text
