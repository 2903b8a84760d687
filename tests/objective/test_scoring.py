"""Answers scored on a prepared store's own labels, flags and metric."""

import numpy as np
import pytest

from graphadapt.config import DataConfig
from graphadapt.data.dataset import Dataset
from graphadapt.data.store import GraphStore
from graphadapt.objective.scoring import score_cells


@pytest.fixture
def data(tiny_store):
    return Dataset.select(GraphStore(tiny_store), DataConfig(), 0)


@pytest.fixture
def answers(data):
    random = np.random.default_rng(0)
    return np.nan_to_num(data.labels) + random.normal(size=data.labels.shape)


def test_cells_and_flagged_cells_are_those_of_the_part(data, answers):
    cells = data.cells("test")
    rows = np.flatnonzero(cells.any(1))
    found = score_cells(data, answers[rows], rows, cells[rows])
    errors, cliffs = [], []
    for g in range(len(cells)):
        if cells[g, 2]:
            errors.append((answers[g, 2] - data.labels[g, 2]) ** 2)
            cliffs += [errors[-1]] if data.flags["cliff"][g, 2] else []
    assert 0 < len(cliffs) < len(errors)
    assert found.tasks["potency"] == pytest.approx(
        {
            "cells": len(errors),
            "rmse": np.sqrt(np.mean(errors)),
            "cliff_rmse": np.sqrt(np.mean(cliffs)),
        }
    )


def test_chosen_columns_are_scored_like_the_whole(data, answers):
    rows = data.rows("test")
    cells = data.cells("test")[rows]
    whole = score_cells(data, answers[rows], rows, cells)
    columns = np.array([2, 0])
    part = score_cells(data, answers[np.ix_(rows, columns)], rows, cells[:, columns], columns)
    assert list(part.tasks) == ["potency", "aromatic"]
    assert all(part.tasks[name] == whole.tasks[name] for name in part.tasks)
