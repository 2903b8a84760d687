"""Planned pretraining shows what plain pretraining shows, and replays as it would step by step."""

import shutil

import numpy as np
import pytest
import torch

from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.pretraining.config import PretrainConfig
from graphadapt.pretraining.learner import Pretraining
from graphadapt.pretraining.run import PretrainRun
from graphadapt.trainer.cuda_recorder import CudaRecorder
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.loop import Trainer
from graphadapt.trainer.recorded_steps import TRIALS

STEPS = 20


@pytest.fixture(scope="module")
def stores(tiny_store, tmp_path_factory):
    """Two stores of the same molecules, one of which is learned from."""
    other = tmp_path_factory.mktemp("other") / "store"
    shutil.copytree(tiny_store, other)
    return tiny_store, other


@pytest.fixture
def make(stores, tmp_path, monkeypatch):
    """Makes a run's learner with every objective that the stores have targets for.

    On a CPU, message passing is that which a device could capture.
    """
    kernels = TensorKernels(waits=False)

    def made(planned, device="cpu", **more):
        if device == "cpu":
            for module in ("backbone.network", "backbone.neural_fingerprint", "trainer.capturable"):
                name = f"graphadapt.{module}.message_kernels"
                monkeypatch.setattr(name, lambda name, device: kernels)
        config = PretrainConfig().with_settings(
            {
                "corpus.stores": list(map(str, stores)),
                "corpus.held_out": 0.1,
                "corpus.batch_size": 8,
                "backbone.layers": 2,
                "backbone.width": 8,
                "objectives.descriptors.weight": 0.0,
                "objectives.contrastive.weight": 0.5,
                "objectives.supervised.weight": 0.5,
                "objectives.supervised.store": str(stores[1]),
                "trainer.epochs": 9,
                "trainer.average": 0.5,
                "trainer.precision": "float32",
                "trainer.device": device,
                **more,
            }
        )
        run = PretrainRun.create(config, tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        weights = config.objectives.weights()
        learner = Pretraining(run.model, run.corpus, run.sampler(2), weights, planned=planned)
        run.model.to(learner.device).train()
        return config.trainer, learner

    return made


def trained(tmp_path, settings, learner, recorder):
    trainer = Trainer(learner, settings, tmp_path, shown=False, recorder=recorder)
    losses = [trainer.take_step(step)[0] for step in range(STEPS)]
    return trainer, {"losses": torch.stack(losses), **learner.model.state_dict()}


def test_a_planned_step_reads_what_a_plain_one_does(make):
    for rank in (0, 1):
        _, learner = make(True)
        workers = Workers(rank, 2)
        for step in (0, 5, learner.steps_per_epoch + 1):
            inputs = learner.inputs(step, workers)
            draw = learner.sampler.draw(step)
            plain = learner.corpus.gather(learner.sampler.shard(draw, rank, 2))
            found = learner.draws.molecules(inputs)
            assert inputs.molecules == sum(map(len, draw))
            nodes, edges = plain.batch.num_nodes, len(plain.batch.source)
            assert torch.equal(found.batch.nodes_per_graph, plain.batch.nodes_per_graph)
            assert torch.equal(found.batch.atoms[:nodes], plain.batch.atoms)
            assert torch.equal(found.batch.bond_codes[:edges], plain.batch.bond_codes)
            assert found.targets.keys() == plain.targets.keys() == {"counts", "labels"}
            for kind, target in plain.targets.items():
                np.testing.assert_array_equal(found.targets[kind], target)


def test_batches_have_fewer_shapes_than_sizes(make):
    _, learner = make(True)
    steps = [learner.inputs(step, Workers()) for step in range(learner.steps_per_epoch)]
    sizes = {learner.draws.table.size(inputs.tensors[0]) for inputs in steps}
    assert (len(sizes), len({inputs.shape for inputs in steps})) == (6, 2)
    assert None not in {inputs.bucket for inputs in steps}


def test_a_resumed_run_pads_as_an_uninterrupted_one_does(make):
    _, whole = make(True, **{"corpus.batch_size": 6})
    _, resumed = make(True, **{"corpus.batch_size": 6})
    whole.plan(0, Workers())
    # Of the second epoch's own sizes, another choice would be made.
    for step in range(whole.steps_per_epoch, 2 * whole.steps_per_epoch):
        found, expected = (each.inputs(step, Workers()) for each in (resumed, whole))
        assert found.bucket == expected.bucket
        assert torch.equal(found.tensors[0], expected.tensors[0])


def test_a_padded_step_has_the_loss_and_gradient_of_a_plain_one(make):
    found = []
    for planned in (True, False):
        # The draw of lone bonds follows that of atoms, of which a padded batch has more.
        _, learner = make(planned, **{"masking.bonds": 0.0, "objectives.contrastive.weight": 0.0})
        torch.manual_seed(3)
        loss = learner.loss(2, Workers()).loss
        loss.backward()
        gradients = {n: p.grad for n, p in learner.model.named_parameters() if p.grad is not None}
        found.append({"loss": loss.detach(), **gradients})
    padded, plain = found
    assert padded.keys() == plain.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(padded[name], expected, rtol=1e-4, atol=1e-5, msg=name)


def test_replayed_pretraining_is_the_pretraining_itself(make, tmp_path, tape_recorder):
    trainer, found = trained(tmp_path / "a", *make(True), tape_recorder())
    assert trainer.recorded.obstacle == ""
    assert 0 < trainer.recorded.replays <= STEPS - TRIALS
    one_by_one, expected = trained(tmp_path / "b", *make(True), tape_recorder("never"))
    assert one_by_one.recorded.replays == 0
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_on_a_cpu_nothing_is_planned_and_that_is_an_obstacle(make):
    _, learner = make(None)
    assert learner.obstacle == "its batches are not padded to fixed sizes"
    learner.plan(0, Workers())
    assert "draws" not in vars(learner)
    assert make(True)[1].obstacle == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pretraining_by_cuda_graphs_is_the_pretraining_itself(make, tmp_path, tape_recorder):
    recorder = CudaRecorder(torch.device("cuda"))
    trainer, found = trained(tmp_path / "a", *make(None, "cuda"), recorder)
    assert trainer.recorded.obstacle == ""
    assert trainer.recorded.replays > 0
    _, expected = trained(tmp_path / "b", *make(None, "cuda"), tape_recorder("never"))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
