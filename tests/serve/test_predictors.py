"""Several bundles answer like each alone, and each molecule is read once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.serve import reader
from graphadapt.serve.predictor import Predictor
from graphadapt.serve.predictors import Predictors

COUNTS = FeatureBlock(kind="counts", size=16)
WIDE = FeatureBlock(kind="counts", size=32, radius=1)
COLUMNS = FeatureBlock(kind="columns", columns=("pH",))
SMILES = ["CCO", "?", "c1ccccc1", "C" * 30, "N[C@@H](C)C(=O)O"] * 3


@pytest.fixture
def folders(make_bundle):
    return {
        "atoms": make_bundle(name="atoms"),
        "counts": make_bundle(("features", "graph_atoms"), (COUNTS,), name="counts"),
        "both": make_bundle(("features",), (WIDE, COUNTS), name="both"),
        "own": make_bundle(("features",), (COLUMNS, WIDE), name="own"),
        "mixes": make_bundle(name="mixes", divisors={"one": 1.0, "two": 2.0}),
    }


COLUMN = {"pH": [float("nan"), 1.0, *range(13)]}


@pytest.fixture
def read(monkeypatch):
    """Texts that were featurised, call by call."""
    calls, real = [], reader.featurise_chunk

    def noted(chunk):
        calls.append(list(chunk.texts))
        return real(chunk)

    monkeypatch.setattr(reader, "featurise_chunk", noted)
    return calls


def same(left, right):
    np.testing.assert_array_equal(left.values, right.values)
    assert left.failures == right.failures
    assert left.tasks == right.tasks


@pytest.mark.parametrize("cache", [0, 50])
def test_each_bundle_answers_as_it_does_alone(folders, cache):
    alone = {name: Predictor(folder).predict(SMILES, COLUMN) for name, folder in folders.items()}
    with Predictors(folders, threads=2, cache=cache) as several:
        for _ in range(2):
            found = several.predict(SMILES, COLUMN)
            assert list(found) == list(folders)
            for name, predictions in found.items():
                same(predictions, alone[name])
    assert set(alone["own"].failures) == {0, 1, 6, 11}
    assert 0 not in alone["atoms"].failures


def test_a_text_is_read_once_for_all_that_read_the_same_columns(folders, read):
    several = Predictors(folders, threads=2)
    several.predict(["CCO", "C"], names=["atoms", "counts", "both", "mixes"])
    assert read == [["CCO", "C"]]
    several.predict(["CCO"], {"pH": [7.0]})
    assert read[1:] == [["CCO"], ["CCO"]]


def test_only_what_some_bundle_has_forgotten_is_read_again(folders, read):
    several = Predictors({name: folders[name] for name in ("atoms", "counts")}, cache=9)
    several.predict(["CCO", "C"], names=["atoms"])
    found = several.predict(["CCO", "N", "C"], names=["atoms"])
    assert read == [["CCO", "C"], ["N"]]
    assert found["atoms"].values.tolist() == [[3], [1], [1]]
    several.predict(["N", "CCO"])
    assert read[2:] == [["N", "CCO"]]
    several.predict(["N", "CCO"])
    assert len(read) == 3
    assert several["atoms"].cache.counts == (6, 0, 3)
    assert several["counts"].cache.counts == (2, 0, 2)


def test_long_requests_are_answered_in_order(folders):
    smiles = ["C" * (1 + place % 30) for place in range(600)]
    found = Predictors(folders, threads=2).predict(smiles, names=["atoms", "mixes"])
    for predictions in found.values():
        assert predictions.values[:, 0].tolist() == [len(text) for text in smiles]


def test_threads_are_shared_and_many_may_ask(folders):
    several = Predictors(folders, threads=3, cache=20)
    assert len({id(each._workers) for each in several.values()}) == 1

    def ask(seed):
        sizes = np.random.default_rng(seed).integers(1, 40, 30).tolist()
        found = several.predict(["C" * size for size in sizes], names=["atoms", "mixes"])
        return all(each.values[:, 0].tolist() == sizes for each in found.values())

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(18)))


def test_a_composition_is_named_for_its_bundle(folders):
    several = Predictors(folders)
    found = several.predict(["CCCC"], names=["mixes"], compositions={"mixes": "two"})
    assert found["mixes"].values.tolist() == [[2]]


def test_nothing_asked_is_nothing_answered(folders):
    found = Predictors(folders).predict([], {"pH": []})
    assert {each.values.shape for each in found.values()} == {(0, 1), (0, 2)}


def test_mistakes_are_named(folders):
    several = Predictors(folders)
    assert len(several) == 5
    with pytest.raises(ConfigError, match="no bundle 'x' is open; there are atoms, counts"):
        several.predict(["C"], names=["x"])
    with pytest.raises(DataError, match="missing: pH"):
        several.predict(["C"])
    with pytest.raises(DataError, match="'pH' has 2 values for 1 molecules"):
        several.predict(["C"], {"pH": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"'CCO' is one text, not a list of them"):
        several.predict("CCO", names=["atoms"])
    with pytest.raises(ConfigError, match="no bundles to open"):
        Predictors({})
