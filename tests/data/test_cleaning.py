import numpy as np
import pytest

from graphadapt.data.cleaning import used_rows
from graphadapt.data.source import MoleculeSource, Rejected
from graphadapt.data.store import TaskInfo
from graphadapt.errors import DataError

NAN = float("nan")


def make(labels, names=("a", "b"), **more):
    labels = np.array(labels, np.float32).reshape(len(labels), len(names))
    return MoleculeSource(
        name="table",
        smiles=[f"written-{row}" for row in range(len(labels))],
        labels=labels,
        tasks=tuple(TaskInfo(name, "binary") for name in names),
        row_numbers=10 + np.arange(len(labels)),
        **more,
    )


def test_rows_that_stay_know_where_they_stood():
    source = make([[1, 0], [1, 1], [NAN, NAN], [0, NAN], [NAN, 0]])
    rows = used_rows(source, {1: "no ring closure"}, np.array([4, 7, 4, 2]))
    assert rows.positions.tolist() == [0, 4]
    assert rows.source.smiles == ["written-0", "written-4"]
    np.testing.assert_array_equal(rows.source.labels, np.float32([[NAN, 0], [NAN, 0]])[:, 1:])
    reasons = {(each.row, each.reason) for each in rows.source.rejected if not each.task}
    assert reasons == {
        (11, "unparsable SMILES"),
        (13, "duplicate, merged"),
        (12, "no label"),
    }


def test_a_published_set_loses_only_what_is_no_molecule():
    source = make([[1, NAN], [NAN, NAN], [1, NAN]], curated=True)
    rows = used_rows(source, {0: "broken"}, None)
    assert rows.positions.tolist() == [1, 2]
    assert rows.source.task_names == ["a", "b"]
    assert [each.detail for each in rows.source.rejected] == ["broken"]


def test_a_task_without_a_usable_label_is_left_out_by_name():
    rejected = (
        Rejected(10, "written-0", "label is not a number", "b", "high"),
        Rejected(11, "written-1", "label is not a number", "b", "low"),
        Rejected(11, "written-1", "label is not 0 or 1", "a", "7"),
    )
    source = make(
        [[1, NAN, NAN], [NAN, NAN, NAN]],
        ("a", "b", "c"),
        rejected=rejected,
        split=np.array([[0, 1, 2], [0, 1, 2]], np.uint8),
    )
    rows = used_rows(source, {}, np.array([0, 1]))
    assert rows.source.task_names == ["a"]
    assert rows.source.split.tolist() == [[0]]
    assert rows.source.warnings == (
        "2 of 3 tasks are left out, because no label of theirs can be used: "
        "'b' (2 label is not a number), 'c' (none written)",
    )
    assert set(rejected) < set(rows.source.rejected)


def test_a_task_whose_labels_all_contradict_is_left_out():
    rows = used_rows(make([[1, 1], [0, 1], [NAN, 0]]), {}, np.array([0, 0, 1]))
    assert rows.source.task_names == ["b"]
    assert "'a' (2 contradicting duplicates)" in rows.source.warnings[0]


def test_no_usable_label_at_all_is_an_error_that_says_why():
    rejected = (Rejected(10, "written-0", "label is not a number", "a", "high"),)
    source = make([[NAN, NAN]], rejected=rejected)
    message = (
        r"no task of table has a label that can be used: 'a' \(1 label is not a number\), "
        r"'b' \(none written\); write labels as numbers"
    )
    with pytest.raises(DataError, match=message):
        used_rows(source, {}, np.array([0]))


def test_molecules_without_tasks_stay():
    rows = used_rows(make(np.zeros((3, 0)), ()), {}, np.array([0, 1, 0]))
    assert rows.positions.tolist() == [0, 1]
    assert rows.source.warnings == ()


def test_the_first_of_the_rows_that_cannot_be_used_is_named():
    with pytest.raises(DataError, match="2 unparsable SMILES; the first is row 10, 'written-0'"):
        used_rows(make([[1, 1], [1, 1]]), {1: "x", 0: "y"}, np.zeros(0, np.int64))
    with pytest.raises(DataError, match="table has no molecules"):
        used_rows(make(np.zeros((0, 2))), {}, np.zeros(0, np.int64))
