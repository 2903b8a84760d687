"""Several compositions over one backbone: each as its merged network answers, switched per run."""

import copy
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from graphadapt.errors import BundleError, ConfigError
from graphadapt.export import adapter_bundle, run_measures, verify
from graphadapt.export.adapter_bundle import OwnAnswers, open_model, write_adapter_bundle
from graphadapt.export.adapter_files import check_adapter_file, run_options, write_adapter_file
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.calibration import calibrate
from graphadapt.export.collate import collate, inputs_for
from graphadapt.export.contract import CONTRACT_FILE, FileInfo, read_contract
from graphadapt.export.contract_parts import Calibration
from graphadapt.export.parity_record import TOLERANCE
from graphadapt.export.probes import Probes
from graphadapt.export.reference import Reference
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.restate import OpenMaps, restate
from graphadapt.export.run_bundle import export_compositions
from graphadapt.export.session import open_session
from graphadapt.export.verify import verify_bundle
from graphadapt.freeze import Selection, freeze
from graphadapt.report.freeze_gap import freeze_run
from graphadapt.routing.composition import (
    single_task,
    uniform_composition,
    weighted_composition,
)
from graphadapt.run import Run
from graphadapt.serve.predictor import Predictor

QUICK = ParityPlan(repeats=2, batch_sizes=(1, 16), threads=(1,))

MIXES = {
    "all": ({"aromatic": 1.0, "greasy": 1.0, "potency": 1.0}, Selection()),
    "one adapter": ({"greasy": 1.0}, Selection(top_m=1)),
}


@pytest.fixture(scope="module")
def compositions(tiny_run):
    """Norms settled for each, as training with adapters inside asks for."""
    run = Run.open(tiny_run)
    names = [task.name for task in run.inputs.tasks]
    assert set(MIXES["all"][0]) == set(names)
    return {
        name: freeze_run(
            run, composition_T=weighted_composition(weights, names), selection=selection
        )
        for name, (weights, selection) in MIXES.items()
    }


@pytest.fixture(scope="module")
def bundle(compositions, tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "bundle"
    blocks = Run.open(tiny_run).inputs.blocks
    write_adapter_bundle(compositions, folder, feature_blocks=blocks, plan=QUICK)
    return folder


def test_every_composition_answers_as_its_merged_network(bundle, compositions):
    contract, contents = read_bundle_files(bundle)
    assert (contract.form, list(contract.compositions)) == ("adapters", list(MIXES))
    probes = Probes(contract.feature_blocks)
    inputs = inputs_for(contract.reads, probes.molecules, probes.features)
    session = open_session(contents["model.onnx"])
    for name, frozen in compositions.items():
        part = contract.compositions[name]
        answers = session.run(None, inputs, run_options(bundle / part.file))[0]
        expected = Reference(frozen).answer(probes.molecules, probes.features)
        np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)
        assert part.largest_error <= contract.parity.allowed
        assert part.merged_error <= max(1e-5, 2 * contract.parity.float32_error)


def test_one_session_switches_and_forgets_nothing(bundle):
    contract, contents = read_bundle_files(bundle)
    probes = Probes(contract.feature_blocks, ("CCO", "c1ccccc1"))
    inputs = inputs_for(contract.reads, probes.molecules, probes.features)
    session = open_session(contents["model.onnx"])
    options = [run_options(bundle / part.file) for part in contract.compositions.values()]
    first, second = (session.run(None, inputs, each)[0] for each in options)
    assert not np.allclose(first, second)
    for _ in range(3):
        assert np.array_equal(session.run(None, inputs, options[0])[0], first)
        assert np.array_equal(session.run(None, inputs, options[1])[0], second)


def test_without_a_composition_there_is_no_answer(bundle):
    contract, contents = read_bundle_files(bundle)
    probes = Probes(contract.feature_blocks, ("CCO",))
    inputs = inputs_for(contract.reads, probes.molecules, probes.features)
    assert np.isnan(open_session(contents["model.onnx"]).run(None, inputs)[0]).all()


