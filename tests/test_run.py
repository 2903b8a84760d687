"""A run folder: what it holds, what it starts from, and what it refuses."""

import json

import pytest
import torch

from graphadapt.config import RunConfig
from graphadapt.data.load import load_source
from graphadapt.data.prepare import prepare
from graphadapt.data.split import UNUSED
from graphadapt.errors import CheckpointError, ConfigError, DataError
from graphadapt.freeze import freeze, reestimate_norms
from graphadapt.objective import metrics
from graphadapt.report.evaluation import evaluate_part
from graphadapt.run import Run
from graphadapt.trainer.run_folder import read_metrics


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


@pytest.mark.parametrize("name", ["", "best.safetensors"])
def test_a_run_with_adapters_inside_starts_another_by_its_frozen_network(
    tiny_store, tmp_path, name
):
    Run.create(settings(tiny_store), tmp_path / "warm").train(shown=False)
    frozen = {"backbone.weights": str(tmp_path / "warm"), "backbone.train": "frozen"}
    inside = {**frozen, "adapters.sites": ["expand"]}
    Run.create(settings(tiny_store, **inside), tmp_path / "first").train(shown=False)
    source = Run.open(tmp_path / "first")
    more = {**frozen, "backbone.weights": str(tmp_path / "first" / name)}
    run = Run.create(settings(tiny_store, **more), tmp_path / "run")
    batch, gates = source.feed.table.gather(torch.arange(7)), source.model.gates()
    with torch.no_grad():
        expected, _ = source.model.encode(batch, source.everyone, gates)
        plain = source.model.backbone(batch)
        torch.testing.assert_close(run.model.eval().backbone(batch), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, expected, rtol=1e-3, atol=1e-4)


def test_norms_of_a_network_that_moved_are_settled_for_the_frozen_mix(
    tiny_store, tiny_run, tmp_path
):
    """GIN trained with adapters inside: running statistics mix all the compositions it saw."""
    backbone = {f"backbone.{k}": v for k, v in Run.settings(tiny_run).to_dict()["backbone"].items()}
    more = {**backbone, "backbone.weights": str(tiny_run), "adapters.sites": []}
    run = Run.create(settings(tiny_store, **more), tmp_path / "run")
    source = Run.open(tiny_run)
    frozen = freeze(source.model)
    assert not torch.allclose(
        run.model.backbone.norms[0].running_mean, frozen.backbone.norms[0].running_mean, rtol=1e-3
    )
    reestimate_norms(frozen, source.training_batches())
    for name, tensor in run.model.backbone.state_dict().items():
        torch.testing.assert_close(tensor, frozen.backbone.state_dict()[name])


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
    with pytest.raises(CheckpointError, match="does not hold a backbone of"):
        Run.create(settings(tiny_store, **more), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("taken", ["store", "file"])
def test_a_place_that_holds_something_else_is_refused(tiny_store, tmp_path, taken):
    (tmp_path / "file").touch()
    place = tiny_store if taken == "store" else tmp_path / "file"
    with pytest.raises(CheckpointError, match=r"is a file|holds something other than a run"):
        Run.create(settings(tiny_store), place)
    assert not (tiny_store / "config.json").exists()


def test_a_store_without_tasks_trains_nothing(tmp_path):
    (tmp_path / "bare.smi").write_text("CCO\nCCC\n")
    prepare(load_source(tmp_path / "bare.smi"), tmp_path / "bare", shown=False)
    with pytest.raises(DataError, match="has no task to train; prepare a table"):
        Run.create(settings(tmp_path / "bare"), tmp_path / "run")


def test_where_nothing_can_be_scored_the_last_weights_are_the_best(tiny_store, tmp_path):
    run = Run.create(settings(tiny_store), tmp_path / "run")
    run.dataset.split[run.dataset.cells("valid")] = UNUSED
    state = run.train(shown=False)
    assert (state.best_score, state.best_epoch) == (None, -1)
    best, last = (Run.open(tmp_path / "run", name).model.state_dict() for name in ("best", "last"))
    assert all(torch.equal(best[name], tensor) for name, tensor in last.items())


def test_a_trained_run_is_found_again_unless_its_settings_differ(tiny_store, tmp_path):
    first = Run.trained(settings(tiny_store), tmp_path / "run", shown=False)
    before = (first.folder / "last.safetensors").stat().st_mtime_ns
    Run.trained(settings(tiny_store), tmp_path / "run", shown=False)
    assert (first.folder / "last.safetensors").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match="holds a run of other settings"):
        Run.trained(settings(tiny_store, **{"trainer.seed": 1}), tmp_path / "run", shown=False)


def test_a_run_that_decided_its_precision_is_found_again_but_not_for_another(tiny_store, tmp_path):
    for decided, asked in (("float32", "float32"), ("float32", "auto")):
        config = settings(tiny_store, **{"trainer.precision": asked})
        run = Run.trained(config, tmp_path / "run", shown=False)
        assert run.config.trainer.precision == decided
    other = settings(tiny_store, **{"trainer.precision": "bfloat16"})
    with pytest.raises(CheckpointError, match="holds a run of other settings"):
        Run.trained(other, tmp_path / "run", shown=False)


def test_the_mean_on_an_ogb_set_is_that_of_ogbs_own_evaluator(tiny_store, tmp_path, monkeypatch):
    run = Run.create(settings(tiny_store), tmp_path / "run")
    asked = []
    monkeypatch.setattr(metrics, "official_mean", lambda *given: asked.append(given[0]) or {})
    run.evaluate("test")
    monkeypatch.setattr(type(run.dataset.store), "ogb_set", "ogbg-moltox21")
    run.evaluate("test")
    evaluate_part(run, "test", run.everyone)
    assert set(asked) == {"ogbg-moltox21"}
    assert len(asked) == 3


def test_an_unknown_task_names_the_nearest(tiny_store, tmp_path):
    with pytest.raises(DataError, match="did you mean 'potency'"):
        Run.create(settings(tiny_store, **{"data.tasks": ["potencyy"]}), tmp_path / "run")


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="is no run folder"):
        Run.open(tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", '{"tasks": [1]}'])
def test_a_damaged_run_says_so(tiny_store, tmp_path, text):
    Run.create(settings(tiny_store), tmp_path / "run")
    (tmp_path / "run" / "inputs.json").write_text(text)
    with pytest.raises(CheckpointError, match="is damaged"):
        Run.open(tmp_path / "run", "none")


def test_a_line_of_metrics_that_a_crash_cut_short_is_left_out(tiny_run, tmp_path):
    text = (tiny_run / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(text + '{"epoch": 2, "st')
    assert [record["epoch"] for record in read_metrics(tmp_path)] == [0, 1]


def test_chosen_tasks_are_the_models_only_tasks(tiny_store, tmp_path):
    more = {"data.tasks": ["potency"], "sampler.task_count": 1}
    run = Run.create(settings(tiny_store, **more), tmp_path / "run")
    run.train(shown=False)
    assert [task.name for task in run.model.tasks] == ["potency"]
    assert set(run.evaluate("valid").tasks) == {"potency"}
