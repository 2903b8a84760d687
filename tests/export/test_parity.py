"""Exported files against the frozen model in float64, over and over."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError, ConfigError
from graphadapt.export import parity, repeated_runs
from graphadapt.export.parity import prove_parity
from graphadapt.export.parity_record import TOLERANCE
from graphadapt.export.probes import PROBES, Probes
from graphadapt.export.repeated_runs import BATCH_SIZES, ParityPlan, opener, thread_counts
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.process_map import available_cores


@pytest.mark.parametrize(
    ("exported", "repeats"),
    [
        ("gin-virtual-node", 200),
        ("gcn-virtual-node", 200),
        ("neural-fingerprint", 200),
        ("none", 200),
    ],
    indirect=["exported"],
)
def test_every_answer_at_every_size_and_number_of_threads(exported, repeats):
    probes = Probes(exported.blocks)
    plan = ParityPlan(repeats=repeats)
    open_file = opener(exported.model, exported.plain.outputs)
    found, truth = prove_parity(exported.frozen, open_file, exported.plain.reads, probes, plan)
    expected = parity.Reference(exported.frozen).answer(probes.molecules, probes.features)
    assert np.array_equal(truth.answers, expected)
    assert found.largest_error <= TOLERANCE == 1e-5
    assert (found.repeats, found.batch_sizes) == (repeats, (1, 16, 32, 64, 256))
    assert found.threads == tuple(sorted({1, 2, available_cores()}))
    assert found.molecules == len(PROBES)


def test_another_model_is_found_out(exported):
    other = exported.frozen.__class__(
        exported.frozen.backbone,
        exported.frozen.features,
        torch.nn.Linear(exported.frozen.head.in_features, 2),
        tasks=exported.frozen.tasks,
        composition={},
        kept={},
    )
    plan = ParityPlan(repeats=1, batch_sizes=(1, 16), threads=(1,))
    with pytest.raises(BundleError, match=r"off by .* of the answers' scale, more than"):
        prove_parity(
            other,
            opener(exported.model, exported.plain.outputs),
            exported.plain.reads,
            Probes(exported.blocks),
            plan,
        )


LARGE = np.array([len(each.atoms) > 64 for each in Probes().molecules])

TRUTH = np.where(LARGE, 2, np.linspace(1, 2, len(PROBES)))[:, None]


MODEL = SimpleNamespace(tasks=(TaskInfo("potency", "regression", "log10(mol/L)"),))


NOTHING = opener(b"", ("answers",))


class Session:
    """Answers with the truth, but wrongly once, as a race does."""

    def __init__(self, wrong):
        self.wrong, self.calls = wrong, 0

    def run(self, _, inputs, __):
        self.calls += 1
        answers = TRUTH[inputs["rows"]].astype(np.float32)
        if self.calls == 37 and self.wrong is not None:
            answers[0, 0] = self.wrong
        return [answers]


class Reference:
    """Of a model that float32 puts off by a share of its scale."""

    float32_error = 0.0

    def __init__(self, frozen, dtype=torch.float64):
        self.shift = 0.0 if dtype == torch.float64 else self.float32_error * TRUTH.max()

    def answer(self, *_):
        return TRUTH + self.shift


@pytest.fixture
def stand_ins(monkeypatch):
    """Put sessions that go wrong at their 37th call in place of ONNX Runtime's."""

    def put(wrong):
        monkeypatch.setattr(repeated_runs, "open_session", lambda *_: Session(wrong))
        monkeypatch.setattr(parity, "Reference", Reference)
        monkeypatch.setattr(
            repeated_runs, "inputs_for", lambda reads, rows, features, merge: {"rows": rows}
        )
        monkeypatch.setattr(Probes, "take", lambda self, rows: (rows, None))

    return put


@pytest.mark.parametrize("wrong", [1.5, np.nan, np.inf])
def test_one_wrong_answer_in_many_runs_is_enough(stand_ins, wrong):
    stand_ins(wrong)
    plan = ParityPlan(repeats=20, batch_sizes=(1, 2), threads=(1,))
    with pytest.raises(BundleError, match=r"off by|are no finite numbers"):
        prove_parity(MODEL, NOTHING, (), Probes(), plan)
    assert (
        prove_parity(MODEL, NOTHING, (), Probes(), replace(plan, repeats=18))[0].largest_error
        < 1e-6
    )


def test_no_more_is_asked_than_float32_can_give(stand_ins, monkeypatch):
    stand_ins(3.0)
    plan = ParityPlan(repeats=20, batch_sizes=(1, 2), threads=(1,))
    monkeypatch.setattr(Reference, "float32_error", 0.3)
    with pytest.raises(BundleError, match=r"more than 6\.0e-01, twice what PyTorch itself is off"):
        prove_parity(MODEL, NOTHING, (), Probes(), plan)
    monkeypatch.setattr(Reference, "float32_error", 0.6)
    found = prove_parity(MODEL, NOTHING, (), Probes(), plan)[0]
    assert 0.5 < found.largest_error < 1.2
    assert found.float32_error == pytest.approx(0.6)


