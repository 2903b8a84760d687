import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphadapt.data.ragged import GraphColumns
from graphadapt.data.split import TEST, TRAIN, UNUSED, VALID
from graphadapt.data.store import GraphStore, TaskInfo, is_store
from graphadapt.data.store_writer import ColumnFile, StoreWriter
from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles

SMILES = ["C", "CCO", "c1ccccc1", "[Na+].[Cl-]", "C/C=C/C#N", "O=S(=O)(O)O", "[2H]C"]
COUNTS = FeatureBlock(kind="counts", size=16)
COLUMNS = FeatureBlock(kind="columns", columns=("dose",))


@st.composite
def stores(draw):
    """Everything that goes into a store, and in which chunks."""
    kinds = draw(st.lists(st.sampled_from(["binary", "regression"]), max_size=3))
    count = draw(st.integers(1, 12))
    label = {
        "binary": st.sampled_from([0.0, 1.0, float("nan")]),
        "regression": st.floats(width=32, allow_infinity=False),
    }
    rows = draw(
        st.lists(st.tuples(*(label[kind] for kind in kinds)), min_size=count, max_size=count)
    )
    split = draw(
        st.lists(
            st.tuples(*(st.sampled_from([TRAIN, VALID, TEST, UNUSED]) for _ in kinds)),
            min_size=count,
            max_size=count,
        )
    )
    return {
        "tasks": [TaskInfo(f"t{index}", kind, "µM") for index, kind in enumerate(kinds)],
        "molecules": draw(
            st.lists(st.integers(0, len(SMILES) - 1), min_size=count, max_size=count)
        ),
        "labels": np.array(rows, np.float32).reshape(count, len(kinds)),
        "split": np.array(split, np.uint8).reshape(count, len(kinds)),
        "counts": np.array(
            draw(st.lists(st.integers(0, 255), min_size=count, max_size=count)), np.uint8
        )[:, None]
        + np.zeros((1, 16), np.uint8),
        "cuts": sorted(draw(st.lists(st.integers(0, count), max_size=3))),
    }


def write(folder, case, **options):
    count = len(case["molecules"])
    writer = StoreWriter(
        folder,
        tasks=case["tasks"],
        feature_blocks=[COUNTS, COLUMNS],
        flags=["cliff"],
        source="test",
        metric="ap",
        split="random",
        **options,
    )
    with writer:
        for start, end in zip([0, *case["cuts"]], [*case["cuts"], count], strict=True):
            rows = np.arange(start, end)
            names = [SMILES[case["molecules"][row]] for row in rows]
            writer.extend(
                GraphColumns.from_molecules([featurise_smiles(name) for name in names]),
                smiles=names,
                labels_GT=case["labels"][rows],
                split_GT=case["split"][rows],
                row_numbers=rows + 1,
                flags={"cliff": case["split"][rows] == TEST},
                features={
                    "counts": case["counts"][rows],
                    "columns": rows[:, None].astype(np.float32),
                },
            )
    return GraphStore(folder)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(stores())
def test_what_is_written_is_read_back(tmp_path, case):
    store = write(tmp_path / "store", case, overwrite=True)
    assert len(store) == len(case["molecules"])
    assert store.tasks == tuple(case["tasks"])
    assert store.task_names == tuple(task.name for task in case["tasks"])
    assert store.metric == "ap"
    assert store.ogb_set == ""
    assert store.source == "test"
    np.testing.assert_array_equal(store.labels_float(), case["labels"])
    missing = np.isnan(case["labels"])
    np.testing.assert_array_equal(store.split, np.where(missing, UNUSED, case["split"]))
    np.testing.assert_array_equal(store.cells(VALID), ~missing & (case["split"] == VALID))
    np.testing.assert_array_equal(store.flags("cliff"), case["split"] == TEST)
    np.testing.assert_array_equal(store.features([COUNTS]), case["counts"])
    both = store.features([COLUMNS, "counts"])
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both[:, 0], np.arange(len(store)))
    np.testing.assert_array_equal(both[:, 1:], case["counts"])
    for row, index in enumerate(case["molecules"]):
        assert store.smiles(row) == SMILES[index]
        for held, made in zip(store.molecule(row), featurise_smiles(SMILES[index]), strict=True):
            np.testing.assert_array_equal(held, made)


@pytest.fixture
def case():
    labels = np.float32([[1, 0], [np.nan, 1], [0, np.nan]])
    return {
        "tasks": [TaskInfo("a", "binary"), TaskInfo("b", "binary")],
        "molecules": [1, 0, 3],
        "labels": labels,
        "split": np.uint8([[0, 0], [1, 1], [2, 2]]),
        "counts": np.zeros((3, 16), np.uint8),
        "cuts": [],
    }


def test_binary_labels_take_a_byte_and_mixed_ones_a_float(tmp_path, case):
    assert write(tmp_path / "a", case).labels.dtype == np.int8
    case["tasks"][1] = TaskInfo("b", "regression")
    store = write(tmp_path / "b", case)
    assert store.labels.dtype == np.float32
    np.testing.assert_array_equal(store.labels_float(), case["labels"])
    assert store.is_binary.tolist() == [True, False]


def test_labels_of_some_rows(tmp_path, case):
    store = write(tmp_path / "s", case)
    np.testing.assert_array_equal(store.labels_float(np.array([2, 0])), case["labels"][[2, 0]])


