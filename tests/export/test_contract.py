"""What ``bundle.json`` says, and that a changed one is refused."""

import json
from dataclasses import replace

import pytest

from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError
from graphadapt.export.arrays import ANSWERS
from graphadapt.export.contract import (
    BUNDLE_FORMAT,
    BundleContract,
    FileInfo,
    fingerprint,
    is_bundle,
    read_contract,
)
from graphadapt.export.contract_parts import (
    Applicability,
    Bucket,
    Calibration,
    Composition,
    Precision,
    bucket_for,
)
from graphadapt.export.parity_record import Parity
from graphadapt.molecules.features import FeatureBlock


@pytest.fixture
def contract() -> BundleContract:
    return BundleContract(
        tasks=(TaskInfo("toxic", "binary"), TaskInfo("pKi – α", "regression", "-log10(nmol/L)")),
        composition={"toxic": 0.25, "pKi – α": 0.75},
        kept={"layer.expand": [0, 2], "readout": {"toxic": [1]}},
        selection={"top_m": 2},
        reads=("kind_features", "graph_atoms", "features"),
        feature_blocks=(FeatureBlock(kind="counts", size=64),),
        most_bonds=64,
        parity=Parity(
            largest_error=3e-7,
            tolerance=1e-5,
            repeats=10,
            batch_sizes=(1, 16),
            threads=(1, 2),
            molecules=100,
            provider="CPUExecutionProvider",
        ),
        metrics={"freeze_gap": {"rmse": 0.01}},
        files={"model.onnx": FileInfo.of(b"abc")},
    )


def test_text_and_back_changes_nothing(contract):
    assert BundleContract.from_text(contract.to_text()) == contract


@pytest.mark.parametrize(
    "parts",
    [
        {"form": "padded", "buckets": (Bucket(atoms=16, slots=4, graphs=64),)},
        {
            "form": "adapters",
            "compositions": {
                "all": Composition(
                    file="0.onnx_adapter",
                    weights={"toxic": 1.0},
                    kept={"site": [1]},
                    parameters=12,
                    largest_error=1e-7,
                    merged_error=2e-7,
                    applicability=Applicability(measure="mahalanobis", molecules=3),
                )
            },
            "files": {"model.onnx": FileInfo.of(b"abc"), "0.onnx_adapter": FileInfo.of(b"")},
        },
        {"precision": Precision(name="int8", loss={"rmse": 0.01}, bound=0.01, forced=True)},
        {"calibration": {"toxic": Calibration(temperature=2, cells=9, before=0.2, after=0.1)}},
        {
            "calibration": {
                "toxic": Calibration(
                    method="isotonic",
                    logits=(-1.5, 2.0),
                    probabilities=(0.1, 0.8),
                    cells=300,
                    before=0.2,
                    after=0.1,
                    held_out=0.15,
                    log_loss_before=0.7,
                    log_loss_after=0.5,
                    log_loss_held_out=0.6,
                )
            }
        },
        {"precision": Precision(name="fp16", unmeasured={"toxic": "no cell"}, forced=True)},
        {
            "outputs": ("answers", "applicability"),
            "applicability": Applicability(measure="mahalanobis", molecules=3, components=2),
        },
    ],
)
def test_every_part_goes_to_text_and_back(contract, parts):
    changed = replace(contract, **parts)
    assert BundleContract.from_text(changed.to_text()) == changed


@pytest.mark.parametrize(
    "parts",
    [
        {"form": "padded"},
        {"form": "adapters"},
        {"buckets": (Bucket(atoms=1, slots=1, graphs=1),)},
    ],
)
def test_a_form_without_its_parts_is_refused(contract, parts):
    with pytest.raises(BundleError, match=r"form .* does not go with 0 compositions and"):
        replace(contract, **parts)


@pytest.mark.parametrize("outputs", [(), ("applicability",), (ANSWERS.name, "spectrum")])
def test_outputs_nobody_knows_are_refused(contract, outputs):
    with pytest.raises(BundleError, match="cannot answer with"):
        replace(contract, outputs=outputs)