def test_a_lower_precision_has_its_own_tolerance_and_may_be_forced_beyond_it(stand_ins):
    stand_ins(1.5 * 1.04)
    plan = ParityPlan(repeats=20, batch_sizes=(1, 2), threads=(1,))

    def proven(precision, *, force):
        return prove_parity(MODEL, NOTHING, (), Probes(), plan, precision=precision, force=force)[0]

    close = proven("int8", force=False)
    assert (close.tolerance, close.holds) == (1.0, True)
    with pytest.raises(BundleError, match=r"in fp32 .* more than 1e-05, so nothing was written; a"):
        proven("fp32", force=True)
    with pytest.raises(
        BundleError, match=r"in fp16 is off by .*, more than 0\.05, .*; take fp32, or --force"
    ):
        proven("fp16", force=False)
    far = proven("fp16", force=True)
    assert (far.tolerance, far.holds) == (0.05, False)
    assert 0.05 < far.largest_error < 1


def test_no_force_lets_pass_what_is_no_number(stand_ins):
    stand_ins(np.nan)
    plan = ParityPlan(repeats=20, batch_sizes=(1, 2), threads=(1,))
    with pytest.raises(BundleError, match=r"in fp16 are no finite numbers, .* take fp32$"):
        prove_parity(MODEL, NOTHING, (), Probes(), plan, precision="fp16", force=True)


@pytest.mark.parametrize(
    "wrong", [{"repeats": 0}, {"batch_sizes": ()}, {"batch_sizes": (0,)}, {"threads": (0, 1)}]
)
def test_a_plan_that_compares_nothing_is_refused(wrong):
    with pytest.raises(ConfigError, match="compare nothing; use at least one of each"):
        ParityPlan(**wrong)


def test_answers_in_the_same_units_share_a_scale():
    tasks = [
        TaskInfo("a", "regression", "nM"),
        TaskInfo("b", "binary"),
        TaskInfo("c", "regression", "nM"),
        TaskInfo("d", "regression", "K"),
    ]
    truth = np.array([[1.0, 0.5, -4.0, 0.0], [-2.0, 0.25, 1.0, 0.0], [90.0, 1e-9, 0.0, 0.0]])
    # a and c share theirs; the molecule of 65 atoms has the largest of all, not its own
    assert repeated_runs._scales(tasks, truth, [64, 1, 65]).tolist() == [
        [4.0, 0.5, 4.0, 1.0],
        [4.0, 0.5, 4.0, 1.0],
        [90.0, 0.5, 90.0, 1.0],
    ]


def test_a_huge_answer_excuses_no_other(stand_ins, monkeypatch):
    """Large molecules answer a million, another one is off by a hundredth of its answer."""
    truth = np.where(LARGE[:, None], 1e6, TRUTH)
    monkeypatch.setattr(sys.modules[__name__], "TRUTH", truth)
    plan = ParityPlan(repeats=20, batch_sizes=(1, 2), threads=(1,))
    stand_ins(None)
    assert prove_parity(MODEL, NOTHING, (), Probes(), plan)[0].largest_error < 1e-6
    stand_ins(1.01 * 1.5)
    with pytest.raises(BundleError, match="off by"):
        prove_parity(MODEL, NOTHING, (), Probes(), plan)


def test_what_float32_loses_is_taken_over_several_numberings(stand_ins, monkeypatch):
    """A model whose answers depend on the order of the atoms, as rounding makes them."""
    stand_ins(None)
    seen = []

    def answer(self, molecules, _):
        seen.append([tuple(map(tuple, each.atoms)) for each in molecules])
        return TRUTH * (1 + 0.01 * (self.shift > 0) * (len(seen) == 5))

    monkeypatch.setattr(Reference, "answer", answer)
    monkeypatch.setattr(Reference, "float32_error", 0.1)
    found = prove_parity(MODEL, NOTHING, (), Probes(), ParityPlan(repeats=1, threads=(1,)))[0]
    assert found.float32_error == pytest.approx(0.01)
    assert len(seen) == 9
    assert [sorted(atoms) for atoms in seen[-1]] == [sorted(atoms) for atoms in seen[0]]
    assert seen[-1] != seen[0]


def test_renumbering_changes_no_answer(exported):
    reference, probes = parity.Reference(exported.frozen), Probes(exported.blocks)
    expected = reference.answer(probes.molecules, probes.features)
    again = reference.answer(probes.renumbered(np.random.default_rng(0)), probes.features)
    np.testing.assert_allclose(again, expected, rtol=1e-9, atol=1e-12)


def test_all_sizes_are_tried_by_default():
    assert BATCH_SIZES == (1, 16, 32, 64, 256)
    assert set(thread_counts()) >= {1, 2}


def test_own_columns_are_filled():
    blocks = (FeatureBlock(kind="counts", size=16), FeatureBlock(kind="columns", columns=("a",)))
    features = Probes(blocks).features
    assert features.shape == (len(PROBES), 17)
    assert features.dtype == np.float32
    assert len(np.unique(features[:, 16])) == len(PROBES)
