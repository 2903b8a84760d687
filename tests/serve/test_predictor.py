"""Answers in order, failures alone, and the same on any number of threads."""

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from graphadapt.errors import BundleError, ConfigError, DataError, DependencyError
from graphadapt.export.contract_parts import Bucket
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.outcome import FeaturisedMolecule
from graphadapt.serve.device_runs import DeviceRuns
from graphadapt.serve.predictor import Predictor

COUNTS = FeatureBlock(kind="counts", size=16)
COLUMNS = FeatureBlock(kind="columns", columns=("pH", "dose"))


def test_answers_stand_in_the_order_of_the_molecules(make_bundle):
    smiles = ["C" * (1 + 7 * place % 40) for place in range(60)]
    found = Predictor(make_bundle(), atoms_per_run=50).predict(smiles)
    np.testing.assert_array_equal(found.values[:, 0], [len(text) for text in smiles])
    assert found.values.dtype == np.float32
    assert not found.failures
    assert found.tasks[0].units == "1"


def test_a_molecule_that_cannot_be_read_fails_alone(make_bundle):
    found = Predictor(make_bundle()).predict(["CCO", "xyz", "", "[He]"])
    np.testing.assert_array_equal(found.values[:, 0], [3, np.nan, np.nan, 1])
    assert sorted(found.failures) == [1, 2]
    assert "'xyz' is not SMILES" in found.failures[1]


def test_nothing_readable_and_nothing_at_all_are_answered_too(make_bundle):
    predictor = Predictor(make_bundle())
    assert np.isnan(predictor.predict(["?"]).values).all()
    assert predictor.predict([]).values.shape == (0, 1)


def test_one_text_is_not_taken_for_its_letters(make_bundle):
    predictor = Predictor(make_bundle())
    with pytest.raises(DataError, match=r"^'CCO' is one text, not a list of them; give \['CCO'\]$"):
        predictor.predict("CCO")
    for several in (("CCO", "C"), np.array(["CCO", "C"]), (text for text in ("CCO", "C"))):
        assert predictor.predict(several).values.tolist() == [[3], [1]]


@pytest.mark.parametrize("cache", [0, 9])
def test_what_is_no_text_fails_alone(make_bundle, cache):
    predictor = Predictor(make_bundle(), cache=cache)
    for _ in range(2):
        found = predictor.predict(["CCO", None, float("nan"), b"CCO", 7, "C"])
        np.testing.assert_array_equal(found.values[:, 0], [3, *[np.nan] * 4, 1])
        assert found.failures[1] == "None holds no molecule; give a SMILES text such as 'CCO'"


def test_a_molecule_that_is_asked_for_twice_is_answered_twice(make_bundle):
    folder = make_bundle()
    expected = [[3], [1], [3], [np.nan], [3]]
    for cache, counts in ((0, None), (9, (4, 0, 4))):
        predictor = Predictor(folder, cache=cache)
        for _ in range(2):
            found = predictor.predict(["CCO", "C", "OCC", "?", "CCO"])
            np.testing.assert_array_equal(found.values, expected)
        assert (predictor.cache and predictor.cache.counts) == counts


def test_no_cache_is_a_size_of_nothing(make_bundle):
    folder = make_bundle()
    assert Predictor(folder, cache=0).cache is None
    with pytest.raises(ConfigError, match="a cache of -1 answers cannot work; use 1 or more"):
        Predictor(folder, cache=-1)


def test_what_was_read_is_answered_when_its_folder_is_gone(make_bundle):
    folder = make_bundle(divisors={"half": 2.0, "third": 3.0})
    predictor = Predictor(folder)
    folder.rename(folder.with_name("elsewhere"))
    assert predictor.predict(["C" * 6]).values.tolist() == [[3]]
    shutil.rmtree(folder.with_name("elsewhere"))
    assert predictor.predict(["C" * 6], composition="third").values.tolist() == [[2]]
    with pytest.raises(BundleError, match="is no folder; give the folder that"):
        Predictor(folder)


