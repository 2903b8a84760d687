import numpy as np
import pytest

from graphadapt.data.source import detect_kind
from graphadapt.data.split import TEST, TRAIN, UNUSED
from graphadapt.data.user_table import table_source
from graphadapt.errors import DataError

NAN = float("nan")


@pytest.fixture
def written(tmp_path):
    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_tasks_and_their_kinds_are_detected(written):
    source = table_source(
        written("mol_id,smiles,active,logP,who\n7,C,1,0.5,x\n8,CC,0,,y\n9,CCC,,1,z\n")
    )
    assert [(task.name, task.kind) for task in source.tasks] == [
        ("active", "binary"),
        ("logP", "regression"),
    ]
    np.testing.assert_array_equal(source.labels, np.float32([[1, 0.5], [0, NAN], [NAN, 1]]))
    assert source.split is None
    assert not source.curated
    (warning,) = source.warnings
    assert "not used: 'mol_id', 'who'" in warning


def test_kinds_and_units_can_be_said(written):
    path = written("smiles,a,b\nC,1,1\nCC,0,0\n")
    source = table_source(path, kinds={"a": "regression"}, units={"a": "mg/L"})
    assert [(task.kind, task.units) for task in source.tasks] == [
        ("regression", "mg/L"),
        ("binary", ""),
    ]


def test_named_tasks_come_in_that_order(written):
    path = written("smiles,id,b,a\nC,1,2,3\n")
    assert table_source(path, tasks=["a", "id"]).task_names == ["a", "id"]


def test_labels_that_are_no_number_are_cells_not_rows(written):
    source = table_source(written("smiles,a,b\nC,>5,1\nCC,2.5,0\nCCC,3,1\n"))
    np.testing.assert_array_equal(source.labels[:, 0], np.float32([NAN, 2.5, 3]))
    (cell,) = source.rejected
    assert (cell.row, cell.smiles, cell.task) == (1, "C", "a")
    assert (cell.reason, cell.detail) == ("label is not a number", ">5")


def test_a_task_said_to_be_binary_rejects_other_labels(written):
    source = table_source(written("smiles,a\nC,2\nCC,1\nCCC,0\n"), kinds={"a": "binary"})
    np.testing.assert_array_equal(source.labels[:, 0], np.float32([NAN, 1, 0]))
    (cell,) = source.rejected
    assert (cell.row, cell.reason, cell.detail) == (1, "label is not 0 or 1", "2")


def test_rows_that_cannot_be_used_are_listed(written):
    source = table_source(
        written("smiles,a,dose\nC,1,5\n,1,5\nCC,1\nCCC,0,\nO,0,6\n"), columns=["dose"]
    )
    assert source.smiles == ["C", "O"]
    assert source.row_numbers.tolist() == [1, 5]
    assert source.columns["dose"].tolist() == [5, 6]
    assert source.task_names == ["a"]
    assert [(each.row, each.reason, each.detail) for each in source.rejected] == [
        (2, "no SMILES", ""),
        (3, "malformed row", "2 cells, the header has 3"),
        (4, "feature is not a number", "dose"),
    ]


def test_a_split_column_becomes_cells(written):
    path = written("smiles,a,b,fold\nC,1,,train\nCC,0,1,test\nCCC,1,0,\n")
    source = table_source(path, split_column="fold")
    assert source.split_name == "column:fold"
    assert source.task_names == ["a", "b"]
    assert source.split.tolist() == [[TRAIN, UNUSED], [TEST, TEST], [UNUSED, UNUSED]]


def test_plain_smiles_have_no_tasks(written):
    source = table_source(written("CCO ethanol\nC\n", "m.smi"))
    assert source.tasks == ()
    assert source.labels.shape == (2, 0)
    assert source.warnings == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["activ"]}, "did you mean 'active'"),
        ({"columns": ["dos"]}, "no column in .* is named 'dos'"),
        ({"split_column": "folds"}, "no column in .* is named 'folds'"),
        ({"kinds": {"activ": "binary"}}, "no task of .* is named 'activ'; did you mean 'active'"),
        ({"units": {"x": "m"}}, "no task of .* is named 'x'; there are 'active'"),
        ({"split_column": "active"}, "split column 'active' holds '1'"),
    ],
)
def test_names_that_do_not_exist_are_refused(written, options, message):
    with pytest.raises(DataError, match=message):
        table_source(written("smiles,active\nC,1\n"), **options)


def test_a_table_of_texts_has_no_task(written):
    path = written("smiles,class\nC,active\nCC,inactive\n")
    with pytest.raises(DataError, match="no column of numeric labels beside its SMILES; it has 'c"):
        table_source(path)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [([0, 1, NAN], "binary"), ([NAN], "binary"), ([0, 2], "regression"), ([0.5], "regression")],
)
def test_only_zeros_and_ones_are_binary(labels, kind):
    assert detect_kind(np.float32(labels)) == kind
