"""A tuning holds for one model on one machine; anything else is left aside with a word."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from graphadapt.errors import ConfigError
from graphadapt.export.contract import fingerprint
from graphadapt.export.session import CPU, CUDA, SessionSettings
from graphadapt.serve import engine
from graphadapt.serve import tuning as module
from graphadapt.serve.bundle_reader import read_bundle
from graphadapt.serve.predictor import Predictor
from graphadapt.serve.predictors import Predictors
from graphadapt.serve.provider_chain import Opened
from graphadapt.serve.tuning import (
    Tuning,
    check_keepable,
    default_tuning,
    machine,
    read_tuning,
    write_tuning,
)

TUNING = Tuning(
    one=SessionSettings(threads=2, arena=False),
    many=SessionSettings(optimisation="basic"),
    workers=3,
    atoms_per_run=77,
)


@pytest.fixture
def tuned(make_bundle):
    bundle = read_bundle(make_bundle())
    write_tuning(bundle, TUNING, [{"setting": "threads", "value": "2"}])
    return bundle


def test_what_was_written_is_read_and_used(tuned):
    assert read_tuning(tuned) == (TUNING, "")
    predictor = Predictor(tuned.folder)
    assert predictor.tuning == TUNING
    assert predictor.remarks == ()
    assert (predictor.threads, predictor.atoms_per_run) == (3, 77)
    assert predictor._engine._one.get_session_options().intra_op_num_threads == 2
    assert predictor._engine._many.get_session_options().intra_op_num_threads == 1
    assert predictor.predict(["CCO"] * 90).values.tolist() == [[3]] * 90


def test_what_the_caller_says_comes_first(tuned):
    predictor = Predictor(tuned, threads=2, atoms_per_run=5)
    assert (predictor.threads, predictor.atoms_per_run) == (2, 5)
    other = default_tuning(tuned.contract)
    assert Predictor(tuned, tuning=other).tuning == other
    assert Predictor(tuned, ["gpu"], tuning=TUNING).tuning == TUNING
    single = Predictor(tuned, threads=1)
    assert single._engine._one.get_session_options().intra_op_num_threads == 1


def test_what_was_asked_of_a_gpu_and_runs_on_the_cpu_runs_as_tuned(tuned):
    predictor = Predictor(tuned, ["gpu"])
    if not predictor._engine.on_cpu:
        pytest.skip("there is a GPU")
    assert predictor.tuning == TUNING
    assert predictor._engine._one.get_session_options().intra_op_num_threads == 2
    assert len(predictor.remarks) == 1, "the provider that does not serve"


def test_what_runs_on_a_gpu_is_not_tuned_for_the_cpu(tuned, monkeypatch):
    device = SimpleNamespace(get_providers=lambda: [CUDA, CPU])
    opened = Opened(device, (CUDA, CPU), ())
    monkeypatch.setattr(engine, "open_chain", lambda *_, **__: opened)
    (tuned.folder / "tuning.json").write_text("{")
    predictor = Predictor(tuned, ["cuda"])
    assert predictor.tuning == default_tuning(tuned.contract, on_cpu=False)
    assert predictor.remarks == ()


def test_bundles_that_share_threads_run_a_batch_on_each(tuned):
    wide = replace(TUNING, workers=1, many=SessionSettings(threads=3))
    write_tuning(tuned, wide, [])
    with Predictors({"a": tuned.folder}, threads=2) as predictors:
        assert predictors["a"].tuning.workers == 2
        assert predictors["a"].tuning.many.threads == 1


def test_a_bundle_without_a_tuning_has_the_default(make_bundle):
    bundle = read_bundle(make_bundle())
    assert read_tuning(bundle) == (None, "")
    assert Predictor(bundle).tuning == default_tuning(bundle.contract)


def test_another_model_or_machine_leaves_it_aside(tuned, make_bundle, monkeypatch):
    other = make_bundle(divisor=2.0, name="other")
    (other / "tuning.json").write_bytes((tuned.folder / "tuning.json").read_bytes())
    predictor = Predictor(other)
    assert predictor.tuning == default_tuning(predictor.contract)
    assert predictor.remarks[0].startswith("tuning.json was measured with another model; it is")
    monkeypatch.setattr(module, "available_cores", lambda: 61)
    assert "was measured with another cores; it is left aside" in read_tuning(tuned).aside


def change(bundle, **entries):
    path = bundle.folder / "tuning.json"
    table = json.loads(path.read_text()) | entries
    table.pop("sha256")
    path.write_text(json.dumps({**table, "sha256": fingerprint(table)}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("1" * 5_000, "is damaged"),
        ("[]", "was not written by graphadapt"),
        ('{"kind": "other"}', "was not written by graphadapt"),
    ],
)
def test_a_file_that_is_something_else_is_left_aside(tuned, text, reason):
    (tuned.folder / "tuning.json").write_text(text)
    assert reason in read_tuning(tuned).aside


def test_bytes_that_are_no_text_are_left_aside(tuned):
    (tuned.folder / "tuning.json").write_bytes(b"\xff\xfe")
    assert "cannot be read" in read_tuning(tuned).aside


def test_a_changed_or_newer_or_impossible_tuning_is_left_aside(tuned):
    path = tuned.folder / "tuning.json"
    path.write_text(path.read_text().replace("77", "78"))
    assert "was changed after it was written" in read_tuning(tuned).aside
    change(tuned, format=2)
    assert "is of format 2, this graphadapt reads 1" in read_tuning(tuned).aside
    change(tuned, format=1, tuning={"workers": 0})
    assert "is damaged" in read_tuning(tuned).aside


@pytest.mark.parametrize("entries", [{"machine": []}, {"tuning": 3}, {"machine": None}])
def test_a_tuning_that_another_program_wrote_is_left_aside(tuned, entries):
    change(tuned, **entries)
    assert "says nothing of a machine, or of settings" in read_tuning(tuned).aside
    change(tuned, machine=machine(), tuning={}, model=7)
    assert "was measured with another model" in read_tuning(tuned).aside
    change(tuned, model=tuned.sha256)
    assert "is damaged: one is missing" in read_tuning(tuned).aside


def test_a_folder_that_is_read_only_is_named_before_the_work(tuned, monkeypatch):
    check_keepable(tuned)
    monkeypatch.setattr("os.access", lambda place, mode: False)
    with pytest.raises(
        ConfigError, match=r"read-only .* so tuning\.json cannot be kept there; tune"
    ):
        check_keepable(tuned)


def test_the_machine_is_named_in_full():
    assert all(machine().values())
    assert set(machine()) == {"processor", "cores", "system", "onnxruntime"}


@pytest.mark.parametrize("entries", [{"workers": 0}, {"atoms_per_run": 0}])
def test_a_tuning_of_nothing_is_refused(entries):
    plain = {"one": SessionSettings(), "many": SessionSettings(), "workers": 1, "atoms_per_run": 1}
    with pytest.raises(ConfigError, match="at least 1"):
        Tuning(**(plain | entries))


def test_a_folder_that_cannot_be_written_is_named(tuned):
    (tuned.folder / "tuning.json").unlink()
    (tuned.folder / "tuning.json").mkdir()
    with pytest.raises(ConfigError, match=r"tuning\.json cannot be written"):
        write_tuning(tuned, TUNING, [])
    assert sorted(path.name for path in tuned.folder.iterdir()) == [
        "bundle.json",
        "model.onnx",
        "tuning.json",
    ]
