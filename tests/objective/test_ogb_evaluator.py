"""ogb's own Evaluator, loaded alone."""

import subprocess
import sys

import numpy as np
import pytest

from graphadapt.errors import DataError, DependencyError
from graphadapt.objective import ogb_evaluator
from graphadapt.objective.ogb_evaluator import official_mean


def random_cells(tasks, seed=0):
    random = np.random.default_rng(seed)
    labels = (random.random((80, tasks)) < 0.3).astype(np.float32)
    labels[random.random(labels.shape) < 0.4] = np.nan
    return random.normal(size=labels.shape).astype(np.float32), labels


@pytest.mark.parametrize(
    ("name", "tasks", "metric"),
    [
        ("ogbg-moltox21", 12, "rocauc"),
        ("ogbg-molpcba", 128, "ap"),
        ("ogbg-molmuv", 17, "ap"),
        ("ogbg-molesol", 1, "rmse"),
    ],
)
def test_the_mean_is_what_ogb_reports_under_its_own_metric(name, tasks, metric):
    predictions, labels = random_cells(tasks)
    found = official_mean(name, predictions, labels)
    assert list(found) == [metric]
    if metric == "rmse":
        seen = ~np.isnan(labels)
        expected = np.sqrt(np.square(predictions[seen] - labels[seen]).mean())
        assert found["rmse"] == pytest.approx(expected, rel=1e-5)


def test_some_of_a_sets_tasks_are_not_ogbs_to_judge():
    assert official_mean("ogbg-moltox21", *random_cells(11)) == {}


def test_nothing_is_reported_without_both_classes():
    predictions, labels = random_cells(12)
    assert official_mean("ogbg-moltox21", predictions, np.where(labels == 1, labels, np.nan)) == {}


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(DataError, match=r"'ogbg-moltox12'; did you mean 'ogbg-moltox21'\?"):
        official_mean("ogbg-moltox12", *random_cells(12))


def test_without_ogb_the_error_says_what_to_install(monkeypatch):
    ogb_evaluator._evaluator_module.cache_clear()
    monkeypatch.setattr(ogb_evaluator.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"ogb is not installed; pip install"):
        official_mean("ogbg-moltox21", *random_cells(12))
    ogb_evaluator._evaluator_module.cache_clear()


def test_loading_it_imports_neither_dgl_nor_the_version_check():
    code = (
        "import sys, numpy as np\n"
        "from graphadapt.objective.ogb_evaluator import official_mean\n"
        "official_mean('ogbg-moltox21', np.zeros((2, 12)), np.eye(2).repeat(6, 1))\n"
        "bad = {'dgl', 'ogb', 'outdated'} & set(sys.modules)\n"
        "sys.exit(f'imported {bad}' if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
