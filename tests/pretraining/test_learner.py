"""The loss of a step and the score of held-out molecules."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from graphadapt.errors import ConfigError
from graphadapt.pretraining.config import MaskingConfig
from graphadapt.pretraining.model import PretrainingModel, build_model
from graphadapt.pretraining.run import PretrainRun
from graphadapt.trainer.distributed import Workers


@pytest.fixture
def learner(settings, tmp_path):
    changed = settings.with_settings({"objectives.contrastive.weight": 0.2})
    return PretrainRun.create(changed, tmp_path / "run").learner()


def test_a_step_starts_near_one_and_counts_its_molecules(learner):
    torch.manual_seed(0)
    losses = [learner.loss(step, Workers()) for step in range(4)]
    assert 0.8 < np.mean([found.loss.item() for found in losses]) < 1.6
    expected = [sum(map(len, learner.sampler.draw(step))) for step in range(4)]
    assert [found.molecules for found in losses] == expected


def test_the_loss_is_the_weighted_mean_of_relative_losses(learner):
    learner.model.eval()
    torch.manual_seed(3)
    found = learner.loss(2, Workers()).loss.item()
    torch.manual_seed(3)
    view = learner.model(learner.corpus.gather(learner.sampler.draw(2)))
    expected = sum(
        learner.weights[name] * (total / max(parts, 1) / objective.constant).item()
        for name, objective in learner.model.named_objectives()
        for total, parts in [objective(view)]
    )
    assert found == pytest.approx(expected / sum(learner.weights.values()), rel=1e-5)


class Recording(Workers):
    """One of two processes, whose sums over both were worked out before."""

    def __init__(self, rank, totals=None):
        super().__init__(rank, 2)
        self.totals, self.heard = totals, []

    def sum(self, tensor):
        self.heard.append(tensor)
        return tensor if self.totals is None else self.totals


def test_shares_of_two_processes_add_up_to_the_loss_of_the_whole_batch(settings, tmp_path):
    whole = settings.with_settings(
        {f"objectives.{name}.weight": 0.0 for name in ("atoms", "bonds")}  # nothing is hidden
    )
    learner = PretrainRun.create(whole, tmp_path / "run").learner()
    learner.model.eval()
    alone = learner.loss(1, Workers()).loss.item()
    counts = []
    for rank in range(2):
        first = Recording(rank)
        learner.loss(1, first)
        counts.append(first.heard[0])
    shares = [learner.loss(1, Recording(rank, sum(counts))) for rank in range(2)]
    assert sum(share.loss.item() for share in shares) == pytest.approx(alone, rel=1e-5)
    assert shares[0].molecules == shares[1].molecules


def test_a_score_is_repeatable_and_leaves_the_model_as_it_was(learner):
    learner.model.train()
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    first, second = learner.score(), learner.score()
    assert first == second
    assert learner.model.training
    after = learner.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    losses = {name: first.mean[f"{name}_loss"] for name in learner.weights}
    relative = sum(learner.weights[name] * losses[name] for name in losses)
    assert first.score == pytest.approx(1 - relative / sum(learner.weights.values()))


def test_held_out_figures_have_their_readable_metrics(learner):
    mean = learner.score().mean
    for name in (
        "atoms_atomic_number_accuracy",
        "atoms_atomic_number_majority",
        "bonds_bond_type_accuracy",
        "descriptors_r2",
        "fingerprint_average_precision",
        "contrastive_found",
    ):
        assert name in mean


def test_reduced_precision_gives_nearly_the_same_score(learner):
    exact = learner.score()
    learner.precision = "bfloat16"
    found = learner.score()
    assert found.score == pytest.approx(exact.score, abs=0.05)
    learner.loss(0, Workers()).loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in learner.model.parameters())


def test_every_held_out_molecule_is_judged_once(learner):
    seen = [np.concatenate(rows) for rows in zip(*learner._held_out_batches(), strict=True)]
    for found, expected in zip(seen, learner.corpus.held_out, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_nothing_is_hidden_where_no_objective_asks_for_it(settings, learner):
    molecules = learner.corpus.gather(learner.sampler.draw(0))
    model = learner.model.eval()
    for name in ("atoms", "bonds", "contrastive"):
        del model.objectives[name]
    view = model(molecules)
    assert view.hidden is None
    torch.testing.assert_close(view.graphs, model.backbone(molecules.batch))
    torch.testing.assert_close(view.nodes, model.backbone.node_states(molecules.batch))


def test_two_views_hide_different_parts(learner):
    view = learner.model.eval()(learner.corpus.gather(learner.sampler.draw(0)))
    assert view.others is not None
    assert not torch.equal(view.graphs, view.others)


def test_a_backbone_without_states_of_its_nodes_is_refused():
    with pytest.raises(ConfigError, match="a Linear gives no states of its nodes"):
        PretrainingModel(nn.Linear(2, 2), {}, MaskingConfig())


@pytest.mark.parametrize("kind", ["gcn", "gin-virtual-node", "neural-fingerprint"])
def test_every_backbone_can_be_pretrained(settings, learner, kind):
    config = settings.with_settings({"backbone.kind": kind, "backbone.embedding_width": 12})
    model = build_model(config, learner.corpus.blocks, learner.corpus.tasks)
    view = model(learner.corpus.gather(learner.sampler.draw(0)))
    total = sum(objective(view).total for _, objective in model.named_objectives())
    total.backward()
    still = [
        name for name, parameter in model.backbone.named_parameters() if parameter.grad is None
    ]
    assert still == []
    assert replace(config, backbone=config.backbone) == config
