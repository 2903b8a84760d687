import json

import numpy as np
import pytest
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.cli.prepare import parse_features, parse_names, parse_pairs
from graphadapt.data.store import GraphStore
from graphadapt.errors import ConfigError

TABLE = """smiles,active,logP,pH,dose,fold
CCO,1,0.5,7,1,train
C1CC,1,0.5,7,2,train
c1ccccc1,0,high,7,4,test
c1ccncc1,0,5,6,6,train
CCN,1,-2.5,5,9,train
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)

    def invoke(*arguments):
        return CliRunner().invoke(main, ["prepare", *arguments])

    return invoke


def test_a_users_table_in_one_command(run, tmp_path):
    result = run(
        *("t.csv", "-o", "store", "--tasks", "active,logP", "--kind", "active=regression"),
        *("--units", "logP=log10", "--split", "column:fold"),
        *("--features", "counts,columns:pH,dose,descriptors", "--processes", "1"),
    )
    assert result.exit_code == 0, result.stderr
    store = GraphStore(tmp_path / "store")
    assert [(task.name, task.kind, task.units) for task in store.tasks] == [
        ("active", "regression", ""),
        ("logP", "regression", "log10"),
    ]
    assert [block.kind for block in store.feature_blocks] == ["counts", "descriptors", "columns"]
    np.testing.assert_array_equal(store.features(["columns"])[:, 1], [1, 4, 6, 9])
    assert "4 molecules from t.csv in store" in result.stdout
    assert "1  unparsable SMILES" in result.stdout
    assert "1  label is not a number" in result.stdout
    assert "featurising: 5/5" in result.stderr
    assert "featurising" not in result.stdout


def test_the_result_as_json(run):
    result = run("t.csv", "-o", "store", "--tasks", "active", "--split", "random", "--json")
    table = json.loads(result.stdout)
    assert table["molecules"] == 4
    assert table["rejected_rows"] == {"unparsable SMILES": 1}
    assert [task["name"] for task in table["tasks"]] == ["active"]


def test_warnings_go_to_standard_error(run):
    result = run("t.csv", "-o", "store", "--tasks", "active", "--split", "column:fold")
    assert "warning: columns of t.csv that are not used: 'logP', 'pH', 'dose'" in result.stderr
    assert "warning" not in result.stdout


def test_an_existing_store_is_replaced_only_by_force(run):
    command = ("t.csv", "-o", "store", "--tasks", "active")
    assert run(*command).exit_code == 0
    refused = run(*command)
    assert refused.exit_code == 1
    assert "store exists already; choose another place or replace it with --force" in refused.stderr
    assert run(*command, "--force").exit_code == 0


def test_a_store_is_not_made_inside_another(run):
    assert run("t.csv", "-o", "store").exit_code == 0
    inside = run("t.csv", "-o", "store/inner")
    assert inside.exit_code == 1
    assert "store/inner lies inside the graph store" in inside.stderr


def test_a_file_that_is_no_text_says_so(run, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"smiles,active\n\xff\xfeC,1\nCCO,1\nCCN,0\n")
    result = run("t.csv", "-o", "store")
    assert result.exit_code == 1
    assert "t.csv is not UTF-8 text" in result.stderr


def test_a_table_without_rows_says_so(run, tmp_path):
    (tmp_path / "t.csv").write_text("smiles,active\n")
    result = run("t.csv", "-o", "store")
    assert result.exit_code == 1
    assert "t.csv has a header but no rows" in result.stderr


def test_some_bundled_targets(run, tmp_path):
    result = run("moleculeace", "-o", "store", "--tasks", "CHEMBL2835_Ki", "--processes", "1")
    assert result.exit_code == 0, result.stderr
    store = GraphStore(tmp_path / "store")
    assert len(store) == 615
    assert store.flag_names == ("cliff",)
    assert store.metric == "rmse"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "nowhere.csv does not exist; give a table file"),
        (["t.csv", "--tasks", "activ"], "did you mean 'active'?"),
        (["t.csv", "--smiles", "smile"], "did you mean 'smiles'?"),
        (["t.csv", "--split", "official"], "has no 'official' split; use scaffold, random"),
        (["t.csv", "--split", "column:folds"], "did you mean 'fold'?"),
        (["t.csv", "--features", "fingerprints"], "--features 'fingerprints' is unknown"),
        (["t.csv", "--kind", "active=multi"], "write it as TASK=binary or regression"),
        (["moleculeace", "--smiles", "x"], "moleculeace is not a table file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(run, tmp_path, arguments, message):
    result = run(*arguments, "-o", "store")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_names_with_commas_stand_in_quotes():
    assert parse_names('a,"b, c", d') == ["a", "b, c", "d"]
    assert parse_names(None) == []
    assert parse_features("") == ([], [])
    assert parse_features('"columns:b, c",d') == ([], ["b, c", "d"])
    assert parse_features("columns:a,b") == ([], ["a", "b"])
    assert parse_features("columns:a,counts") == (["counts"], ["a"])


def test_pairs_part_at_the_last_equals_sign():
    assert parse_pairs(["a=b=binary"], "--kind", ("binary",)) == {"a=b": "binary"}
    for pair in ("binary", "=binary", "a="):
        with pytest.raises(ConfigError, match=r"cannot be read; write it as TASK=UNITS"):
            parse_pairs([pair], "--units")
