import csv
import io

import numpy as np
import pytest

from graphadapt.data.ogb_layout import is_ogb_folder, ogb_source
from graphadapt.data.prepare import REJECTED_FILE, prepare
from graphadapt.data.source import MoleculeSource
from graphadapt.data.split import TEST, TRAIN, UNUSED, VALID
from graphadapt.data.store import GraphStore, TaskInfo
from graphadapt.data.user_table import table_source
from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles

MESSY = """smiles,active,logP,dose
CCO,1,0.5,1
C1CC,1,0.5,2
OCC,1,0.6,3
c1ccccc1,0,high,4
CC(C)C,,,5
c1ccncc1,1,5,6
n1ccccc1,0,5,7
,1,1,8
CCCC,0
CCN,0,-2.5,9
"""


@pytest.fixture
def messy(tmp_path):
    path = tmp_path / "messy.csv"
    path.write_text(MESSY)
    return path


def test_every_row_is_kept_or_accounted_for(tmp_path, messy):
    report = prepare(table_source(messy, tasks=["active", "logP"]), tmp_path / "s", shown=False)
    store = GraphStore(tmp_path / "s")
    assert [store.smiles(row) for row in range(len(store))] == [
        "CCO",
        "c1ccccc1",
        "c1ccncc1",
        "CCN",
    ]
    assert store.row_numbers.tolist() == [1, 4, 6, 10]
    nan = np.nan
    np.testing.assert_allclose(
        store.labels_float(), [[1, 0.55], [0, nan], [nan, 5], [0, -2.5]], rtol=1e-6
    )
    assert report.rejected_rows == {
        "duplicate, merged": 2,
        "unparsable SMILES": 1,
        "no label": 1,
        "no SMILES": 1,
        "malformed row": 1,
    }
    assert report.rejected_labels == {"contradicting duplicates": 2, "label is not a number": 1}
    with (tmp_path / "s" / REJECTED_FILE).open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(row["row"], row["reason"], row["task"]) for row in listed] == [
        ("2", "unparsable SMILES", ""),
        ("3", "duplicate, merged", ""),
        ("4", "label is not a number", "logP"),
        ("5", "no label", ""),
        ("6", "contradicting duplicates", "active"),
        ("7", "contradicting duplicates", "active"),
        ("7", "duplicate, merged", ""),
        ("8", "no SMILES", ""),
        ("9", "malformed row", ""),
    ]
    assert listed[0]["smiles"] == "C1CC"
    assert "C1CC" in listed[0]["detail"]
    whole_rows = {row["row"] for row in listed if not row["task"]}
    assert len(whole_rows) + len(store) == 10


def test_what_is_no_text_is_listed_like_any_bad_row(tmp_path, monkeypatch):
    table = "smiles,active\n\udcffC,1\nCCO,1\nCCN,0\n"  # as a pipe's bytes arrive
    monkeypatch.setattr("sys.stdin", io.StringIO(table))
    prepare(table_source("-"), tmp_path / "s", processes=1, shown=False)
    rejected = (tmp_path / "s" / REJECTED_FILE).read_text(encoding="utf-8").splitlines()
    assert rejected[1].startswith("1,\\udcffC,unparsable SMILES")


def test_the_store_holds_the_featurisers_graphs_and_features(tmp_path, messy):
    blocks = [
        FeatureBlock(kind="counts", size=64),
        FeatureBlock(kind="descriptors"),
        FeatureBlock(kind="columns", columns=("dose",)),
    ]
    source = table_source(messy, tasks=["active", "logP"], columns=["dose"])
    report = prepare(source, tmp_path / "s", blocks, shown=False)
    store = GraphStore(tmp_path / "s")
    for row in range(len(store)):
        made = featurise_smiles(store.smiles(row))
        for held, expected in zip(store.molecule(row), made, strict=True):
            np.testing.assert_array_equal(held, expected)
    assert store.feature_blocks == tuple(blocks)
    assert store.features(["counts"]).dtype == np.uint8
    assert store.features([blocks[2]])[:, 0].tolist() == [1, 4, 6, 9]
    assert report.features == {kind: store.feature_block(kind).width for kind in report.features}
    assert len(report.features) == 3


def make(smiles, labels, **more):
    labels = np.array(labels, np.float32).reshape(len(smiles), -1 if smiles else 1)
    return MoleculeSource(
        name="made",
        smiles=list(smiles),
        labels=labels,
        tasks=tuple(TaskInfo(f"t{index}", "binary") for index in range(labels.shape[1])),
        row_numbers=np.arange(1, len(smiles) + 1),
        **more,
    )


ALKANES = ["C" * length for length in range(1, 11)]