def test_predictors_of_one_bundle_do_not_meet(make_bundle):
    """Neither in their composition and cache, nor when one of them is closed."""
    folder = make_bundle(divisors={"half": 2.0, "third": 3.0})
    opened = {mix: Predictor(folder, threads=2, cache=9) for mix in ("half", "third")}
    divisor = {"half": 2, "third": 3}

    def ask(seed):
        mix = ("half", "third")[seed % 2]
        sizes = np.random.default_rng(seed).integers(1, 50, 90).tolist()
        found = opened[mix].predict(["C" * size for size in sizes], composition=mix)
        np.testing.assert_array_equal(found.values[:, 0], np.float32(sizes) / divisor[mix])
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(12)))
        opened["half"].close()
        assert all(pool.map(ask, range(1, 12, 2)))
    assert opened["third"].cache.counts.by_text


@pytest.mark.parametrize("threads", [1, 2])
def test_a_closed_predictor_says_so(make_bundle, threads):
    with Predictor(make_bundle(), threads=threads) as predictor:
        assert predictor.predict(["C"]).values.tolist() == [[1]]
    for count in (1, 300):
        with pytest.raises(ConfigError, match="was closed and answers no more; open the bundle"):
            predictor.predict(["C"] * count)


def test_prepared_arrays_come_with_the_features_that_are_read(make_bundle):
    predictor = Predictor(make_bundle(("features", "graph_atoms"), (COUNTS, COLUMNS)))
    molecules = [featurise_smiles("CCO"), featurise_smiles("C")]
    features = np.ones((2, 18), np.float32)
    assert predictor.answer(molecules, features).tolist() == [[18, 3], [18, 1]]
    with pytest.raises(DataError, match=r"of shape \[2, 18\] with 2 molecules; none was given"):
        predictor.answer(molecules)
    for wrong in (features[:1], features[:, :5], np.ones((3, 18), np.float32), features[0]):
        with pytest.raises(DataError, match=r"of shape \[2, 18\] .*; an array of \[[\d, ]+\] was"):
            predictor.answer(molecules, wrong)


def test_a_padded_bundle_asks_for_its_features_too(make_bundle):
    buckets = (Bucket(atoms=16, slots=4, graphs=4),)
    reads = ("padded_counts", "features")
    predictor = Predictor(make_bundle(reads, (COUNTS,), form="padded", buckets=buckets))
    with pytest.raises(DataError, match=r"of shape \[1, 16\] with 1 molecules; none was given"):
        predictor.answer([featurise_smiles("C")])


def test_a_molecule_that_no_batch_holds_has_no_answer(make_bundle):
    predictor = Predictor(make_bundle())
    batches = predictor.arrange([featurise_smiles("CCO")])
    np.testing.assert_array_equal(predictor.run(batches, 2), [[3], [np.nan]])
    assert predictor.answer([]).shape == (0, 1)


def test_answers_do_not_depend_on_threads_or_batches(make_bundle):
    folder = make_bundle(divisor=3.0)
    smiles = ["C" * (1 + 11 * place % 60) for place in range(200)]
    results = [
        Predictor(folder, threads=threads, atoms_per_run=atoms).predict(smiles).values
        for threads in (1, 3)
        for atoms in (1, 100, 10_000)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_reading_goes_on_in_windows_and_answers_stay_in_order(make_bundle):
    smiles = ["C" * (1 + 7 * place % 40) if place % 50 else "?" for place in range(700)]
    found = Predictor(make_bundle(), threads=2).predict(smiles)
    assert sorted(found.failures) == list(range(0, 700, 50))
    expected = [len(text) if text != "?" else np.nan for text in smiles]
    np.testing.assert_array_equal(found.values[:, 0], expected)


def test_the_next_are_read_while_those_before_are_answered(make_bundle, monkeypatch):
    predictor, read_again = Predictor(make_bundle(), threads=2), threading.Event()
    calls, read, run = [], predictor._reader.read, predictor._engine.run

    def noted(texts, columns):
        calls.append(len(texts))
        if len(calls) == 2:
            read_again.set()
        return read(texts, columns)

    def waiting(*args, **settings):
        assert read_again.wait(60), "nothing was read while this ran"
        return run(*args, **settings)

    monkeypatch.setattr(predictor._reader, "read", noted)
    monkeypatch.setattr(predictor._engine, "run", waiting)
    found = predictor.predict(["CCO"] * 200)
    assert found.values.tolist() == [[3]] * 200
    assert sum(calls) == 200


@pytest.mark.parametrize("cache", [0, 40])
def test_many_threads_may_ask_one_predictor(make_bundle, cache):
    predictor = Predictor(make_bundle(divisor=4.0), threads=2, atoms_per_run=64, cache=cache)

    def ask(seed):
        random = np.random.default_rng(seed)
        for count in (1, 3, 40):
            sizes = random.integers(1, 60, count).tolist()
            values = predictor.predict(["C" * size for size in sizes]).values
            np.testing.assert_array_equal(values[:, 0], np.float32(sizes) / 4)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))


