import csv
import io
import zipfile

import numpy as np
import pytest

from graphadapt.data.moleculeace import MOLECULEACE_UNITS, moleculeace_source
from graphadapt.data.moleculeace_pack import pack_moleculeace
from graphadapt.data.split import TEST, TRAIN, UNUSED
from graphadapt.errors import DataError


@pytest.fixture(scope="module")
def source():
    return moleculeace_source()


def test_the_published_counts(source):
    labelled = ~np.isnan(source.labels)
    assert source.labels.shape == (35_633, 30)
    assert labelled.sum() == 48_714
    assert len(set(source.smiles)) == 35_633
    assert ((source.split == TRAIN).sum(), (source.split == TEST).sum()) == (38_912, 9_802)
    np.testing.assert_array_equal(source.split == UNUSED, ~labelled)
    assert source.task_names[4] == "CHEMBL204_Ki"
    assert labelled[:, 4].sum() == 2754
    assert not (source.flags["cliff"] & ~labelled).any()
    both = (source.split == TRAIN).any(1) & (source.split == TEST).any(1)
    assert both.sum() == 3_545


def test_the_first_rows_of_a_published_table(source):
    thrombin = source.task_names.index("CHEMBL204_Ki")
    row = source.smiles.index("CC(=N)N1CCC(Oc2ccc3nc(CCC(=O)O)n(Cc4ccc5ccc(C(=N)N)cc5c4)c3c2)CC1")
    assert source.labels[row, thrombin] == np.float32(-3.4265112613645754)
    assert source.split[row, thrombin] == TEST
    assert source.flags["cliff"][row, thrombin]
    row = source.smiles.index("CC(=N)N1CCC(Oc2ccc3c(c2)nc(C(C)C)n3Cc2ccc3ccc(C(=N)N)cc3c2)CC1")
    assert source.labels[row, thrombin] == np.float32(-2.9395192526186187)
    assert source.split[row, thrombin] == TRAIN


def test_every_task_is_a_regression_with_units(source):
    assert {(task.kind, task.units) for task in source.tasks} == {("regression", MOLECULEACE_UNITS)}
    assert source.metric == "rmse"
    assert source.curated


def test_some_targets_bring_only_their_molecules():
    source = moleculeace_source(["CHEMBL4203_Ki", "CHEMBL1862_Ki"])
    assert source.task_names == ["CHEMBL4203_Ki", "CHEMBL1862_Ki"]
    assert (~np.isnan(source.labels)).any(1).all()
    assert source.flags["cliff"].shape == source.split.shape == source.labels.shape
    assert (~np.isnan(source.labels)).sum(0).tolist() == [731, 794]


def test_an_unknown_target_is_answered_with_the_nearest():
    with pytest.raises(DataError, match="did you mean 'CHEMBL204_Ki'"):
        moleculeace_source(["CHEMBL204_ki"])


def wheel(path, tables):
    with zipfile.ZipFile(path, "w") as archive:
        for name, rows in tables.items():
            text = io.StringIO()
            table = csv.writer(text)
            table.writerow(["smiles", "exp_mean [nM]", "y", "cliff_mol", "split"])
            table.writerows(rows)
            archive.writestr(f"MoleculeACE/Data/benchmark_data/{name}.csv", text.getvalue())
    return path


def test_packing_joins_tables_by_smiles(tmp_path, monkeypatch):
    path = wheel(
        tmp_path / "w.whl",
        {
            "B_Ki": [["C", "10.0", -1, 0, "train"], ["CC", "100.0", -2, 1, "test"]],
            "A_Ki": [["CC", "1.0", 0, 0, "train"]],
        },
    )
    folder = tmp_path / "moleculeace"
    assert pack_moleculeace(path, folder) == (2, 3)
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    pack_moleculeace(path, folder)
    assert first == {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr("graphadapt.data.moleculeace.resources.files", lambda _: tmp_path)
    source = moleculeace_source()
    assert source.smiles == ["CC", "C"]
    assert source.task_names == ["A_Ki", "B_Ki"]
    np.testing.assert_array_equal(source.labels, np.float32([[0, -2], [np.nan, -1]]))
    assert source.split.tolist() == [[TRAIN, TEST], [UNUSED, TRAIN]]
    assert source.flags["cliff"].tolist() == [[False, True], [False, False]]


def test_packing_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no MoleculeACE"):
        pack_moleculeace(wheel(tmp_path / "w.whl", {}), tmp_path)
    (tmp_path / "x.whl").write_text("no")
    with pytest.raises(DataError, match="is not a readable wheel"):
        pack_moleculeace(tmp_path / "x.whl", tmp_path)
