"""The isotonic map in the network: NumPy's interpolation, the sigmoid elsewhere, in every form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.data.store import TaskInfo
from graphadapt.export.bundle import BundleNotes, write_bundle
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.calibration import calibrate, fit_calibration
from graphadapt.export.collate import inputs_for
from graphadapt.export.contract_parts import Calibration
from graphadapt.export.isotonic import KNOTS
from graphadapt.export.parity_record import TOLERANCE
from graphadapt.export.probability_table import ProbabilityTable
from graphadapt.export.probes import Probes
from graphadapt.export.reference import Reference
from graphadapt.export.repeated_runs import ParityPlan, opener, share_off, truth_of
from graphadapt.export.rounding import TOLERANCES, round_model
from graphadapt.export.verify import verify_bundle
from graphadapt.serve.predictor import Predictor

TASKS = (TaskInfo("a", "binary"), TaskInfo("b", "binary"), TaskInfo("c", "binary"))


def isotonic(logits, probabilities):
    parts = {"logits": tuple(logits), "probabilities": tuple(probabilities)}
    return Calibration(method="isotonic", cells=200, before=0.2, after=0.1, **parts)


A = isotonic((-2.0, -1.5, 0.5, 3.0), (0.01, 0.2, 0.25, 0.99))
B = isotonic((0.25,), (0.4,))


def answered(calibration, logits):
    return ProbabilityTable(TASKS, calibration).double()(torch.as_tensor(logits)).numpy()


def test_between_knots_it_is_linear_and_beyond_them_level():
    logits = np.random.default_rng(0).normal(size=(500, 3)) * 3
    found = answered({"a": A, "b": B}, logits)
    np.testing.assert_allclose(
        found[:, 0], np.interp(logits[:, 0], A.logits, A.probabilities), atol=1e-6
    )
    np.testing.assert_allclose(found[:, 1], 0.4, rtol=1e-6)
    np.testing.assert_allclose(found[:, 2], 1 / (1 + np.exp(-logits[:, 2])), rtol=1e-12)


def test_a_temperature_leaves_the_sigmoid():
    part = Calibration(temperature=2.0, cells=9, before=0.2, after=0.1)
    logits = torch.randn(5, 3, dtype=torch.float64)
    np.testing.assert_allclose(answered({"a": part}, logits), logits.sigmoid(), rtol=1e-12)


def test_what_is_no_number_is_answered_by_none():
    logits = np.array([[np.nan] * 3, [np.inf] * 3, [-np.inf] * 3])
    found = answered({"a": A, "b": B}, logits)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], [0.99, 0.4, 1.0], rtol=1e-6)
    np.testing.assert_allclose(found[2], [0.01, 0.4, 0.0], atol=1e-7)


@given(st.integers(0, 2**31 - 1), st.integers(1, KNOTS))
def test_a_larger_logit_has_no_smaller_probability(seed, knots):
    random = np.random.default_rng(seed)
    place = np.cumsum(random.uniform(0.05, 1, knots)) - 3
    share = np.sort(random.uniform(0.001, 0.999, knots))
    table = ProbabilityTable(TASKS[:1], {"a": isotonic(place, share)})
    logits = torch.linspace(-4, float(place[-1]) + 1, 300).unsqueeze(1)
    found = table(logits)[:, 0]
    assert (found.diff() >= -1e-6).all()
    expected = np.interp(logits[:, 0].double(), place, share)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_gradients_are_those_of_the_ramps():
    table = ProbabilityTable(TASKS, {"a": A}).double()
    logits = torch.tensor([[-1.75, 0.0, 0.0], [1.75, 0.0, 0.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(table, logits.requires_grad_())


@pytest.mark.parametrize("calibration", [{}, {"b": B}, {"a": A, "b": B, "c": A}])
def test_every_table_has_one_shape(calibration):
    shapes = {
        name: tensor.shape
        for name, tensor in ProbabilityTable(TASKS, calibration).state_dict().items()
    }
    assert shapes["left"] == shapes["slope"] == shapes["rise"] == (3, KNOTS - 1)
    assert shapes["lowest"] == shapes["sigmoid_share"] == (3,)


QUICK = ParityPlan(repeats=2, batch_sizes=(1, 16), threads=(1,))


@pytest.fixture(scope="module")
def fitted(make_backbone, make_frozen):
    """A network of three binary tasks and a number, two of them with tables of its own logits."""
    torch.manual_seed(0)
    kinds = ("binary", "binary", "regression", "binary")
    frozen = make_frozen(make_backbone("gin", width=8, layers=2), kinds=kinds)
    probes, random = Probes(), np.random.default_rng(0)
    answers = Reference(frozen).answer(probes.molecules)
    shares = answers.clip(1e-9, 1 - 1e-9)
    logits = np.log(shares / (1 - shares))
    rows = random.integers(0, len(logits), 600)
    labels = (random.uniform(size=(600, 4)) < shares[rows] ** 2).astype(np.float64)
    labels[:, [2, 3]] = np.nan
    found = fit_calibration(frozen.tasks, logits[rows], labels, "isotonic")
    assert set(found) == {"task0", "task1"}
    calibrate(frozen, found)
    return frozen, found


@pytest.fixture(params=["merged", "padded"])
def written(request, fitted, tmp_path):
    frozen, found = fitted
    notes = BundleNotes(calibration=found)
    contract = write_bundle(frozen, tmp_path / "b", form=request.param, notes=notes, plan=QUICK)
    return tmp_path / "b", contract


def test_a_bundle_answers_by_its_tables(written, fitted):
    folder, contract = written
    frozen, found = fitted
    assert contract.calibration == found
    assert contract.parity.largest_error <= TOLERANCE
    assert verify_bundle(folder, QUICK).largest_error <= TOLERANCE
    smiles = ["CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O"]
    answers = Predictor(folder, threads=1).predict(smiles).values
    probes = Probes((), tuple(smiles))
    frozen.calibration, held = None, frozen.calibration
    try:
        bare = Reference(frozen).answer(probes.molecules)
    finally:
        frozen.calibration = held
    for column, name in enumerate(("task0", "task1")):
        logit = np.log(bare[:, column] / (1 - bare[:, column]))
        expected = np.interp(logit, found[name].logits, found[name].probabilities)
        np.testing.assert_allclose(answers[:, column], expected, atol=1e-5)
    np.testing.assert_allclose(answers[:, 2:], bare[:, 2:], rtol=1e-4, atol=1e-6)


def test_lower_precisions_hold_it_too(written, fitted):
    folder, contract = written
    _, contents = read_bundle_files(folder)
    probes = Probes()
    inputs = inputs_for(contract.reads, probes.molecules)
    truth = Reference(fitted[0]).answer(probes.molecules)
    model = round_model(contents["model.onnx"], "fp16", [])
    found = opener(model, contract.outputs)(1)(inputs)
    assert share_off(found, *truth_of(contract.tasks, truth, probes)) <= TOLERANCES["fp16"]