def test_a_stream_is_answered_part_by_part_with_few_parts_ahead(make_bundle):
    taken = []

    def parts():
        for part in range(60):
            taken.append(part)
            texts = ["C" * (1 + part % 7)] * (part % 3)
            yield [FeaturisedMolecule(featurise_smiles(text), ()) for text in texts]

    predictor = Predictor(make_bundle(), threads=2)
    for part, found in enumerate(predictor.predict_parts(parts())):
        assert found.values[:, 0].tolist() == [1 + part % 7] * (part % 3)
        assert len(taken) - part <= 10
    assert len(taken) == 60


def test_a_cached_answer_is_the_models(make_bundle):
    folder = make_bundle(("features", "graph_atoms"), (COUNTS, COLUMNS))
    smiles, pH = ["CCO", "OCC", "C", "xyz", "C[C@H](N)O"], [7.0, 7.0, 7.5, 1.0, 2.0]
    columns = {"pH": pH, "dose": [0.5] * 5}
    fresh = Predictor(folder).predict(smiles, columns)
    cached = Predictor(folder, cache=10)
    for counts in ((0, 0, 4), (4, 0, 4), (8, 0, 4)):
        found = cached.predict(smiles, columns)
        np.testing.assert_array_equal(found.values, fresh.values)
        assert found.failures == fresh.failures
        assert cached.cache.counts == counts
    again = cached.predict(["C(O)C", "CCO"], {"pH": [7.0, 9.0], "dose": [0.5, 0.5]})
    assert cached.cache.counts == (8, 1, 5)
    np.testing.assert_array_equal(again.values[0], fresh.values[0])
    np.testing.assert_allclose(again.values[1] - fresh.values[0], [2, 0], rtol=1e-6)


def test_compositions_are_switched_from_one_request_to_the_next(make_bundle):
    folder = make_bundle(divisors={"half": 2.0, "third": 3.0})
    predictor = Predictor(folder, cache=5)
    assert predictor.compositions == ("half", "third")
    for _ in range(2):
        assert predictor.predict(["C" * 6]).values.tolist() == [[3]]
        assert predictor.predict(["C" * 6], composition="third").values.tolist() == [[2]]
    assert predictor.cache.counts == (2, 0, 2)
    with pytest.raises(ConfigError, match="no composition 'fifth'; it has half, third"):
        predictor.predict(["C"], composition="fifth")


def test_a_bundle_of_one_composition_has_no_other(make_bundle):
    with pytest.raises(ConfigError, match="no composition 'x'; it has only the one"):
        Predictor(make_bundle()).predict(["C"], composition="x")


def test_applicability_comes_with_the_answers(make_bundle):
    predictor = Predictor(make_bundle(outputs=("answers", "applicability")), cache=3)
    for _ in range(2):
        found = predictor.predict(["C" * 20, "?", "CC"])
        np.testing.assert_allclose(found.applicability, [0.2, np.nan, 0.02], rtol=1e-6)
        np.testing.assert_array_equal(found.values, [[20], [np.nan], [2]])
    assert Predictor(make_bundle(name="plain")).predict(["C"]).applicability is None


def test_padded_arrays_of_any_shape_answer_alike(make_bundle):
    buckets = (Bucket(atoms=16, slots=4, graphs=4),)
    folder = make_bundle(("padded_counts",), form="padded", buckets=buckets)
    smiles = ["C" * (1 + 11 * place % 60) for place in range(50)]
    expected = [len(text) for text in smiles]
    predictor = Predictor(folder, threads=2, atoms_per_run=256)
    assert predictor.predict(smiles).values[:, 0].tolist() == expected
    predictor._engine._device = DeviceRuns(predictor._engine._many, ("answers",), (1,))
    predictor._arranger = replace(predictor._arranger, keeps_shapes=True)
    assert predictor.predict(smiles).values[:, 0].tolist() == expected


