import shutil

import pytest

from graphadapt.data import bundled
from graphadapt.data.bundled import BUNDLED, cache_folder, open_store
from graphadapt.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHADAPT_CACHE", str(tmp_path / "cache"))


def test_a_folder_is_opened_as_it_is(tiny_store):
    assert len(open_store(str(tiny_store))) == 63


def test_what_another_process_prepared_meanwhile_is_opened(tiny_store, monkeypatch):
    def prepared_elsewhere(source, folder, **_):
        cache_folder().mkdir()
        shutil.copytree(tiny_store, folder)
        raise DataError(f"{folder} exists already")

    monkeypatch.setattr(bundled, "moleculeace_source", lambda: None)
    monkeypatch.setattr("graphadapt.data.prepare.prepare", prepared_elsewhere)
    assert len(open_store(BUNDLED)) == 63


def test_an_error_of_preparing_is_not_hidden(monkeypatch):
    def fail(source, folder, **_):
        raise DataError("no space for it")

    monkeypatch.setattr(bundled, "moleculeace_source", lambda: None)
    monkeypatch.setattr("graphadapt.data.prepare.prepare", fail)
    with pytest.raises(DataError, match="no space for it"):
        open_store(BUNDLED)
