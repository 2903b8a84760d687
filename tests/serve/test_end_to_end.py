"""From SMILES to answers with every form and precision of one trained run.

What is right is the frozen network in float64, by its own message passing; how far a bundle may be
off is what its contract states. Probabilities count as shares of 1, values as shares of the
largest.
"""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from graphadapt.export.contract import read_contract
from graphadapt.export.reference import Reference
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.run_bundle import ExportOptions, export_compositions, export_run
from graphadapt.molecules.chunk import featurise_one
from graphadapt.molecules.outcome import feature_table
from graphadapt.report.freeze_gap import freeze_run
from graphadapt.routing.composition import single_task, uniform_composition
from graphadapt.run import Run
from graphadapt.serve.device_runs import DeviceRuns
from graphadapt.serve.predictor import Predictor
from graphadapt.serve.predictors import Predictors

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C",
    "not a molecule",
    "CN1CCC[C@H]1c1cccnc1",
    "",
    "c1ccc2c(c1)ccc1c2ccc2ccccc21",
    "FS(F)(F)(F)(F)F",
    "[Na+].[Cl-]",
    "C" * 40,
    "C" * 150,
    *["C" * (1 + place % 20) + "ONF"[place // 20] for place in range(60)],
    "C[C@H](N)C(=O)N1CCC[C@H]1C(=O)O",
]
WRONG = {2, 4}
SOUND = [row for row in range(len(SMILES)) if row not in WRONG]

QUICK = ParityPlan(repeats=1, batch_sizes=(1, 16), threads=(1,))
KINDS = {
    "fp32": ExportOptions(),
    "fp16": ExportOptions(precision="fp16", force=True),
    "int8": ExportOptions(precision="int8", force=True),
    "padded": ExportOptions(form="padded"),
    "padded fp16": ExportOptions(form="padded", precision="fp16", force=True),
}


@pytest.fixture(scope="module")
def run(tiny_run):
    return Run.open(tiny_run)


@pytest.fixture(scope="module")
def molecules(run):
    return [featurise_one(SMILES[row], run.inputs.blocks) for row in SOUND]


@pytest.fixture(scope="module", params=KINDS)
def exported(request, run, molecules, tmp_path_factory):
    """A bundle and what it should answer to the sound molecules."""
    folder = tmp_path_factory.mktemp("kinds") / "bundle"
    options = KINDS[request.param]
    contract, frozen = export_run(run, folder, options=options, plan=QUICK, shown=False)
    assert (contract.form, contract.precision.name) == (options.form, options.precision)
    return folder, reference(frozen, molecules)


@pytest.fixture(scope="module")
def compositions(run, molecules, tmp_path_factory):
    """A bundle of the adapters form, and what each composition should answer."""
    folder = tmp_path_factory.mktemp("compositions") / "bundle"
    names = [task.name for task in run.inputs.tasks]
    mixes = {"all": uniform_composition(names, names), "one": single_task("greasy", names)}
    options = ExportOptions(form="adapters", calibrate="none")
    export_compositions(run, folder, mixes, options=options, plan=QUICK, shown=False)
    frozen = {name: freeze_run(run, composition_T=mix) for name, mix in mixes.items()}
    return folder, {name: reference(each, molecules) for name, each in frozen.items()}


def reference(frozen, molecules):
    return Reference(frozen).answer([each.arrays for each in molecules], feature_table(molecules))


def share_off(found, contract, expected):
    """The largest of any answer, in the scale of the contract's own figure."""
    answers = found.values[SOUND]
    assert np.isfinite(answers).all()
    binary = np.array([task.kind == "binary" for task in contract.tasks])
    expected = expected[:, : len(binary)]
    scale = np.where(binary, 1.0, np.abs(expected).max(axis=0))
    return (np.abs(answers - expected) / scale).max()


def fails_alone(found):
    assert found.failures.keys() == WRONG
    assert np.isnan(found.values[sorted(WRONG)]).all()
    assert "is not SMILES" in found.failures[2]
    assert "holds no molecule" in found.failures[4]


def test_smiles_are_answered_within_the_bound_that_is_stated(exported):
    folder, expected = exported
    contract = read_contract(folder)
    with Predictor(folder) as predictor:
        found = predictor.predict(SMILES)
        assert share_off(found, contract, expected) <= contract.parity.allowed
        fails_alone(found)
        for row in (0, 1, 2):
            single = predictor.predict([SMILES[row]])
            np.testing.assert_allclose(
                single.values[0], found.values[row], atol=2 * contract.parity.allowed
            )
        assert predictor.predict(SMILES[2:3]).failures.keys() == {0}
    if found.applicability is not None:
        limit = max(1e-4, contract.parity.allowed)
        assert np.isnan(found.applicability[sorted(WRONG)]).all()
        np.testing.assert_allclose(found.applicability[SOUND], expected[:, -1], atol=limit)


def test_the_cache_and_other_threads_change_nothing_beyond_it(exported):
    folder, expected = exported
    contract = read_contract(folder)
    with Predictor(folder, threads=3, atoms_per_run=150, cache=1000) as predictor:
        for _ in range(2):
            found = predictor.predict(SMILES)
            assert share_off(found, contract, expected) <= contract.parity.allowed
            fails_alone(found)
        assert predictor.cache.counts.by_text == len(SOUND)


@pytest.mark.parametrize("exported", ["padded", "padded fp16"], indirect=True)
def test_buckets_of_a_device_answer_alike(exported, molecules):
    folder, expected = exported
    contract = read_contract(folder)
    with Predictor(folder) as predictor:
        register = as_on_a_device(predictor)
        for _ in range(2):
            found = predictor.predict(SMILES)
            assert share_off(found, contract, expected) <= contract.parity.allowed
            fails_alone(found)
        shapes = len(register)
        assert 1 < shapes <= 12
        single = predictor.predict(SMILES[:1]).values[0]
        np.testing.assert_allclose(single, found.values[0], atol=2 * contract.parity.allowed)
        assert len(register) <= shapes + 1
        (alone,) = predictor.arrange([molecules[0].arrays], feature_table(molecules[:1]))
        assert len(alone.inputs["padded_counts"]) == 1, "one molecule costs no full batch"


def as_on_a_device(predictor):
    """Fixed places and shapes, as a GPU would have them, on this machine's CPU."""
    engine = predictor._engine
    engine._device = DeviceRuns(engine._many, predictor.contract.outputs, engine._widths)
    predictor._arranger = replace(predictor._arranger, keeps_shapes=True)
    return engine._device.register


def test_every_composition_answers_within_the_bound_that_is_stated(compositions):
    folder, expected = compositions
    contract = read_contract(folder)
    with Predictor(folder, cache=1000) as predictor:
        assert predictor.compositions == ("all", "one")
        for name in ("all", "one", "all"):
            found = predictor.predict(SMILES, composition=name)
            assert share_off(found, contract, expected[name]) <= contract.parity.allowed
            fails_alone(found)
        first = predictor.predict(SMILES)
        np.testing.assert_array_equal(first.values, found.values)
    assert np.abs(expected["all"] - expected["one"]).max() > 100 * contract.parity.allowed


def test_forms_are_asked_together_and_each_molecule_is_read_once(compositions, run, molecules):
    folder, expected = compositions
    contract = read_contract(folder)
    with Predictors({"first": folder, "second": folder}, threads=2) as several:
        found = several.predict(SMILES, compositions={"second": "one"})
    for name, mix in (("first", "all"), ("second", "one")):
        assert share_off(found[name], contract, expected[mix]) <= contract.parity.allowed
        fails_alone(found[name])
