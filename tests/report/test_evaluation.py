"""Scores of a run, held against the model asked directly, cell by cell."""

import numpy as np
import pytest
import torch

from graphadapt.report.evaluation import (
    answers_of,
    evaluate_part,
    task_table,
    trains_another_task,
)
from graphadapt.routing.composition import single_task
from graphadapt.run import Run

NAMES = ["aromatic", "greasy", "potency"]


@pytest.fixture
def run(tiny_run):
    return Run.open(tiny_run)


def test_a_shared_molecule_trains_some_other_task(run):
    train = run.dataset.cells("train")
    expected = [
        [any(train[g, other] for other in range(3) if other != t) for t in range(3)]
        for g in range(len(train))
    ]
    np.testing.assert_array_equal(trains_another_task(run.dataset), expected)


def test_scores_are_those_of_the_run_and_of_its_unshared_cells(run):
    report = evaluate_part(run, "test", run.everyone)
    assert report.everything == run.evaluate("test")
    cells = run.dataset.cells("test")
    shared = cells & trains_another_task(run.dataset)
    assert (report.cells, report.shared) == (cells.sum(), shared.sum())
    assert 0 < report.shared < report.cells
    rows = np.arange(len(cells))
    answers = run.feed.predict(run.model, torch.from_numpy(rows), run.everyone).numpy()
    errors = []
    for g in rows:
        if cells[g, 2] and not shared[g, 2]:
            errors.append((answers[g, 2] - run.dataset.labels[g, 2]) ** 2)
    assert report.unshared.tasks["potency"]["cells"] == len(errors)
    assert report.unshared.tasks["potency"]["rmse"] == pytest.approx(np.sqrt(np.mean(errors)))


def test_each_asks_every_task_by_itself(run):
    answers = answers_of(run, "valid", "each")
    rows, cells = run.dataset.rows("valid"), run.dataset.cells("valid")
    for t, name in enumerate(NAMES):
        alone = run.feed.predict(run.model, torch.from_numpy(rows), single_task(name, NAMES))
        asked = cells[rows, t]
        np.testing.assert_allclose(answers[asked, t], alone[asked, t], rtol=1e-5)
        assert np.isnan(answers[~asked, t]).all()
    together = answers_of(run, "valid", run.everyone)
    assert np.abs(together - answers)[cells[rows]].max() > 1e-4
    assert evaluate_part(run, "valid", "each").composition == "each"


def test_without_inner_sites_the_composition_does_not_matter(run):
    run.model.banks = None
    run.feed.graph_embeddings = None
    each, together = (answers_of(run, "test", w) for w in ("each", run.everyone))
    np.testing.assert_array_equal(each, together)


def test_the_report_is_plain_data(run):
    report = evaluate_part(run, "test", run.everyone)
    plain = report.to_dict()
    assert plain["composition"] == pytest.approx(dict.fromkeys(NAMES, 1 / 3))
    assert plain["unshared"]["tasks"] == report.unshared.tasks


def test_the_table_has_a_dash_where_a_metric_is_not_defined(run):
    lines = task_table(evaluate_part(run, "test", run.everyone).everything).splitlines()
    assert lines[0].split() == ["task", "cells", "rocauc", "ap", "rmse", "cliff_rmse"]
    assert lines[1].split()[-2:] == ["-", "-"]
    assert lines[3].split()[2:4] == ["-", "-"]
    assert lines[4].split()[0] == "mean"