def test_the_default_split_is_the_sources_own_else_by_scaffold(tmp_path):
    labels = [0, 1] * 5
    report = prepare(make(ALKANES, labels), tmp_path / "a", shown=False)
    assert report.split == "scaffold"
    assert (report.tasks[0].train, report.tasks[0].test) == (0, 10)
    own = np.full((10, 1), TRAIN, np.uint8)
    own[7:] = VALID
    report = prepare(make(ALKANES, labels, split=own), tmp_path / "b", shown=False)
    assert report.split == "official"
    assert GraphStore(tmp_path / "b").cells(VALID)[:, 0].tolist() == [False] * 7 + [True] * 3


def test_a_random_split_follows_the_seed(tmp_path):
    source = make(ALKANES, [0, 1] * 5)
    splits = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        report = prepare(source, tmp_path / name, split="random", seed=seed, shown=False)
        assert report.tasks[0].cells == (8, 1, 1, 0)
        splits.append(np.array(GraphStore(tmp_path / name).split))
    np.testing.assert_array_equal(splits[0], splits[1])
    assert (splits[0] != splits[2]).any()


def test_a_split_column_is_asked_for_by_its_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("smiles,y,fold\nC,1,train\nCC,0,test\nCCC,0,train\nCCCC,1,\n")
    source = table_source(path, split_column="fold")
    report = prepare(source, tmp_path / "s", split="column:fold", shown=False)
    assert report.split == "column:fold"
    store = GraphStore(tmp_path / "s")
    assert store.split[:, 0].tolist() == [TRAIN, TEST, TRAIN, UNUSED]
    assert report.tasks[0].cells == (2, 0, 1, 1)
    with pytest.raises(DataError, match="no 'official' split; use scaffold, random, column:fold"):
        prepare(source, tmp_path / "x", split="official", shown=False)


def test_one_class_and_missing_training_labels_are_warned_of(tmp_path):
    labels = [[0, 1, np.nan]] * 9 + [[1, np.nan, 0]]
    split = np.full((10, 3), TRAIN, np.uint8)
    split[9] = TEST
    report = prepare(make(ALKANES, labels, split=split), tmp_path / "s", shown=False)
    untrained, one_class = report.warnings
    assert untrained == "1 of 3 tasks without training label: 't2'"
    assert one_class.startswith("3 of 3 tasks with one class only among their training labels")
    assert "'t0', 't1', 't2'" in one_class


def test_where_one_scaffold_leaves_nothing_to_train_on_another_split_is_offered(tmp_path):
    source = make(ALKANES, [[n % 2] for n in range(10)])
    report = prepare(source, tmp_path / "s", split="scaffold", shown=False)
    assert report.tasks[0].train == 0
    assert report.warnings[0].endswith(
        "label: 't0'; molecules of one scaffold stay together, so try --split random"
    )
    assert not prepare(source, tmp_path / "r", split="random", shown=False).warnings


def test_molecules_without_a_scaffold_are_mentioned(tmp_path, monkeypatch):
    monkeypatch.setattr("graphadapt.data.identity.murcko_scaffold", lambda mol: None)
    report = prepare(make(ALKANES[:3], [0, 1, 1]), tmp_path / "s", shown=False)
    assert "3 molecules have no scaffold that RDKit can cut" in report.warnings[0]


def test_a_published_set_keeps_its_rows_one_for_one(tmp_path):
    smiles = ["C", "C", "CC", "CCC"]
    labels = [0, 1, np.nan, 1]
    report = prepare(
        make(smiles, labels, curated=True), tmp_path / "s", split="random", shown=False
    )
    assert (report.molecules, report.unlabelled) == (4, 1)
    assert report.rejected_rows == {}


def test_a_published_set_reports_what_it_cannot_parse(tmp_path):
    source = make(["C", "C1CC", "CC"], [0, 1, 1], curated=True)
    for name, split in (("a", "scaffold"), ("b", "random")):
        report = prepare(source, tmp_path / name, split=split, shown=False)
        assert (report.molecules, report.rejected_rows) == (2, {"unparsable SMILES": 1})
        np.testing.assert_array_equal(GraphStore(tmp_path / name).row_numbers, [1, 3])


def test_molecules_without_tasks_can_be_stored(tmp_path):
    report = prepare(make(["C", "CC", "C"], np.zeros((3, 0))), tmp_path / "s", shown=False)
    assert (report.molecules, report.unlabelled, report.tasks) == (2, 2, ())
    assert GraphStore(tmp_path / "s").labels_float().shape == (2, 0)


