"""The freeze gap: nothing where nothing is lost, and a hand count where something is."""

import numpy as np
import pytest
import torch

from graphadapt.freeze import Selection, freeze
from graphadapt.report.freeze_gap import freeze_run, gap_table, measure_gap
from graphadapt.routing.composition import single_task
from graphadapt.run import Run


@pytest.fixture
def run(tiny_run):
    return Run.open(tiny_run)


def test_keeping_everything_costs_nothing(run):
    found = measure_gap(run, freeze(run.model))
    assert set(found.soft) == {"rocauc", "ap", "rmse", "cliff_rmse"}
    assert found.gap == pytest.approx(dict.fromkeys(found.soft, 0.0), abs=1e-5)


def test_one_adapter_a_task_costs_what_the_metrics_say(run):
    frozen = freeze(run.model, selection=Selection(top_m=1))
    found = measure_gap(run, frozen, "test")
    rows = run.dataset.rows("test")
    cells = run.dataset.cells("test")[rows, 2]
    answers = frozen(run.feed.table.gather(torch.from_numpy(rows)))[cells, 2].numpy()
    rmse = np.sqrt(np.mean((answers - run.dataset.labels[rows, 2][cells]) ** 2))
    assert found.frozen["rmse"] == pytest.approx(rmse, rel=1e-5)
    assert found.gap["rmse"] == pytest.approx(run.evaluate("test").mean["rmse"] - rmse, abs=1e-5)
    assert found.tasks["potency"]["rmse"] == pytest.approx(found.gap["rmse"])
    assert abs(found.gap["rmse"]) > 1e-4


def test_requested_tasks_are_measured_under_their_own_composition(run):
    names = [task.name for task in run.inputs.tasks]
    frozen = freeze(run.model, tasks=["potency"])
    found = measure_gap(run, frozen)
    alone = run.evaluate("valid", single_task("potency", names))
    assert list(found.tasks) == ["potency"]
    assert found.soft["rmse"] == pytest.approx(alone.mean["rmse"], rel=1e-6)
    assert found.gap["rmse"] == pytest.approx(0.0, abs=1e-5)


def test_norms_are_settled_for_the_composition_of_a_trained_backbone(run):
    plain, settled = freeze(run.model, tasks=["greasy"]), freeze_run(run, tasks=["greasy"])
    name = "convolutions.1.norm.running_mean"
    before, after = plain.backbone.state_dict()[name], settled.backbone.state_dict()[name]
    assert not torch.equal(before, after)
    assert settled.composition == {"greasy": 1.0}


def test_settling_is_seeded(run):
    name = "convolutions.1.norm.running_var"
    first, again = (freeze_run(run).backbone.state_dict()[name] for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("change", ["frozen", "outside"])
def test_norms_stay_where_training_did_not_mix_them(run, change):
    if change == "frozen":
        run.config = run.config.with_settings({"backbone.train": "frozen"})
    else:
        run.model.banks = None
    frozen = freeze_run(run)
    for name, tensor in run.model.backbone.state_dict().items():
        if "running" in name:
            assert torch.equal(tensor, frozen.backbone.state_dict()[name])


def test_the_gap_is_one_row_a_metric(run):
    found = measure_gap(run, freeze(run.model))
    lines = gap_table(found).splitlines()
    assert lines[0].split() == ["metric", "composed", "frozen", "gap"]
    assert [line.split()[0] for line in lines[1:]] == list(found.soft)
    assert found.to_dict()["gap"] == found.gap