def test_a_molecule_goes_to_the_smallest_bucket_that_holds_it():
    buckets = tuple(
        Bucket(atoms=atoms, slots=slots, graphs=8)
        for atoms, slots in ((16, 4), (32, 4), (16, 6), (32, 6))
    )
    assert bucket_for(buckets, 16, 4) == buckets[0]
    assert bucket_for(buckets, 17, 4) == buckets[1]
    assert bucket_for(buckets, 3, 5) == buckets[2]
    assert bucket_for(buckets, 32, 6) == buckets[3]
    assert bucket_for(buckets, 33, 1) is None
    with pytest.raises(BundleError, match="0 atoms, 4 slots and 1 molecules holds nothing"):
        Bucket(atoms=0, slots=4, graphs=1)


def test_own_columns_are_those_that_molecules_must_come_with(contract):
    assert contract.own_columns == ()
    block = FeatureBlock(kind="columns", columns=("pH", "dose"))
    blocks = (*contract.feature_blocks, block)
    assert replace(contract, feature_blocks=blocks).own_columns == ("pH", "dose")


def test_a_figure_belongs_to_its_composition(contract):
    own, other = (Applicability(measure="mahalanobis", molecules=count) for count in (3, 4))
    assert replace(contract, applicability=own).applicabilities == (own,)
    mixes = {
        name: Composition(
            file=name,
            weights={},
            parameters=1,
            largest_error=0.0,
            merged_error=0.0,
            applicability=figure,
        )
        for name, figure in {"a": own, "b": other}.items()
    }
    several = replace(contract, form="adapters", compositions=mixes)
    assert several.applicabilities == (own, other)


def test_the_bound_is_the_larger_of_two(contract):
    parity = replace(contract.parity, float32_error=4e-6)
    assert (parity.allowed, parity.bound, parity.holds) == (1e-5, "1e-05", True)
    parity = replace(parity, float32_error=3e-5, largest_error=7e-5)
    assert parity.bound == "6.0e-05, twice what PyTorch itself is off by in float32"
    assert not parity.holds


def test_a_calibration_of_an_older_bundle_says_only_what_was_measured_then(contract):
    table = json.loads(contract.to_text())
    old = {"temperature": 2.0, "cells": 90, "before": 0.2, "after": 0.1}
    found = BundleContract.from_text(signed(table | {"calibration": {"toxic": old}}))
    part = found.calibration["toxic"]
    assert (part.method, part.logits, part.held_out) == ("temperature", (), None)


def test_layout_does_not_matter_to_the_hash(contract):
    table = json.loads(contract.to_text())
    turned = dict(reversed(table.items()))
    assert BundleContract.from_text(json.dumps(turned)) == contract
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_hashes_are_those_of_sha256():
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert FileInfo.of(b"abc") == FileInfo(3, known)


@pytest.mark.parametrize(
    ("key", "value"),
    [("composition", {"toxic": 1.0}), ("tasks", []), ("files", {}), ("sha256", "0"), ("extra", 1)],
)
def test_any_change_is_noticed(contract, key, value):
    table = json.loads(contract.to_text()) | {key: value}
    with pytest.raises(BundleError, match=r"bundle\.json was changed after it was written"):
        BundleContract.from_text(json.dumps(table))


def test_a_text_cut_short_is_damaged(contract):
    with pytest.raises(BundleError, match=r"bundle\.json is cut short or damaged"):
        BundleContract.from_text(contract.to_text()[:-20])


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5_000, ""])
def test_a_text_that_no_reader_can_hold_is_damaged(text):
    with pytest.raises(BundleError, match=r"bundle\.json is cut short or damaged"):
        BundleContract.from_text(text)


@pytest.mark.parametrize("text", ["[]", "{}", '{"kind": "something else", "format": 1}'])
def test_a_foreign_text_is_named(text):
    with pytest.raises(BundleError, match="was not written by graphadapt"):
        BundleContract.from_text(text)


def test_a_newer_format_asks_for_an_upgrade(contract):
    table = json.loads(contract.to_text()) | {"format": BUNDLE_FORMAT + 1}
    with pytest.raises(BundleError, match=r"of format 3, .* reads 2; upgrade"):
        BundleContract.from_text(json.dumps(table))


def test_the_first_format_asks_for_another_export(contract):
    table = json.loads(contract.to_text()) | {"format": 1}
    with pytest.raises(BundleError, match=r"of format 1, .* reads 2: export again"):
        BundleContract.from_text(json.dumps(table))