def test_columns_are_mapped_read_only(tmp_path, case):
    store = write(tmp_path / "s", case)
    assert isinstance(store.atoms, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.atoms[0, 0] = 1
    assert isinstance(store.features(["counts"]), np.memmap)
    assert store.features([]).shape == (3, 0)


def test_rows_count_from_either_end(tmp_path, case):
    store = write(tmp_path / "s", case)
    assert store.smiles(-1) == "[Na+].[Cl-]"
    assert len(store.molecule(-3).atoms) == 3
    with pytest.raises(IndexError, match="row 3 is outside a store of 3 molecules"):
        store.molecule(3)


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path, case):
    case["labels"] = case["labels"][:, :1]
    with pytest.raises(ValueError, match="do not fit a column"):
        write(tmp_path / "s", case)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_leaves_the_store_before_it(tmp_path, case):
    write(tmp_path / "s", case)
    broken = {**case, "labels": case["labels"][:, :1]}
    with pytest.raises(ValueError, match="do not fit a column"):
        write(tmp_path / "s", broken, overwrite=True)
    assert len(GraphStore(tmp_path / "s")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_existing_store_is_kept_unless_told_otherwise(tmp_path, case):
    write(tmp_path / "s", case)
    with pytest.raises(DataError, match=r"exists already; .* --force"):
        write(tmp_path / "s", case)
    shorter = {
        key: value[:2] if key in ("molecules", "labels", "split", "counts") else value
        for key, value in case.items()
    }
    assert len(write(tmp_path / "s", shorter, overwrite=True)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path, case):
    (tmp_path / "photo.png").write_text("mine")
    with pytest.raises(DataError, match="exists and is not a graph store"):
        write(tmp_path, case, overwrite=True)
    assert (tmp_path / "photo.png").read_text() == "mine"


def test_an_open_store_survives_being_replaced(tmp_path, case):
    store = write(tmp_path / "s", case)
    before = store.labels_float()
    write(tmp_path / "s", {**case, "labels": case["labels"][::-1].copy()}, overwrite=True)
    np.testing.assert_array_equal(store.labels_float(), before)


def test_an_empty_folder_may_be_used(tmp_path, case):
    (tmp_path / "s").mkdir()
    assert len(write(tmp_path / "s", case)) == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda g: g._replace(bonds=g.bonds + np.int16(7)), "a bond names an atom"),
        (lambda g: g._replace(bonds=-g.bonds), "a bond names an atom"),
        (lambda g: g._replace(atoms=g.atoms | 128), "atoms hold codes outside the vocabulary"),
        (lambda g: g._replace(bond_features=g.bond_features | 8), "bond_features hold codes"),
    ],
)
def test_impossible_graphs_are_refused(tmp_path, spoil, message):
    graphs = spoil(GraphColumns.from_molecules([featurise_smiles("CCO")]))
    labels = np.zeros((1, 0), np.float32)
    with (
        pytest.raises(DataError, match=message),
        StoreWriter(tmp_path / "s", tasks=[]) as writer,
    ):
        writer.extend(
            graphs,
            smiles=["CCO"],
            labels_GT=labels,
            split_GT=labels.astype(np.uint8),
            row_numbers=np.array([1]),
        )
    assert not is_store(tmp_path / "s")


def edit(folder, **changes):
    path = folder / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: edit(s, format=99), "has format 99, this program reads 1"),
        (lambda s: edit(s, featurisation_version=0), "has featurisation_version 0"),
        (lambda s: edit(s, molecules=5), "is damaged: atom_offsets has shape"),
        (lambda s: (s / "store.json").write_text("{"), "is not JSON"),
        (lambda s: (s / "store.json").unlink(), "has no store.json; make a store with"),
        (lambda s: (s / "atoms.npy").unlink(), "is damaged: atoms.npy is missing"),
        (lambda s: (s / "atoms.npy").write_bytes(b""), "is damaged"),
        (lambda s: (s / "labels.npy").write_bytes((s / "labels.npy").read_bytes()[:-1]), "damaged"),
    ],
)
def test_damaged_stores_are_refused(tmp_path, case, spoil, message):
    write(tmp_path / "s", case)
    spoil(tmp_path / "s")
    with pytest.raises(DataError, match=message):
        GraphStore(tmp_path / "s")


def test_missing_parts_name_what_exists(tmp_path, case):
    store = write(tmp_path / "s", case)
    with pytest.raises(DataError, match="has no flag 'clif'; it has cliff"):
        store.flags("clif")
    with pytest.raises(DataError, match="has no 'descriptors' features; it has counts, columns"):
        store.features(["descriptors"])
    with pytest.raises(DataError, match="holds 'counts' features of other settings"):
        store.features([FeatureBlock(kind="counts", size=32)])
    with pytest.raises(DataError, match="is not a folder; make a store with"):
        GraphStore(tmp_path / "nowhere")


def test_a_task_is_binary_or_a_regression():
    with pytest.raises(DataError, match="task 'a' has kind 'multiclass'"):
        TaskInfo("a", "multiclass")
    info = TaskInfo("a", "regression", "°C")
    assert TaskInfo(**info.to_dict()) == info


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=5), st.sampled_from(["u1", "<f4", "<i8", "?"]))
def test_a_column_file_is_what_numpy_would_save(tmp_path_factory, chunks, dtype):
    path = tmp_path_factory.mktemp("column") / "c.npy"
    column = ColumnFile(path, dtype, (3,))
    blocks = [np.arange(3 * rows).reshape(rows, 3).astype(dtype) for rows in chunks]
    for block in blocks:
        column.append(block)
    column.close()
    expected = np.concatenate([np.zeros((0, 3), dtype), *blocks])
    read = np.load(path, allow_pickle=False)
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), expected)


def test_a_column_that_was_not_completed_cannot_be_read(tmp_path):
    column = ColumnFile(tmp_path / "c.npy", np.uint8)
    column.append(np.zeros(3, np.uint8))
    column.close(complete=False)
    with pytest.raises(ValueError, match=r"pickle|magic|Cannot load"):
        np.load(tmp_path / "c.npy", allow_pickle=False)
