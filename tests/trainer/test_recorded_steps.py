"""Recorded training is the training itself, bit for bit; shapes are kept apart; nothing waits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphadapt.assemble import ModelInputs, assemble
from graphadapt.config import RunConfig
from graphadapt.data.sampler import TaskSampler
from graphadapt.data.store import TaskInfo
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.objective.total import Objective
from graphadapt.trainer.cuda_recorder import CudaRecorder, choose_recorder
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.feed import Feed
from graphadapt.trainer.fine_tuning import FineTuning
from graphadapt.trainer.learner import StepInputs
from graphadapt.trainer.loop import Trainer
from graphadapt.trainer.recorded_steps import TRIALS, RecordedSteps
from graphadapt.training_config import TrainerConfig

SMILES = (
    *("CCCCCCO", "c1ccccc1O", "CC(=O)NCCC", "C[C@H](N)CC(=O)O", "CCN(CC)CC", "OCC(O)CCO"),
    *("CC(C)CCCC", "C1CCCCC1C", "ClCC(Cl)(Cl)C", "CCCCCC#N", "C=CC=CCCC", "O=CCCCC=O"),
)
"""Of one size or nearly, so that a few padded sizes come up again and again."""

TASKS = (TaskInfo("a", "binary"), TaskInfo("b", "regression", "log"), TaskInfo("c", "binary"))
RELATION = np.array([[0, 0.5, 0], [0.5, 0, 0.2], [0, 0.2, 0]], np.float32)
STEPS = 6
SETTINGS = {
    "features.blocks": ["counts"],
    "features.hidden": [6],
    "features.dropout": 0.2,
    "features.graph_share": 0.3,
    "backbone.layers": 2,
    "backbone.width": 8,
    "backbone.dropout": 0.3,
    "backbone.message_passing": "tensor",
    "adapters.count": 3,
    "adapters.rank": 2,
    "adapters.sites": ["expand"],
    "prior.width": 5,
    "routing.threshold": 0.2,
    "objective.consistency": 0.1,
    "objective.balance": 0.1,
    "sampler.batch_size": 4,
    "sampler.task_count": 2,
    "trainer.epochs": 9,
    "trainer.average": 0.9,
    "trainer.learning_rate": 0.02,
    "trainer.weight_decay": 0.1,
    "trainer.precision": "float32",
}


@pytest.fixture
def device_kernels(monkeypatch):
    """Every module takes the kernels that a GPU without Triton would."""
    kernels = TensorKernels(waits=False)
    for module in (
        *("backbone.network", "backbone.neural_fingerprint", "prior.propagation"),
        *("prior.attention", "trainer.fine_tuning"),
    ):
        name = f"graphadapt.{module}.message_kernels"
        monkeypatch.setattr(name, lambda name, device: kernels)
    return kernels


def learner(device="cpu", *, planned=True, moves="all", **more):
    config = RunConfig().with_settings({**SETTINGS, **more})
    molecules = [featurise_smiles(text) for text in SMILES]
    features = np.random.default_rng(0).integers(0, 3, (len(SMILES), 16)).astype(np.uint8)
    table = GraphTable.from_molecules(molecules, features, device, ordered=planned)
    targets = np.random.default_rng(1).integers(0, 2, (len(SMILES), 3)).astype(np.float32)
    targets[::3, 0] = np.nan
    torch.manual_seed(0)
    inputs = ModelInputs(TASKS, (FeatureBlock(kind="counts", size=16),))
    model = assemble(config, inputs, RELATION).to(device)
    if moves == "adapters":
        model.backbone.requires_grad_(False)
    feed = Feed(table, torch.from_numpy(targets), config.trainer.precision)
    feed.remember_what_stays(model, 1e9, shown=False)
    objective = Objective(
        config.objective,
        torch.tensor([True, False, True], device=device),
        torch.from_numpy(RELATION).to(device),
        model.routing,
    )
    sampler = TaskSampler(~np.isnan(targets), RELATION, config.sampler, seed=3)
    return config.trainer, FineTuning(model, feed, sampler, objective, _no_score, planned=planned)


def _no_score():
    raise AssertionError("no step validates")


def trained(tmp_path, recorder, device="cpu", steps=STEPS, **settings):
    trainer_settings, made = learner(device, **settings)
    trainer = Trainer(made, trainer_settings, tmp_path, shown=False, recorder=recorder)
    made.model.train()
    losses = [trainer.take_step(step)[0] for step in range(steps)]
    state = {f"model {name}": t for name, t in made.model.state_dict().items()}
    state |= {f"average {name}": t for name, t in trainer.average.tensors.items()}
    names = {p: name for name, p in made.model.named_parameters()}
    for parameter, values in trainer.optimiser.state.items():
        state |= {f"{key} {names[parameter]}": value for key, value in values.items()}
    return trainer, {"losses": torch.stack(losses), **state}


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if tolerance:
            torch.testing.assert_close(found[name], tensor, msg=name, **tolerance)
        else:
            assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("moves", ["all", "adapters"])
def test_replayed_training_is_the_training_itself(tmp_path, tape_recorder, device_kernels, moves):
    trainer, found = trained(tmp_path, tape_recorder(), moves=moves)
    assert trainer.recorded.obstacle == ""
    assert trainer.recorded.replays == STEPS - TRIALS
    one_by_one, expected = trained(tmp_path, tape_recorder("never"), moves=moves)
    assert one_by_one.recorded.replays == 0
    assert_same(found, expected)
    assert len(set(found["losses"].tolist())) == STEPS


def test_a_padded_step_has_the_loss_and_gradient_of_a_plain_one(
    tmp_path, tape_recorder, device_kernels
):
    still = dict.fromkeys(("backbone.dropout", "features.dropout", "features.graph_share"), 0.0)
    _, found = trained(tmp_path, tape_recorder("never"), steps=1, **still)
    _, expected = trained(tmp_path, None, steps=1, planned=False, **still)
    # Not the weights: Adam's first step is as long where the gradient is nothing but rounding.
    same = [name for name in expected if name.startswith(("losses", "exp_avg "))]
    assert len(same) > 40
    assert_same(
        {name: found[name] for name in same},
        {name: expected[name] for name in same},
        rtol=1e-4,
        atol=1e-6,
    )


def test_resumed_training_is_recorded_anew_and_ends_alike(tmp_path, tape_recorder, device_kernels):
    def run(folder, *stops):
        for index, stop in enumerate(stops):
            settings, made = learner(**{"trainer.epochs": 3})
            trainer = Trainer(made, settings, folder, shown=False, recorder=tape_recorder())
            made.model.train()
            if index:
                trainer.resume()
            for step in range(trainer.state.step, stop):
                trainer.take_step(step)
                trainer.state.step = step + 1
            trainer._save_last()
        return {**made.model.state_dict(), **trainer.average.tensors}

    assert_same(run(tmp_path / "two", 4, 8), run(tmp_path / "one", 8))


def test_each_shape_is_recorded_once_and_only_after_its_trials(tape_recorder):
    taken, recorder = [], tape_recorder()

    def take(inputs):
        taken.append(inputs.shape)
        return inputs.tensors[0].sum() * 2

    steps = RecordedSteps(take, recorder, shown=False)
    for number in range(6):
        for rows, bucket in ((2, BatchSize(8, 8)), (2, BatchSize(16, 16)), (3, BatchSize(8, 8))):
            given = StepInputs((torch.arange(rows) + number,), bucket, rows)
            assert steps(given).item() == 2 * sum(range(number, number + rows))
    assert len(steps) == recorder.recordings == 3
    assert len(taken) == 3 * (TRIALS + 1)
    assert steps.replays == 3 * (6 - TRIALS)


def test_a_loss_is_not_overwritten_by_the_next_replay(tape_recorder):
    steps = RecordedSteps(lambda inputs: inputs.tensors[0].sum(), tape_recorder(), shown=False)
    losses = [steps(StepInputs((torch.tensor([value]),), None, 1)) for value in range(8)]
    assert [loss.item() for loss in losses] == list(range(8))


def test_a_recording_refuses_another_shape(tape_recorder):
    steps = RecordedSteps(lambda inputs: inputs.tensors[0].sum(), tape_recorder(), shown=False)
    given = StepInputs((torch.arange(3),), BatchSize(8, 8), 3)
    for _ in range(TRIALS + 1):
        steps(given)
    (recorded,) = steps._recorded.values()
    for other in (
        replace(given, tensors=(torch.arange(4),)),
        replace(given, bucket=BatchSize(16, 8)),
    ):
        with pytest.raises(ConfigError, match="cannot be replayed on"):
            recorded.replay(other)


def test_a_step_that_waits_is_never_recorded_and_a_line_says_so(tape_recorder, capsys):
    def take(inputs):
        return inputs.tensors[0] * inputs.tensors[0].item()

    recorder = tape_recorder()
    steps = RecordedSteps(take, recorder)
    for value in range(2 * TRIALS):
        assert steps(StepInputs((torch.tensor(value),), None, 1)).item() == value**2
    assert (recorder.recordings, steps.replays) == (0, 0)
    assert capsys.readouterr().err == (
        "steps are taken one kernel at a time: _local_scalar_dense waits for the device\n"
    )


def test_a_failed_capture_names_the_setting(tape_recorder):
    class Failing(tape_recorder):
        def record(self, work):
            raise RuntimeError("CUDA error: operation not permitted\nmore")

    steps = RecordedSteps(lambda inputs: inputs.tensors[0].sum(), Failing(), shown=False)
    given = StepInputs((torch.arange(3),), None, 3)
    for _ in range(TRIALS):
        steps(given)
    with pytest.raises(
        ConfigError, match=r"\(CUDA error: operation not permitted\); set trainer.c"
    ):
        steps(given)


class OnGpu:
    """What :func:`choose_recorder` asks of a planned learner."""

    device, model, steps_per_epoch, obstacle = torch.device("cuda"), None, 1, ""
    composition = ""

    def inputs(self, step, workers):
        raise AssertionError("nothing is trained")

    loss = loss_of = plan = score = inputs


class Unplanned:
    device = torch.device("cuda")


def test_what_cannot_be_recorded_is_said_in_one_line(capsys):
    slow = OnGpu()
    slow.obstacle = "message passing by 'dgl' cannot be captured"
    for made, world, reason in (
        (slow, 1, "message passing by 'dgl' cannot be captured"),
        (OnGpu(), 2, "several processes add up their gradients"),
        (Unplanned(), 1, "Unplanned decides each step as it comes"),
    ):
        assert choose_recorder(made, TrainerConfig(), Workers(0, world)) is None
        assert capsys.readouterr().err == f"steps are taken one kernel at a time: {reason}\n"


def test_nothing_is_recorded_on_a_cpu_or_where_it_is_turned_off(capsys):
    assert choose_recorder(OnGpu(), TrainerConfig(capture=False), Workers()) is None
    on_cpu = OnGpu()
    on_cpu.device = torch.device("cpu")
    assert choose_recorder(on_cpu, TrainerConfig(), Workers()) is None
    assert capsys.readouterr().err == ""


def test_kernels_that_look_at_values_are_an_obstacle():
    _, made = learner()
    assert made.obstacle == "message passing by 'tensor' cannot be captured"
    _, made = learner(planned=False)
    assert made.obstacle == "its batches are not padded to fixed sizes"


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("moves", ["all", "adapters"])
def test_training_by_cuda_graphs_is_the_training_itself(tmp_path, tape_recorder, moves):
    made = {"device": "cuda", "moves": moves}
    trainer, found = trained(tmp_path, CudaRecorder(torch.device("cuda")), **made)
    assert trainer.recorded.obstacle == ""
    assert trainer.recorded.replays == STEPS - TRIALS
    _, expected = trained(tmp_path, tape_recorder("never"), **made)
    assert_same(found, expected, rtol=1e-3, atol=1e-4)


@needs_gpu
def test_waiting_for_the_gpu_is_noticed():
    recorder = CudaRecorder(torch.device("cuda"))
    with recorder.watched() as found:
        torch.ones(3, device="cuda").sum().item()
    assert len(found) == 1
    with recorder.watched() as found:
        torch.ones(3, device="cuda").sum()
    assert found == []