@pytest.mark.parametrize("curated", [True, False])
def test_nothing_usable_is_an_error_that_says_why(tmp_path, curated):
    source = make(["C1CC", "x"], [1, 0], curated=curated)
    message = "no molecule of made can be used: 2 unparsable SMILES; the first is row 1, 'C1CC'"
    with pytest.raises(DataError, match=message):
        prepare(source, tmp_path / "s", split="random", shown=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_table_is_an_error(tmp_path):
    with pytest.raises(DataError, match="made has no molecules"):
        prepare(make([], np.zeros((0, 1))), tmp_path / "s", shown=False)


def test_a_taken_place_is_refused_before_any_work(tmp_path, monkeypatch):
    source = make(["C", "CC"], [0, 1])
    prepare(source, tmp_path / "s", shown=False)
    monkeypatch.setattr("graphadapt.data.prepare.Featuriser", None)
    with pytest.raises(DataError, match="exists already"):
        prepare(source, tmp_path / "s", shown=False)


def test_feature_columns_must_have_been_read(tmp_path):
    block = FeatureBlock(kind="columns", columns=("dose",))
    with pytest.raises(DataError, match="no feature column of made is named 'dose'"):
        prepare(make(["C"], [1]), tmp_path / "s", [block], shown=False)
    counts = FeatureBlock(kind="counts")
    with pytest.raises(DataError, match="'counts' features are asked for twice"):
        prepare(make(["C"], [1]), tmp_path / "s", [counts, counts], shown=False)


def test_many_chunks_are_written_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("graphadapt.data.featurised.CHUNK", 3)
    prepare(make(ALKANES, [0, 1] * 5), tmp_path / "s", split="random", shown=False)
    store = GraphStore(tmp_path / "s")
    assert [store.smiles(row) for row in range(10)] == ALKANES
    assert np.diff(store.atom_offsets).tolist() == list(range(1, 11))


def test_progress_goes_to_standard_error(tmp_path, capsys):
    prepare(make(["C", "CC"], [0, 1]), tmp_path / "s")
    out, err = capsys.readouterr()
    assert out == ""
    assert "featurising: 2/2" in err


def test_bbbp_comes_out_graph_for_graph(tmp_path, real_data):
    folder = real_data / "ogb" / "ogbg_molbbbp"
    if not is_ogb_folder(folder):
        pytest.skip(f"no {folder}")
    source = ogb_source(folder)
    report = prepare(source, tmp_path / "s", shown=False)
    store = GraphStore(tmp_path / "s")
    assert report.molecules == len(store) == 2039
    assert store.metric == "rocauc"
    for held, expected in zip(store.columns, source.graphs, strict=True):
        np.testing.assert_array_equal(held, expected)
    assert report.tasks[0].cells == (1631, 204, 204, 0)


def test_tox21_keeps_its_unusual_molecules(tmp_path, real_data):
    folder = real_data / "ogb" / "ogbg_moltox21"
    if not is_ogb_folder(folder):
        pytest.skip(f"no {folder}")
    report = prepare(ogb_source(folder), tmp_path / "s", processes=1, shown=False)
    assert (report.molecules, report.rejected_rows) == (7831, {})


def test_molecules_without_tasks_are_not_split(tmp_path, monkeypatch):
    monkeypatch.setattr("graphadapt.data.identity.murcko_scaffold", None)
    report = prepare(make(["C", "CC"], np.zeros((2, 0))), tmp_path / "s", shown=False)
    assert report.split == "none"


def test_a_task_without_usable_labels_is_left_out_with_a_warning(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("smiles,y,z\nC,1,high\nCC,0,low\nCCC,1,\n")
    source = table_source(path, tasks=["y", "z"])
    report = prepare(source, tmp_path / "s", split="random", shown=False)
    assert GraphStore(tmp_path / "s").task_names == ("y",)
    assert "'z' (2 label is not a number)" in report.warnings[0]
    assert report.rejected_labels == {"label is not a number": 2}
    with pytest.raises(DataError, match=r"no task of .*t\.csv has a label that can be used: 'z'"):
        prepare(table_source(path, tasks=["z"]), tmp_path / "x", shown=False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["s", "t.csv"]


def test_counts_do_not_depend_on_how_many_are_counted_at_a_time(tmp_path, monkeypatch):
    labels = [[0, 1, np.nan], [np.nan, 1, np.nan], [1, 0, np.nan], [0, 1, 1]]
    split = np.array([[0, 1, 2], [0, 1, 2], [0, 0, 0], [2, 1, 0]], np.uint8)
    source = make(ALKANES[:4], labels, split=split, curated=True)
    whole = prepare(source, tmp_path / "a", shown=False).to_dict()
    monkeypatch.setattr("graphadapt.data.prepare_report._STRETCH", 3)
    parts = prepare(source, tmp_path / "a", overwrite=True, shown=False).to_dict()
    assert parts == whole
    first = parts["tasks"][0]
    assert (first["train"], first["test"], first["positives"], first["unused"]) == (2, 1, 1, 0)