@pytest.mark.parametrize("alike", [False, True])
def test_every_composition_answers_by_its_own_table(compositions, tiny_run, tmp_path, alike):
    """Tables that differ lie in the adapter files, equal ones in the model."""
    maps = {}
    for place, name in enumerate(compositions):
        shift = 0.0 if alike else place
        table = Calibration(
            method="isotonic",
            logits=(-1.0 - shift, 0.0, 0.5),
            probabilities=(0.1, 0.2 + shift / 4, 0.9),
            cells=200,
            before=0.2,
            after=0.1,
        )
        maps[name] = {"aromatic": table}
    calibrated = copy.deepcopy(compositions)
    for name, frozen in calibrated.items():
        calibrate(frozen, maps[name])
    blocks = Run.open(tiny_run).inputs.blocks
    found = write_adapter_bundle(
        calibrated,
        tmp_path / "b",
        feature_blocks=blocks,
        own={name: OwnAnswers(calibration=each) for name, each in maps.items()},
        plan=QUICK,
    )
    assert {name: part.calibration for name, part in found.compositions.items()} == maps
    assert verify_bundle(tmp_path / "b", QUICK).largest_error <= found.parity.allowed
    bound = max(TOLERANCE, 2 * found.parity.float32_error)
    assert all(part.merged_error <= bound for part in found.compositions.values())
    _, contents = read_bundle_files(tmp_path / "b")
    opened = {value.name for value in onnx.load_from_string(contents["model.onnx"]).graph.input}
    assert any(name.startswith("calibration.") for name in opened) == (not alike)
    probes = Probes(found.feature_blocks, ("CCO",))
    inputs = inputs_for(found.reads, probes.molecules, probes.features)
    session = open_session(contents["model.onnx"])
    assert np.isnan(session.run(None, inputs)[0]).all()


def test_every_composition_says_how_typical_a_molecule_is(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_measures, "FEWEST_MOLECULES", 10)
    run, folder = Run.open(tiny_run), tmp_path / "b"
    names = [task.name for task in run.inputs.tasks]
    mixes = {"all": uniform_composition(names, names), "one": single_task("greasy", names)}
    found = export_compositions(run, folder, mixes, tasks=["potency"], plan=QUICK, shown=False)
    rows = run.dataset.rows("train")
    assert found.outputs == ("answers", "applicability")
    assert found.applicability.measure == "none"
    assert [each.molecules for each in found.applicabilities] == [len(rows)] * 2
    assert verify_bundle(folder, QUICK).largest_error <= found.parity.allowed
    smiles = [run.dataset.store.smiles(int(row)) for row in rows]
    with Predictor(folder) as predictor:
        figures = [predictor.predict(smiles, composition=mix).applicability for mix in mixes]
    for figure in figures:
        assert ((figure >= 0) & (figure <= 1)).all()
        assert figure.mean() == pytest.approx(0.5, abs=0.05)
    assert not np.allclose(figures[0], figures[1])


def test_what_differs_from_its_merged_form_is_not_written(
    compositions, tiny_run, tmp_path, monkeypatch
):
    blocks = Run.open(tiny_run).inputs.blocks
    monkeypatch.setattr(adapter_bundle, "_merged_error", lambda *_: 1.0)
    with pytest.raises(BundleError, match=r"'all' differs from its merged form by 1\.00e\+00"):
        write_adapter_bundle(compositions, tmp_path / "b", feature_blocks=blocks, plan=QUICK)
    assert not list(tmp_path.iterdir())


def test_selection_makes_the_file_smaller(bundle, compositions):
    contract = read_contract(bundle)
    everything, one = contract.compositions.values()
    assert len(one.kept["convolutions.1.expand"]) == 1
    # at this one site an adapter of rank 2 has 2 * (16 + 32) numbers
    kept = len(everything.kept["convolutions.1.expand"])
    assert everything.parameters - one.parameters == (kept - 1) * 2 * (16 + 32)
    assert contract.files[one.file].size < contract.files[everything.file].size


def test_the_bundle_is_verified_with_each_composition(bundle):
    found = verify_bundle(bundle, QUICK)
    assert found.runs == 2 * 2 * 2
    assert {"composition all", "composition one adapter"} <= set(found.checks)


def test_what_is_verified_is_what_was_hashed(bundle, tmp_path, monkeypatch):
    """Adapter files that are swapped after they were hashed are not read again."""
    folder = tmp_path / "b"
    shutil.copytree(bundle, folder)

    def read_then_spoil(place):
        found = read_bundle_files(place)
        for path in place.glob("*.onnx_adapter"):
            path.write_bytes(b"something else by now")
        return found

    monkeypatch.setattr(verify, "read_bundle_files", read_then_spoil)
    assert verify_bundle(folder, QUICK).runs


