import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.data.duplicates import AGREEMENT, merge_duplicates
from graphadapt.data.source import MoleculeSource
from graphadapt.data.split import TEST, TRAIN, UNUSED
from graphadapt.data.store import TaskInfo

NAN = float("nan")


def merge(source, names):
    """Merge rows whose molecules have these names, and hold what stayed against the result."""
    merged, kept = merge_duplicates(source, np.array([sorted(names).index(name) for name in names]))
    assert [source.smiles[row] for row in kept] == merged.smiles
    return merged


def make(labels, kinds, split=None, **more):
    labels = np.array(labels, np.float32)
    return MoleculeSource(
        name="table",
        smiles=[f"written-{row}" for row in range(len(labels))],
        labels=labels,
        tasks=tuple(TaskInfo(f"t{index}", kind) for index, kind in enumerate(kinds)),
        row_numbers=np.arange(1, len(labels) + 1),
        split=None if split is None else np.array(split, np.uint8),
        **more,
    )


def test_rows_that_agree_become_one_and_are_listed():
    source = make([[1, NAN], [0, 1], [1, 0]], ["binary", "binary"])
    merged = merge(source, ["A", "B", "A"])
    np.testing.assert_array_equal(merged.labels, np.float32([[1, 0], [0, 1]]))
    assert merged.smiles == ["written-0", "written-1"]
    (gone,) = merged.rejected
    assert (gone.row, gone.reason, gone.detail) == (3, "duplicate, merged", "into row 1")


def test_contradicting_binary_labels_leave_the_cell_empty_and_are_all_listed():
    source = make([[1, 1], [0, 1], [NAN, 1]], ["binary", "binary"])
    merged = merge(source, ["A", "A", "A"])
    np.testing.assert_array_equal(merged.labels, np.float32([[NAN, 1]]))
    cells = [each for each in merged.rejected if each.task]
    assert [(each.row, each.task, each.reason) for each in cells] == [
        (1, "t0", "contradicting duplicates"),
        (2, "t0", "contradicting duplicates"),
    ]


def test_measured_values_are_averaged_within_half_a_standard_deviation():
    values = [[1.0], [1.4], [5.0], [9.0], [-3.0], [0.0]]
    spread = np.std(values)
    assert 0.4 < AGREEMENT * spread < 4
    merged = merge(make(values, ["regression"]), ["A", "A", "B", "B", "C", "D"])
    np.testing.assert_allclose(merged.labels[:, 0], [1.2, NAN, -3, 0], rtol=1e-6)
    assert [each.row for each in merged.rejected if each.task] == [3, 4]


def test_a_merged_cell_keeps_the_split_of_the_row_that_labels_it():
    source = make(
        [[NAN, 1, 0], [1, 1, NAN]],
        ["binary"] * 3,
        split=[[UNUSED, TRAIN, TRAIN], [TEST, TEST, UNUSED]],
    )
    merged = merge(source, ["A", "A"])
    assert merged.split.tolist() == [[TEST, TRAIN, TRAIN]]


def test_flags_join_and_the_first_row_gives_the_features():
    source = make(
        [[1], [1]],
        ["binary"],
        flags={"cliff": np.array([[False], [True]])},
        columns={"pH": np.float32([7, 5])},
    )
    merged = merge(source, ["A", "A"])
    assert merged.flags["cliff"].tolist() == [[True]]
    assert merged.columns["pH"].tolist() == [7]
    assert source.flags["cliff"].tolist() == [[False], [True]]


def test_without_duplicates_nothing_changes():
    source = make([[1], [0]], ["binary"])
    assert merge(source, ["A", "B"]) is source


def test_a_table_without_tasks_merges_too():
    merged = merge(make(np.zeros((3, 0)), []), ["A", "B", "A"])
    assert merged.smiles == ["written-0", "written-1"]


def slow_merge(labels, kinds, names):
    """Labels by molecule in order of first appearance, by the rule in words."""
    tolerance = [
        0.0 if kind == "binary" else AGREEMENT * np.nanstd(np.float64(column))
        for kind, column in zip(kinds, np.transpose(labels), strict=True)
    ]
    merged = []
    for name in dict.fromkeys(names):
        rows = [row for row, other in zip(labels, names, strict=True) if other == name]
        cells = []
        for task in range(len(kinds)):
            held = [row[task] for row in rows if not np.isnan(row[task])]
            agrees = held and max(held) - min(held) <= tolerance[task]
            cells.append(np.mean(held) if agrees else NAN)
        merged.append(cells)
    return merged


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ABCDE"),
            st.sampled_from([0.0, 1.0, NAN]),
            st.sampled_from([0.0, 0.25, 1.0, 4.0, NAN]),
        ),
        min_size=1,
        max_size=25,
    ).filter(lambda rows: any(not np.isnan(row[2]) for row in rows))
)
def test_merging_agrees_with_a_slow_loop(rows):
    names = [row[0] for row in rows]
    labels = [list(row[1:]) for row in rows]
    kinds = ["binary", "regression"]
    merged = merge(make(labels, kinds), names)
    np.testing.assert_allclose(merged.labels, slow_merge(labels, kinds, names), rtol=1e-6)
    gone = [each for each in merged.rejected if not each.task]
    assert len(gone) + len(merged) == len(rows)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_the_order_of_rows_does_not_change_the_labels(order):
    labels = np.array([[1, 2.0], [1, 2.1], [0, 7.0], [NAN, -4.0]])[order]
    names = np.array(["A", "A", "A", "B"])[order]
    merged = merge(make(labels, ["binary", "regression"]), list(names))
    first = {name: row for row, name in reversed(list(enumerate(dict.fromkeys(names))))}
    assert np.isnan(merged.labels[first["A"]]).all()
    np.testing.assert_allclose(merged.labels[first["B"]], [NAN, -4.0])
