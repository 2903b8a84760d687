"""A trained network answers alike in every form, through free shapes and through buckets."""

from dataclasses import replace

import numpy as np
import pytest

from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.serve.device_runs import DeviceRuns
from graphadapt.serve.predictor import Predictor

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C",
    "[Na+].[Cl-]",
    "CN1CCC[C@H]1c1cccnc1",
    "FS(F)(F)(F)(F)F",
    "not a molecule",
    "C" * 40,
    "C" * 150,
    *["C" * (1 + place % 20) + "O" for place in range(60)],
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """The same random network, merged and padded."""
    torch = pytest.importorskip("torch")
    from graphadapt.backbone.factory import build_backbone
    from graphadapt.config import BackboneConfig
    from graphadapt.data.store import TaskInfo
    from graphadapt.export.bundle import write_bundle
    from graphadapt.export.repeated_runs import ParityPlan
    from graphadapt.freeze import FrozenModel

    torch.manual_seed(0)
    backbone = build_backbone(
        BackboneConfig(kind="gin-virtual-node", width=16, layers=2, message_passing="tensor")
    )
    tasks = (TaskInfo("toxic", "binary"), TaskInfo("pKi", "regression", "log10(mol/L)"))
    frozen = FrozenModel(
        backbone.eval(),
        None,
        torch.nn.Linear(backbone.width, 2),
        tasks=tasks,
        composition={"toxic": 0.5, "pKi": 0.5},
        kept={},
    )
    folder = tmp_path_factory.mktemp("forms")
    plan = ParityPlan(repeats=1, batch_sizes=(1, 16), threads=(1,))
    for form in ("merged", "padded"):
        write_bundle(frozen, folder / form, form=form, plan=plan)
    return folder


@pytest.fixture(scope="module")
def merged(bundles):
    return Predictor(bundles / "merged").predict(SMILES)


def same(found, expected):
    assert found.failures == expected.failures
    assert list(found.failures) == [SMILES.index("not a molecule")]
    scale = np.nanmax(np.abs(expected.values), axis=0)
    np.testing.assert_allclose(found.values / scale, expected.values / scale, atol=1e-5)


def test_padded_answers_are_those_of_the_merged_form(bundles, merged):
    same(Predictor(bundles / "padded", threads=2, atoms_per_run=300).predict(SMILES), merged)


def test_buckets_of_a_device_answer_alike(bundles, merged):
    predictor = Predictor(bundles / "padded")
    engine = predictor._engine
    engine._device = DeviceRuns(engine._many, predictor.contract.outputs, (2,))
    predictor._arranger = replace(predictor._arranger, keeps_shapes=True)
    for _ in range(2):
        same(predictor.predict(SMILES), merged)
    shapes = len(engine._device.register)
    assert shapes <= 8
    alone = predictor.answer([featurise_smiles("CCO")])
    np.testing.assert_allclose(alone, Predictor(bundles / "merged").predict(["CCO"]).values, 1e-4)
    assert len(engine._device.register) == shapes + 1, "one molecule has a small shape of its own"
