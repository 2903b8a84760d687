import gzip
import shutil

import numpy as np
import pytest

from graphadapt.data.ogb_layout import is_ogb_folder, ogb_source
from graphadapt.data.prepare import prepare
from graphadapt.data.ragged import GraphColumns
from graphadapt.data.split import SPLIT_CODES, TEST, TRAIN, UNUSED, VALID
from graphadapt.data.store import GraphStore
from graphadapt.data.tables import read_table
from graphadapt.errors import DataError
from graphadapt.molecules.featurise import featurise_smiles

SMILES = ["CCO", "C", "c1ccccc1", "[Na+].[Cl-]"]
MASTER = """,ogbg-molsmall,ogbg-ppa
num tasks,2,1
eval metric,ap,acc
download_name,small,ppa
url,{url},nowhere
data type,mol,
task type,binary classification,multiclass classification
split,scaffold,species
"""


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def rows(values):
    return "".join(",".join(map(str, row)) + "\n" for row in np.atleast_2d(values).tolist())


def write_set(folder, *, raw=True):
    """Four molecules in OGB's layout."""
    labels = ["0,1", ",0", "1,", ","]
    lines = [
        f"{label},{text},m{row}"
        for row, (label, text) in enumerate(zip(labels, SMILES, strict=True))
    ]
    put(folder / "mapping" / "mol.csv.gz", "\n".join(["a,b,smiles,mol_id", *lines]))
    for part, indices in {"train": [0, 2], "valid": [3], "test": [1]}.items():
        text = "".join(f"{index}\n" for index in indices)
        put(folder / "split" / "scaffold" / f"{part}.csv.gz", text)
    if raw:
        graphs = GraphColumns.from_molecules([featurise_smiles(text) for text in SMILES])
        put(folder / "raw" / "node-feat.csv.gz", rows(graphs.atoms))
        put(folder / "raw" / "edge.csv.gz", rows(graphs.bonds))
        put(folder / "raw" / "edge-feat.csv.gz", rows(graphs.bond_features))
        put(folder / "raw" / "num-node-list.csv.gz", rows(np.diff(graphs.atom_offsets)[:, None]))
        put(folder / "raw" / "num-edge-list.csv.gz", rows(np.diff(graphs.bond_offsets)[:, None]))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_set(tmp_path / "ogbg_molsmall")


def test_labels_split_and_graphs_are_read(folder):
    source = ogb_source(folder)
    assert source.name == "ogbg-molsmall"
    assert source.smiles == SMILES
    assert source.task_names == ["a", "b"]
    assert source.split.tolist() == [[TRAIN, TRAIN], [UNUSED, TEST], [TRAIN, UNUSED], [UNUSED] * 2]
    nan = np.nan
    expected = np.float32([[0, 1], [nan, 0], [1, nan], [nan, nan]])
    np.testing.assert_array_equal(source.labels, expected)
    made = GraphColumns.from_molecules([featurise_smiles(text) for text in SMILES])
    for held, expected_column in zip(source.graphs, made, strict=True):
        np.testing.assert_array_equal(held, expected_column)
        assert held.dtype == expected_column.dtype


def test_without_raw_files_the_smiles_make_the_graphs(tmp_path):
    assert ogb_source(write_set(tmp_path / "ogbg_molsmall", raw=False)).graphs is None


def test_the_table_beside_the_set_says_metric_and_kind(folder):
    assert ogb_source(folder).metric is None
    text = MASTER.format(url="").replace("binary classification", "regression")
    (folder.parent / "master.csv").write_text(text)
    source = ogb_source(folder)
    assert source.metric == "ap"
    assert {task.kind for task in source.tasks} == {"regression"}


def test_a_known_set_takes_its_metric_from_ogb(folder):
    pytest.importorskip("ogb")
    known = folder.rename(folder.with_name("ogbg_molmuv"))
    assert ogb_source(known).metric == "ap"
    prepare(ogb_source(known), known.parent / "store", shown=False)
    assert GraphStore(known.parent / "store").ogb_set == "ogbg-molmuv"


def spoil_text(name, change):
    def spoil(folder):
        path = folder / name
        put(path, change(gzip.decompress(path.read_bytes()).decode()))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: shutil.rmtree(f / "mapping"), "has no mapping/mol.csv.gz"),
        (spoil_text("mapping/mol.csv.gz", lambda t: t.replace("0,1,", "0,x,")), "holds 'x', not"),
        (spoil_text("mapping/mol.csv.gz", lambda t: t.replace("0,1,", "0,")), "has 3 cells"),
        (spoil_text("split/scaffold/test.csv.gz", lambda t: "9\n"), "names row 9 of 4 molecules"),
        (spoil_text("split/scaffold/test.csv.gz", lambda t: "0\n"), "another part of the split"),
        (lambda f: (f / "split/scaffold/test.csv.gz").unlink(), "is missing; the set is not comp"),
        (spoil_text("raw/node-feat.csv.gz", lambda t: t[: t.rindex("\n", 0, -1) + 1]), "of 12 ato"),
        (spoil_text("raw/node-feat.csv.gz", lambda t: t.replace("5,", "5.5,")), "is damaged"),
        (spoil_text("raw/edge.csv.gz", lambda t: t.replace(",", ",1,")), "has 3 columns, not 2"),
        (lambda f: (f / "raw/edge.csv.gz").write_bytes(b"plain"), "is damaged"),
        (lambda f: (f / "split" / "other").mkdir(), "the official one is unclear"),
    ],
)
def test_damaged_sets_are_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(DataError, match=message):
        ogb_source(folder)


def test_an_empty_part_of_the_split_is_allowed(folder):
    put(folder / "split" / "scaffold" / "valid.csv.gz", "")
    assert not (ogb_source(folder).split == VALID).any()


def test_the_graphs_of_bbbp_are_those_of_the_featuriser(real_data):
    folder = real_data / "ogb" / "ogbg_molbbbp"
    if not is_ogb_folder(folder):
        pytest.skip(f"no {folder}")
    source = ogb_source(folder)
    assert len(source) == 2039
    made = GraphColumns.from_molecules([featurise_smiles(text) for text in source.smiles])
    for held, expected in zip(source.graphs, made, strict=True):
        np.testing.assert_array_equal(held, expected)
    with gzip.open(folder / "raw" / "graph-label.csv.gz", "rt") as file:
        assert source.labels[:, 0].tolist() == [float(line) for line in file]
    for part, code in SPLIT_CODES.items():
        with gzip.open(folder / "split" / "scaffold" / f"{part}.csv.gz", "rt") as file:
            official = [int(line) for line in file]
        assert np.flatnonzero(source.split[:, 0] == code).tolist() == official


@pytest.mark.parametrize(
    ("name", "shape", "share", "metric"),
    [
        ("moltox21", (7831, 12), 0.83, "rocauc"),
        ("molsider", (1427, 27), 1.0, "rocauc"),
        ("moltoxcast", (8576, 617), 0.29, "rocauc"),
    ],
)
def test_real_sets_have_their_published_shape(real_data, name, shape, share, metric):
    folder = real_data / "ogb" / f"ogbg_{name}"
    if not is_ogb_folder(folder):
        pytest.skip(f"no {folder}")
    source = ogb_source(folder)
    assert source.labels.shape == shape
    assert (~np.isnan(source.labels)).mean() == pytest.approx(share, abs=0.01)
    assert source.metric == metric
    assert {task.kind for task in source.tasks} == {"binary"}
    assert source.smiles == read_table(folder / "mapping" / "mol.csv.gz", columns=[]).smiles
