"""What tests of several commands share."""

import pytest


@pytest.fixture
def no_work(monkeypatch):
    """Opening the run would be the first of it."""

    def refuse(*_):
        raise AssertionError("the run was opened")

    monkeypatch.setattr("graphadapt.cli.export.open_trained", refuse)
