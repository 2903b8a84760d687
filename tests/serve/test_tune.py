"""Tuning takes what is clearly faster, and nothing that answers otherwise."""

from dataclasses import replace

import numpy as np
import pytest

from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.serve import tune as module
from graphadapt.serve.bundle_reader import read_bundle
from graphadapt.serve.predictor import Predictor
from graphadapt.serve.tune import TuningPlan, sample_of, tune
from graphadapt.serve.tuning import default_tuning

PLAN = TuningPlan(blocks=2, singles=2, together=8)


class Slow(Predictor):
    """Takes as long as its settings say, without any waiting."""

    clock = 0.0
    wrong = "none"

    def answer(self, molecules, features_GM=None, *, composition=None):
        many, one = self.tuning.many, self.tuning.one
        settings = one if len(molecules) == 1 else many
        seconds = 1.0 if settings.arena else 0.98
        seconds *= {"all": 1.0, "extended": 0.5, "basic": 0.2}[settings.optimisation]
        seconds *= 8.0 if self.tuning.atoms_per_run < 1000 else 1.0
        seconds /= settings.threads * (self.threads if settings is many else 1)
        Slow.clock += seconds * len(molecules)
        values = np.ones((len(molecules), 1), np.float32)
        return values + (1e-3 if settings.optimisation == self.wrong else 0)


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(module, "Predictor", Slow)
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    monkeypatch.setattr(module.time, "perf_counter", lambda: Slow.clock)
    monkeypatch.setattr(Slow, "wrong", "none")
    return Slow


def test_the_fastest_values_are_taken(make_bundle, slow):
    bundle = read_bundle(make_bundle())
    tuning, trials = tune(bundle, sample_of(bundle.contract, ["CCO", "C"], 8), PLAN)
    assert tuning.one.threads == 2
    assert tuning.one.optimisation == tuning.many.optimisation == "basic"
    assert tuning.one.arena, "two percent are not clearly faster"
    assert tuning.atoms_per_run == 1024
    steps = list(dict.fromkeys((each.answers, each.setting) for each in trials))
    assert len(steps) == 7
    for step in steps:
        taken = [each for each in trials if (each.answers, each.setting) == step and each.taken]
        assert len(taken) == 1


def test_what_answers_otherwise_is_not_taken(make_bundle, slow, monkeypatch):
    monkeypatch.setattr(Slow, "wrong", "basic")
    bundle = read_bundle(make_bundle())
    tuning, trials = tune(bundle, sample_of(bundle.contract, ["CCO"], 8), PLAN)
    assert tuning.one.optimisation == tuning.many.optimisation == "extended"
    (basic,) = [each for each in trials if (each.answers, each.value) == ("one", "basic")]
    assert basic.difference == pytest.approx(1e-3, rel=1e-3)


def test_the_settings_before_stay_where_nothing_answers_as_they_did(make_bundle, slow, monkeypatch):
    monkeypatch.setattr(module, "_off", lambda *_: 1.0)
    bundle = read_bundle(make_bundle())
    default = replace(default_tuning(bundle.contract), workers=2)
    monkeypatch.setattr(module, "default_tuning", lambda _: default)
    assert tune(bundle, sample_of(bundle.contract, ["CCO"], 8), PLAN)[0] == default


def test_a_real_bundle_answers_alike_however_it_is_tuned(make_bundle):
    bundle = read_bundle(make_bundle(divisor=3.0))
    tuning, trials = tune(bundle, sample_of(bundle.contract, ["CCO", "c1ccccc1"], 8), PLAN)
    assert all(each.difference <= 1e-6 for each in trials)
    assert all(each.milliseconds > 0 for each in trials)
    smiles = ["C" * size for size in range(1, 40)]
    np.testing.assert_allclose(
        Predictor(bundle, tuning=tuning).predict(smiles).values,
        Predictor(bundle, tuning=default_tuning(bundle.contract)).predict(smiles).values,
        rtol=1e-6,
    )


def test_samples_repeat_what_can_be_read_and_fill_columns():
    blocks = (
        FeatureBlock(kind="counts", size=16),
        FeatureBlock(kind="columns", columns=("pH",)),
    )
    contract = type("Contract", (), {"feature_blocks": blocks, "own_columns": ("pH",)})
    sample = sample_of(contract, ["CCO", "?", "C"], 5)
    assert [len(each.atoms) for each in sample.molecules] == [3, 1, 3, 1, 3]
    assert sample.features.shape == (5, 17)
    assert sample.features[0, -1] == sample.features[2, -1] != 0
    with pytest.raises(DataError, match="none of 1 molecules can be read"):
        sample_of(contract, ["?"], 5)


def test_a_plan_that_times_nothing_is_refused():
    with pytest.raises(ConfigError, match="times nothing"):
        TuningPlan(blocks=0)
