"""A run folder: what it holds, what it starts from, and what it refuses."""

import json

import pytest
import torch

from graphadapt.config import RunConfig
from graphadapt.errors import CheckpointError, ConfigError, DataError
from graphadapt.run import Run


def settings(store, **more):
    return RunConfig().with_settings(
        {
            "data.store": str(store),
            "backbone.layers": 2,
            "backbone.width": 8,
            "adapters.count": 2,
            "adapters.rank": 2,
            "prior.width": 4,
            "sampler.batch_size": 16,
            "sampler.task_count": 2,
            "trainer.epochs": 1,
            "trainer.precision": "float32",
            "trainer.device": "cpu",
            **more,
        }
    )


def test_a_run_folder_holds_settings_relations_metrics_and_weights(tiny_run):
    names = {item.name for item in tiny_run.iterdir()}
    assert names >= {
        "best.safetensors",
        "config.json",
        "inputs.json",
        "last.safetensors",
        "metrics.jsonl",
        "relation",
    }
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]
    assert all({"loss", "validation", "molecules_per_second"} <= line.keys() for line in lines)
    assert (
        RunConfig.from_dict(json.loads((tiny_run / "config.json").read_text())).trainer.epochs == 2
    )


def test_the_best_checkpoint_scores_what_was_recorded(tiny_run):
    run = Run.open(tiny_run, "best")
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    found = run.evaluate("valid")
    recorded = [line["validation"] for line in lines]
    assert any(found.mean == pytest.approx(means, abs=1e-5) for means in recorded)


def test_training_sees_training_cells_only(tiny_store, tmp_path):
    run = Run.create(settings(tiny_store), tmp_path / "run")
    hidden = ~run.dataset.cells("train")
    assert torch.isnan(run.feed.targets).numpy()[hidden].all()
    train = run.dataset.labels_of("train")[:, 2]
    assert run.model.scaling.mean[2] == pytest.approx(float(train[~hidden[:, 2]].mean()), rel=1e-5)


def test_a_frozen_backbone_is_cached_and_left_alone(tiny_store, tmp_path):
    warm = Run.create(settings(tiny_store), tmp_path / "warm")
    warm.train(shown=False)
    more = {"backbone.weights": str(tmp_path / "warm"), "backbone.train": "frozen"}
    run = Run.create(settings(tiny_store, **more), tmp_path / "run")
    before = {name: t.clone() for name, t in run.model.backbone.state_dict().items()}
    warm_weights = Run.open(tmp_path / "warm").model.backbone.state_dict()
    assert all(torch.equal(before[name], t) for name, t in warm_weights.items())
    run.train(shown=False)
    assert run.feed.graph_embeddings is not None
    after = run.model.backbone.state_dict()
    assert all(torch.equal(before[name], t) for name, t in after.items())
    rows = torch.arange(5)
    cached = run.feed.predict(run.model, rows, run.everyone)
    run.feed.graph_embeddings = None
    torch.testing.assert_close(run.feed.predict(run.model, rows, run.everyone), cached)


def test_adapters_alone_move_on_a_frozen_backbone_with_inner_sites(tiny_store, tmp_path):
    Run.create(settings(tiny_store), tmp_path / "warm").train(shown=False)
    more = {"backbone.weights": str(tmp_path / "warm"), "backbone.train": "frozen"}
    more["adapters.sites"] = ["expand"]
    run = Run.create(settings(tiny_store, **more), tmp_path / "run")
    before = {name: t.clone() for name, t in run.model.state_dict().items()}
    run.train(shown=False)
    moved = {n for n, t in run.model.state_dict().items() if not torch.equal(t, before[n])}
    assert not any(name.startswith("backbone.") for name in moved)
    assert any(name.startswith("banks.") for name in moved)
    assert any(name.startswith("readout.") for name in moved)


def test_a_backbone_is_never_frozen_at_random_weights(tiny_store, tmp_path):
    with pytest.raises(ConfigError, match="would keep random weights for good"):
        Run.create(settings(tiny_store, **{"backbone.train": "frozen"}), tmp_path / "run")


def test_part_of_a_backbone_moves_by_name(tiny_store, tmp_path):
    more = {"backbone.train": "partly", "backbone.train_layers": ["convolutions.1.*"]}
    run = Run.create(settings(tiny_store, **more), tmp_path / "run")
    before = {name: p.detach().clone() for name, p in run.model.backbone.named_parameters()}
    run.train(shown=False)
    moved = {n for n, p in run.model.backbone.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all(name.startswith("convolutions.1.") for name in moved)


def test_a_pattern_that_thaws_nothing_lists_the_parameters(tiny_store, tmp_path):
    more = {"backbone.train": "partly", "backbone.train_layers": ["nowhere"]}
    run = Run.create(settings(tiny_store, **more), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"'nowhere' matches no parameter; there are atoms"):
        run.train(shown=False)


def test_weights_of_another_shape_are_refused(tiny_store, tiny_run, tmp_path):
    more = {"backbone.weights": str(tiny_run)}
    with pytest.raises(CheckpointError, match="do not fit this backbone"):
        Run.create(settings(tiny_store, **more), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_task_names_the_nearest(tiny_store, tmp_path):
    with pytest.raises(DataError, match="did you mean 'potency'"):
        Run.create(settings(tiny_store, **{"data.tasks": ["potencyy"]}), tmp_path / "run")


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="is no run folder"):
        Run.open(tmp_path)


def test_chosen_tasks_are_the_models_only_tasks(tiny_store, tmp_path):
    more = {"data.tasks": ["potency"], "sampler.task_count": 1}
    run = Run.create(settings(tiny_store, **more), tmp_path / "run")
    run.train(shown=False)
    assert [task.name for task in run.model.tasks] == ["potency"]
    assert set(run.evaluate("valid").tasks) == {"potency"}
