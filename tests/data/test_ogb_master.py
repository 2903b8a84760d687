import shutil
import sys

import pytest

from graphadapt.data.ogb_master import download_ogb, ogb_facts
from graphadapt.errors import DataError, DependencyError

MASTER = """,ogbg-molsmall,ogbg-ppa
num tasks,2,1
eval metric,ap,acc
download_name,small,ppa
url,{url},nowhere
data type,mol,
task type,binary classification,multiclass classification
split,scaffold,species
"""


@pytest.fixture
def served(tmp_path):
    """A root folder whose master table points at a zip file on this disk."""
    (tmp_path / "small" / "mapping").mkdir(parents=True)
    (tmp_path / "small" / "mapping" / "mol.csv.gz").write_bytes(b"molecules")
    archive = shutil.make_archive(str(tmp_path / "small"), "zip", tmp_path, "small")
    root = tmp_path / "sets"
    root.mkdir()
    (root / "master.csv").write_text(MASTER.format(url=f"file://{archive}"))
    return root


def test_a_set_is_fetched_once_with_ogbs_own_downloader(served, capsys):
    pytest.importorskip("ogb")
    folder = download_ogb("ogbg-molsmall", served)
    assert folder == served / "ogbg_molsmall"
    assert (folder / "mapping" / "mol.csv.gz").read_bytes() == b"molecules"
    assert sorted(path.name for path in served.iterdir()) == ["master.csv", "ogbg_molsmall"]
    assert capsys.readouterr().out == ""
    (served / "master.csv").unlink()
    assert download_ogb("ogbg-molsmall", served) == folder


def test_a_fetch_that_fails_says_where_to_put_the_set(served):
    pytest.importorskip("ogb")
    (served / "master.csv").write_text(MASTER.format(url="file:///nowhere/small.zip"))
    with pytest.raises(DataError, match=r"cannot fetch file:///nowhere/small.zip .*unpack it as"):
        download_ogb("ogbg-molsmall", served)
    assert [path.name for path in served.iterdir()] == ["master.csv"]


def test_a_truncated_archive_leaves_nothing_behind(served):
    pytest.importorskip("ogb")
    archive = served.parent / "small.zip"
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot fetch"):
        download_ogb("ogbg-molsmall", served)
    assert [path.name for path in served.iterdir()] == ["master.csv"]


def test_without_ogb_the_error_says_what_to_install(served, monkeypatch):
    monkeypatch.setitem(sys.modules, "ogb.utils.url", None)
    with pytest.raises(DependencyError, match="fetching it needs ogb; run: pip install ogb"):
        download_ogb("ogbg-molsmall", served)


def test_without_any_table_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("graphadapt.data.ogb_master.find_spec", lambda _: None)
    with pytest.raises(DependencyError, match="fetching it needs ogb"):
        download_ogb("ogbg-molsmall", tmp_path)


def test_an_unknown_set_is_answered_with_the_known_ones(served, monkeypatch):
    monkeypatch.setattr("graphadapt.data.ogb_master.find_spec", lambda _: None)
    with pytest.raises(DataError, match="no molecule set of OGB is named 'ogbg-molsmal'; did you"):
        download_ogb("ogbg-molsmal", served)


def test_sets_without_molecules_are_unknown(served):
    assert ogb_facts("ogbg-molsmall", served / "x").metric == "ap"
    assert ogb_facts("ogbg-ppa", served / "x") is None


def test_the_table_inside_ogb_is_found_without_importing_it(tmp_path):
    pytest.importorskip("ogb")
    facts = ogb_facts("ogbg-molpcba", tmp_path / "ogbg_molpcba")
    assert (facts.metric, facts.kind, facts.split) == ("ap", "binary", "scaffold")
    assert ogb_facts("ogbg-molesol", tmp_path / "x").kind == "regression"
