"""Threads are those asked for, and no more than a container has time for."""

from types import SimpleNamespace

import pytest
import torch

from graphadapt.trainer import threads


@pytest.fixture
def said(monkeypatch):
    """What torch, which counts two threads, and DGL are told."""
    told = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: told.append(("torch", count)))
    monkeypatch.setattr(threads, "dgl_supports", lambda device: True)
    utils = SimpleNamespace(set_num_threads=lambda count: told.append(("dgl", count)))
    monkeypatch.setattr(threads, "load_dgl", lambda: SimpleNamespace(utils=utils))
    return told


@pytest.mark.parametrize(
    ("asked", "cores", "expected"),
    [(0, 2, None), (0, 64, None), (0, 1, 1), (1, 2, 1), (2, 1, 2), (3, 1, 3)],
)
def test_a_number_that_is_asked_for_is_taken_else_the_limit_counts(
    said, monkeypatch, asked, cores, expected
):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    threads.use_threads(asked)
    assert said == ([] if expected is None else [("torch", expected), ("dgl", expected)])


def test_without_dgl_torch_alone_is_told(said, monkeypatch):
    monkeypatch.setattr(threads, "dgl_supports", lambda device: False)
    threads.use_threads(1)
    assert said == [("torch", 1)]
