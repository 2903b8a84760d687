"""Structures from sets with labels: each once, and nothing that is evaluated on."""

import gzip
import json
import zipfile

import numpy as np
import pytest
from rdkit import Chem

from graphadapt.data.load import load_source
from graphadapt.data.split import TEST, VALID
from graphadapt.data.store import GraphStore
from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.pretraining import structures
from graphadapt.pretraining.structures import StructureSource, build_structures, read_structures


def source(*smiles, evaluates=None, name="made", licence="MIT"):
    marks = None if evaluates is None else np.array(evaluates)
    return StructureSource(name, licence, list(smiles), marks)


def build(sources, folder, **more):
    return build_structures(sources, folder, processes=1, shown=False, **more)


def held(folder):
    store = GraphStore(folder)
    return [store.smiles(row) for row in range(len(store))]


def canonical(smiles):
    return [Chem.CanonSmiles(text) for text in smiles]


def test_every_molecule_is_taken_once_however_it_is_spelt(tmp_path):
    record = build([source("CCO", "c1ccccc1", "OCC"), source("C1=CC=CC=C1", "CN")], tmp_path / "s")
    assert sorted(canonical(held(tmp_path / "s"))) == sorted(canonical(["CCO", "c1ccccc1", "CN"]))
    fates = [sum(s.get(fate, 0) for s in record["sources"]) for fate in ("taken", "duplicate")]
    assert fates == [3, 2]


def test_what_one_set_tests_on_is_taken_from_none(tmp_path):
    tested = source("CCO", "CCN", evaluates=[True, False])
    build([tested, source("OCC", "CCC")], tmp_path / "s")
    assert sorted(held(tmp_path / "s")) == ["CCC", "CCN"]
    build([source("OCC", "NCC", "CCC")], tmp_path / "t", apart_from=[tested])
    assert sorted(held(tmp_path / "t")) == ["CCC", "NCC"]


def test_apart_from_a_set_without_a_split_means_all_of_it(tmp_path):
    build([source("OCC", "NCC", "CCC")], tmp_path / "s", apart_from=[source("CCO", "CCC")])
    assert held(tmp_path / "s") == ["NCC"]


def test_a_subset_is_random_of_its_size_and_the_same_for_a_seed(tmp_path):
    every = source(*("C" * n for n in range(1, 60)))
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build([every], tmp_path / name, most=20, seed=seed)
    assert len(held(tmp_path / "a")) == 20
    assert held(tmp_path / "a") == held(tmp_path / "b") != held(tmp_path / "c")


def test_labels_and_their_split_stay_behind(repository, tmp_path):
    table = load_source(repository / "tests" / "molecules.csv", split_column="part")
    evaluates = np.isin(table.split, (VALID, TEST)).any(axis=1)
    whole = StructureSource("table", "MIT", table.smiles, evaluates)
    build([whole], tmp_path / "s", blocks=[FeatureBlock(kind="counts", size=64)])
    store = GraphStore(tmp_path / "s")
    assert store.tasks == ()
    assert store.labels.shape == (len(store), 0)
    kept_out = set(canonical(np.array(table.smiles)[evaluates]))
    assert not kept_out & set(canonical(held(tmp_path / "s")))
    assert store.features(["counts"]).shape == (len(store), 64)


def test_the_store_carries_its_origin(tmp_path):
    record = build(
        [source("CCO", "no molecule", "CN", name="mine", licence="CC0-1.0")], tmp_path / "s"
    )
    assert record == json.loads((tmp_path / "s" / "origin.json").read_text())
    assert record["sources"] == [
        {"name": "mine", "licence": "CC0-1.0", "molecules": 3, "taken": 2, "unparsable": 1}
    ]


def test_sources_are_read_with_their_split_and_licence(labelled_store, plain_store, tmp_path):
    labelled = read_structures(labelled_store, "CC0-1.0")
    assert labelled.licence == "CC0-1.0"
    expected = np.isin(GraphStore(labelled_store).split, (VALID, TEST)).any(axis=1)
    np.testing.assert_array_equal(labelled.evaluates, expected)
    assert read_structures(plain_store).evaluates is None
    table = tmp_path / "t.csv"
    table.write_text("smiles\nCCO\n")
    assert read_structures(table) == source("CCO", name=str(table), licence="not stated")


def test_an_official_set_gives_its_training_part_alone(real_data, tmp_path):
    folder = real_data / "ogb" / "ogbg_molbbbp"
    found = read_structures(folder)
    assert (found.licence, len(found)) == ("MIT", 2039)
    split = load_source(folder).split
    np.testing.assert_array_equal(found.evaluates, np.isin(split, (VALID, TEST)).any(axis=1))


def wheel(path, text="SMILES\nCCO\nCCN\n", member="moses/dataset/data/train.csv.gz"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, gzip.compress(text.encode()))
    return path


def test_moses_is_read_from_its_wheel(tmp_path):
    assert read_structures(wheel(tmp_path / "m.whl")) == source("CCO", "CCN", name="MOSES")


def test_what_cannot_be_read_or_leaves_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="fetch it with `pip download molsets"):
        read_structures(tmp_path / "none.whl")
    with pytest.raises(DataError, match=r"is no wheel of molsets .* with moses"):
        read_structures(wheel(tmp_path / "m.whl", member="other"))
    (tmp_path / "text.whl").write_text("no zip")
    with pytest.raises(DataError, match="is no wheel of molsets"):
        read_structures(tmp_path / "text.whl")
    with pytest.raises(DataError, match="no molecule is left for the corpus"):
        build([source("CCO", evaluates=[True])], tmp_path / "s")
    with pytest.raises(ConfigError, match="most=-1 is negative"):
        build([source("CCO")], tmp_path / "s", most=-1)
    build([source("CCO")], tmp_path / "s")
    with pytest.raises(DataError, match="exists already; choose another place or replace it"):
        build([source("CCO")], tmp_path / "s")
    build([source("CCN")], tmp_path / "s", overwrite=True)


@pytest.mark.parametrize(("most", "counted"), [(0, "6/6"), (3, "3/3")])
def test_the_choice_is_shown_as_one_piece_of_work(tmp_path, monkeypatch, capsys, most, counted):
    monkeypatch.setattr(structures, "_MOST_AT_ONCE", 2)
    given = source("CCO", "OCC", "CCC", "CCN", "CCF", "C1CC1")
    build_structures([given], tmp_path / "s", most=most, processes=1)
    lines = capsys.readouterr().err.splitlines()
    (choosing,) = [line for line in lines if line.startswith("choosing molecules")]
    assert counted in choosing
    assert not any("what stays apart" in line for line in lines)