@pytest.mark.parametrize("version", [0, -1, "1", True, 1.0, None])
def test_a_format_that_never_was_is_refused(contract, version):
    table = json.loads(contract.to_text()) | {"format": version}
    with pytest.raises(BundleError, match=f"gives {version!r} as its format; export again"):
        BundleContract.from_text(json.dumps(table))


def signed(table):
    """As another program would write it: whatever it says, the hash is right."""
    table = {name: value for name, value in table.items() if name != "sha256"}
    return json.dumps(table | {"sha256": fingerprint(table)})


@pytest.mark.parametrize(
    "name", [name for name in BundleContract.__dataclass_fields__ if name != "reads"]
)
def test_whatever_an_older_bundle_does_not_say_is_named(contract, name):
    table = json.loads(contract.to_text())
    del table[name], table["reads"]
    with pytest.raises(
        BundleError, match=f"does not say .*{name}.*: it comes from another version"
    ):
        BundleContract.from_text(signed(table))


COMPOSITION = {
    "file": "other",
    "weights": {},
    "parameters": 1,
    "largest_error": 0.0,
    "merged_error": 0.0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batching": 1}, "unknown section: 'batching'"),
        ({"tasks": 3}, "tasks is a list, got 3"),
        ({"tasks": [{"name": "a", "kind": "foo"}]}, r"tasks\.kind='foo' is not one of"),
        ({"tasks": [{"name": "a"}]}, r"tasks\.kind is missing"),
        ({"tasks": [{"name": 3, "kind": "binary"}]}, r"tasks\.name=3 is not of type str"),
        ({"tasks": []}, "at least one task"),
        ({"composition": {"a": "b"}}, r"composition\.a='b' is not of type float"),
        ({"feature_blocks": [{}]}, r"feature_blocks\.kind is missing"),
        ({"feature_blocks": [{"kind": "columns"}]}, "cannot be used"),
        ({"parity": {}}, r"parity\.largest_error is missing"),
        ({"parity": None}, "parity is a section of settings, got None"),
        ({"metrics": None}, "metrics is a table, got None"),
        ({"most_bonds": "many"}, "most_bonds='many' is not of type int"),
        ({"merge_from": None}, "merge_from=None is not of type int"),
        ({"files": {"model.onnx": {"size": "x", "sha256": ""}}}, r"size='x' is not of type int"),
        ({"files": {}}, r"names no model\.onnx; export again"),
        ({"files": {"../model.onnx": {"size": 1, "sha256": ""}}}, "which is not in the bundle"),
        ({"files": {"..": {"size": 1, "sha256": ""}}}, "names '..', which is not in the bundle"),
        ({"files": {"a\0b": {"size": 1, "sha256": ""}}}, "which is not in the bundle"),
        (
            {"form": "adapters", "compositions": {"mix": COMPOSITION}},
            "keeps composition 'mix' in 'other', which is none of the bundle's files; export again",
        ),
        (
            {"calibration": {"toxic": {"method": "platt", "cells": 9, "before": 0, "after": 0}}},
            r"calibration\.toxic\.method='platt' is not one of 'temperature', 'isotonic'",
        ),
    ],
)
def test_a_foreign_contract_with_a_right_hash_says_what_is_wrong(contract, change, message):
    text = signed(json.loads(contract.to_text()) | change)
    with pytest.raises(BundleError, match=message) as caught:
        BundleContract.from_text(text)
    assert "\n" not in str(caught.value)


def test_the_contract_of_a_folder_is_read_by_its_name(contract, tmp_path):
    (tmp_path / "bundle.json").write_text(contract.to_text(), encoding="utf-8")
    assert read_contract(tmp_path) == contract
    (tmp_path / "bundle.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match=rf"{tmp_path}: bundle\.json was not written by"):
        read_contract(tmp_path)
    (tmp_path / "bundle.json").unlink()
    (tmp_path / "bundle.json").mkdir()
    with pytest.raises(BundleError, match=r"bundle\.json cannot be read: Is a directory"):
        read_contract(tmp_path)


def test_arrays_nobody_can_make_are_refused(contract):
    with pytest.raises(BundleError, match="reads wave_function, which this version"):
        replace(contract, reads=("wave_function",))
    with pytest.raises(BundleError, match="at least one task"):
        replace(contract, tasks=())


def test_only_a_bundle_is_taken_for_one(contract, tmp_path):
    assert not is_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("{}")
    assert not is_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text(contract.to_text()[:100])
    assert is_bundle(tmp_path)