def test_an_adapter_file_that_is_cut_short_or_gone_is_named(bundle, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(bundle, folder)
    path = folder / "1.onnx_adapter"
    path.write_bytes(path.read_bytes()[:-1])
    for check in (verify_bundle, Predictor):
        with pytest.raises(BundleError, match=r"1\.onnx_adapter has [\d,]+ bytes where"):
            check(folder)
    path.unlink()
    for check in (verify_bundle, Predictor):
        with pytest.raises(BundleError, match=r"1\.onnx_adapter is missing"):
            check(folder)


def test_a_file_that_does_not_fit_is_refused(bundle, tmp_path):
    contract, contents = read_bundle_files(bundle)
    proto = onnx.load_from_string(contents["model.onnx"])
    part = contract.compositions["all"]
    check_adapter_file(bundle / part.file, proto, part)
    with pytest.raises(BundleError, match="numbers, the contract states 7"):
        check_adapter_file(bundle / part.file, proto, replace(part, parameters=7))
    other = tmp_path / "other.onnx_adapter"
    write_adapter_file(other, {"no.such": np.ones((2, 2), np.float32)})
    with pytest.raises(BundleError, match=r"holds no\.such; the model leaves open backbone"):
        check_adapter_file(other, proto, part)
    other.write_bytes(b"no adapter at all")
    with pytest.raises(BundleError, match="is no ONNX Runtime adapter file"):
        run_options(other)


def test_a_swapped_file_is_found(bundle, tmp_path):
    """Both are intact and fit the model, but they answer for each other."""
    contract, contents = read_bundle_files(bundle)
    first, second = contract.compositions.items()
    swapped = {
        first[0]: replace(first[1], file=second[1].file, parameters=second[1].parameters),
        second[0]: replace(second[1], file=first[1].file, parameters=first[1].parameters),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert contract.files[name] == FileInfo.of(content)
    text = replace(contract, compositions=swapped).to_text()
    (tmp_path / CONTRACT_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"off by .* of their scale on this machine"):
        verify_bundle(tmp_path, QUICK)


def test_without_adapters_inside_there_is_nothing_to_switch(compositions):
    plain = dict(compositions)
    first = plain["all"]
    held, first.corrections = first.corrections, {}
    try:
        with pytest.raises(ConfigError, match="every composition answers alike; export the merged"):
            open_model(plain, Probes())
    finally:
        first.corrections = held


@pytest.mark.parametrize("norms_move", [False, True])
@pytest.mark.parametrize(
    ("kind", "site", "settings"),
    [
        ("gin-virtual-node", "convolutions.1.contract", {}),
        ("gin-virtual-node", "virtual_node.updates.0.expand", {}),
        ("gin", "convolutions.2.contract", {"jumping_knowledge": "sum", "pooling": "sum"}),
        ("gcn", "convolutions.0.update", {}),
        ("neural-fingerprint", "readouts.1", {}),
        ("neural-fingerprint", "project", {}),
    ],
)
def test_factors_beside_the_weights_answer_like_merged_weights(
    make_backbone, make_frozen, molecules, kind, site, settings, norms_move
):
    frozen = make_frozen(make_backbone(kind, **settings)).double()
    layer = frozen.backbone.get_submodule(site)
    down = torch.randn(layer.in_features, 3, dtype=torch.float64)
    up = torch.randn(3, layer.out_features, dtype=torch.float64)
    opened = restate(
        frozen, torch.float64, maps=OpenMaps({layer: (down, up)}, norms_move=norms_move)
    )
    arrays = collate(molecules)
    inputs = {name: torch.from_numpy(arrays[name]) for name in opened.reads}
    inputs = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
    (answers,) = opened(inputs)
    layer.weight += (down @ up).T
    (expected,) = restate(frozen, torch.float64)(inputs)
    torch.testing.assert_close(answers, expected, rtol=1e-10, atol=1e-12)


def test_freezing_keeps_what_it_added(tiny_run):
    model = Run.open(tiny_run).model
    frozen = freeze(model, selection=Selection(top_m=2))
    correction = frozen.corrections["convolutions.1.expand"]
    layer = frozen.backbone.get_submodule("convolutions.1.expand")
    assert correction.down.shape == (16, 2 * 2)
    torch.testing.assert_close(
        layer.weight, correction.weight + (correction.down @ correction.up).T
    )
