import gzip

import pytest

from graphadapt.data.load import load_source
from graphadapt.errors import DataError


@pytest.fixture
def ogb_folder(tmp_path):
    folder = tmp_path / "ogbg_molsmall"
    (folder / "mapping").mkdir(parents=True)
    text = "a,b,smiles\n0,1.5,C\n1,2,CC\n"
    (folder / "mapping" / "mol.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def test_a_table_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("mol,y\nC,1\n")
    source = load_source(path, smiles_column="mol", units={"y": "m"})
    assert (source.smiles, source.tasks[0].units) == (["C"], "m")


def test_a_folder_or_the_name_of_a_set_under_the_root(ogb_folder):
    assert load_source(ogb_folder).task_names == ["a", "b"]
    for name in ("ogbg-molsmall", "ogbg_molsmall"):
        assert load_source(name, root=ogb_folder.parent, tasks=["b"]).task_names == ["b"]


def test_the_bundled_matrix():
    source = load_source("moleculeace", tasks=["CHEMBL204_Ki"], units={"CHEMBL204_Ki": "pKi"})
    assert len(source) == 2754
    assert source.tasks[0].units == "pKi"


def test_kinds_of_published_sets_can_be_said_where_they_fit(ogb_folder):
    source = load_source(ogb_folder, kinds={"a": "regression"})
    assert [task.kind for task in source.tasks] == ["regression", "regression"]
    with pytest.raises(DataError, match=r"task 'b' .* labels other than 0 and 1"):
        load_source(ogb_folder, kinds={"b": "binary"})
    with pytest.raises(DataError, match="no task of ogbg-molsmall is named 'c'"):
        load_source(ogb_folder, units={"c": "m"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smiles_column": "smiles"}, r"is not a table file, so a SMILES column \(smiles\)"),
        ({"columns": ["x", "y"]}, r"so feature columns \(x, y\)"),
        ({"split_column": "fold"}, r"so a split column \(fold\)"),
    ],
)
def test_settings_of_tables_are_refused_elsewhere(options, message):
    with pytest.raises(DataError, match=message):
        load_source("moleculeace", **options)


def test_what_is_nowhere_is_answered_with_what_would_work(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.csv does not exist; give a table file \(.csv"):
        load_source(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder without mapping/mol"):
        load_source(tmp_path)