def test_a_provider_that_does_not_serve_is_passed_over_with_a_word(make_bundle):
    folder = make_bundle()
    predictor = Predictor(folder, ["gpu"])
    assert predictor.providers[-1] == "CPUExecutionProvider"
    if predictor.providers[0] == "CPUExecutionProvider":
        assert "CUDAExecutionProvider" in predictor.remarks[0]
        with pytest.raises(DependencyError, match="leave strict mode out"):
            Predictor(folder, ["gpu"], strict=True)


def test_equal_atoms_are_merged_in_batches_that_are_large_enough(make_bundle):
    predictor = Predictor(make_bundle(merge_from=20), threads=1)
    rows = [
        predictor.arrange([featurise_smiles("CCC")] * count)[0].inputs["graph_atoms"].shape[1]
        for count in (6, 7)
    ]
    assert rows == [6 * 3, 7 * 2]


def test_features_come_from_the_smiles_and_the_users_columns(make_bundle):
    predictor = Predictor(make_bundle(("features", "graph_atoms"), (COUNTS, COLUMNS)))
    values = predictor.predict(["CCO", "C"], {"pH": [7.5, 7.0], "dose": [100.0, 0.5]}).values
    counts = [featurise_counts(text) for text in ("CCO", "C")]
    np.testing.assert_allclose(values, [[counts[0] + 107.5, 3], [counts[1] + 7.5, 1]])


def featurise_counts(text):
    from rdkit import Chem

    return int(COUNTS.compute(Chem.MolFromSmiles(text)).sum())


def test_features_alone_need_no_graph(make_bundle):
    predictor = Predictor(make_bundle(("features",), (COUNTS,)))
    assert predictor.predict(["CCO"]).values[0, 0] == featurise_counts("CCO")


def test_a_missing_column_is_named(make_bundle):
    predictor = Predictor(make_bundle(("features",), (COLUMNS,)))
    with pytest.raises(DataError, match="reads the feature columns pH, dose; missing: dose"):
        predictor.predict(["C"], {"pH": [7.0]})
    with pytest.raises(DataError, match="'dose' has 2 values for 1 molecules"):
        predictor.predict(["C"], {"pH": [7.0], "dose": [1.0, 2.0]})
    found = predictor.predict(["C", "C"], {"pH": [7.0, float("nan")], "dose": [1.0, 1.0]})
    assert list(found.failures) == [1]
    assert "'pH' holds nan" in found.failures[1]


def test_an_atom_with_too_many_bonds_is_a_failure_of_its_row(make_bundle):
    ends = np.array([[0, end] for end in range(1, 71)], np.int16)
    star = MoleculeArrays(np.zeros((71, 9), np.uint8), ends, np.zeros((70, 3), np.uint8))
    outcomes = [FeaturisedMolecule(each, ()) for each in (featurise_smiles("CC"), star)]
    found = Predictor(make_bundle()).predict_outcomes(outcomes)
    np.testing.assert_array_equal(found.values[:, 0], [2, np.nan])
    assert found.failures == {1: "an atom has 70 bonds; the model takes at most 64"}


def test_an_answer_that_is_no_number_is_a_failure(make_bundle):
    found = Predictor(make_bundle(divisor=0.0)).predict(["C"])
    assert np.isnan(found.values).all()
    assert found.failures == {0: "the model's answer is not a finite number"}


def test_the_session_says_what_it_runs_on(make_bundle):
    folder = make_bundle()
    assert Predictor(folder).providers == ("CPUExecutionProvider",)
    with pytest.raises(DependencyError, match="has no ImaginaryExecutionProvider"):
        Predictor(folder, ["ImaginaryExecutionProvider"])


@pytest.mark.parametrize("settings", [{"threads": 0}, {"atoms_per_run": 0}])
def test_settings_that_cannot_work_are_refused(make_bundle, settings):
    with pytest.raises(ConfigError, match=r"threads=.* and atoms_per_run=.* at least 1"):
        Predictor(make_bundle(), **settings)


def test_a_damaged_bundle_is_not_opened(make_bundle):
    folder = make_bundle()
    (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="has 0 bytes"):
        Predictor(folder)


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "dgl", "ogb", "onnx", "safetensors", "pandas"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""


def test_serving_needs_neither_torch_nor_dgl_nor_ogb_nor_onnx(make_bundle):
    script = BLOCKED + (
        "from graphadapt.serve.predictor import Predictor\n"
        "found = Predictor(sys.argv[1]).predict(['CCO', '?'])\n"
        "assert found.values[0, 0] == 3 and list(found.failures) == [1]\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(make_bundle())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
