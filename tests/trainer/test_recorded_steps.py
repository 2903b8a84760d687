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
from graphadapt.graphs.derived import DerivedCache
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.objective.total import Objective
from graphadapt.trainer.cuda_recorder import CudaRecorder
from graphadapt.trainer.feed import Feed
from graphadapt.trainer.fine_tuning import FineTuning
from graphadapt.trainer.learner import StepInputs
from graphadapt.trainer.loop import Trainer
from graphadapt.trainer.recorded_steps import MOST, RAREST, TRIALS, RecordedSteps

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
        *("prior.attention", "trainer.capturable"),
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


def failing_recorder(tape_recorder, after=0):
    """Whose recordings fail, but for the first ``after``; like a capture, at its end once more."""

    class Failing(tape_recorder):
        def record(self, work):
            if self.recordings < after:
                return super().record(work)
            self.recordings += 1
            try:
                raise RuntimeError("CUDA error: operation not permitted\nmore")
            finally:
                raise RuntimeError("CUDA error: operation failed due to a previous error")

    return Failing()


def test_where_a_capture_fails_steps_go_on_one_by_one_and_one_line_says_so(tape_recorder, capsys):
    taken, recorder = [], failing_recorder(tape_recorder, after=1)

    def take(inputs):
        taken.append(inputs.bucket)
        return inputs.tensors[0].sum()

    steps = RecordedSteps(take, recorder)
    for size in (8, 16):
        given = StepInputs((torch.arange(3),), BatchSize(size, size), 3)
        assert [steps(given).item() for _ in range(2 * TRIALS)] == [3] * 2 * TRIALS
    assert (recorder.recordings, len(steps)) == (2, 0)
    before = len(taken)
    assert steps(replace(given, bucket=BatchSize(8, 8))).item() == 3
    assert len(taken) == before + 1
    assert capsys.readouterr().err == (
        "steps are taken one kernel at a time: one cannot be captured as a CUDA graph "
        "(CUDA error: operation not permitted)\n"
    )


def test_training_after_a_failed_capture_is_the_training_itself(
    tmp_path, tape_recorder, device_kernels
):
    trainer, found = trained(tmp_path, failing_recorder(tape_recorder))
    assert (trainer.recorded.replays, len(trainer.recorded)) == (0, 0)
    assert trainer.recorded.obstacle.startswith("one cannot be captured")
    _, expected = trained(tmp_path, tape_recorder("never"))
    assert_same(found, expected)


def test_shapes_that_hardly_ever_come_up_are_not_recorded(tape_recorder):
    recorder = tape_recorder()
    steps = RecordedSteps(lambda inputs: inputs.tensors[0].sum(), recorder, shown=False)
    usual, rare = (StepInputs((torch.arange(rows),), None, rows) for rows in (4, 3))
    for _ in range(2 * TRIALS):
        for _ in range(RAREST):
            steps(usual)
        steps(rare)
    assert recorder.recordings == 1
    assert steps.replays == 2 * TRIALS * RAREST - TRIALS


def test_no_more_shapes_are_recorded_than_fit(tape_recorder):
    recorder = tape_recorder()
    steps = RecordedSteps(lambda inputs: inputs.tensors[0].sum(), recorder, shown=False)
    for rows in range(1, MOST + 3):
        given = StepInputs((torch.arange(rows),), None, rows)
        for _ in range(TRIALS + 2):
            assert steps(given).item() == sum(range(rows))
    assert recorder.recordings == len(steps) == MOST


def test_a_recording_holds_on_to_what_it_reads(tape_recorder, monkeypatch):
    index = torch.arange(3)
    cache = DerivedCache(is_capturing=lambda device: recorder.recordings > 0)
    recorder = tape_recorder()

    def take(inputs):
        return cache.get("twice", (index,), (), lambda: index * 2).sum() + inputs.tensors[0]

    steps = RecordedSteps(take, recorder, shown=False)
    for _ in range(TRIALS + 1):
        steps(StepInputs((torch.tensor(1),), None, 1))
    cache.clear()
    (recorded,) = steps._recorded.values()
    ((tensors, value),) = recorded.read
    assert tensors[0] is index
    assert value.tolist() == [0, 2, 4]


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
def test_a_capture_that_fails_on_a_gpu_leaves_the_training_as_it_would_have_been(
    tmp_path, tape_recorder, monkeypatch
):
    capturing = torch.cuda.is_current_stream_capturing
    loss_of = FineTuning.loss_of

    def loss_that_no_graph_can_hold(self, inputs, workers):
        loss = loss_of(self, inputs, workers)
        if capturing():
            loss.item()
        return loss

    monkeypatch.setattr(FineTuning, "loss_of", loss_that_no_graph_can_hold)
    trainer, found = trained(tmp_path, CudaRecorder(torch.device("cuda")), device="cuda")
    assert trainer.recorded.obstacle.startswith("one cannot be captured")
    _, expected = trained(tmp_path, tape_recorder("never"), device="cuda")
    assert_same(found, expected, rtol=1e-3, atol=1e-4)
    monkeypatch.undo()
    trainer, found = trained(tmp_path, CudaRecorder(torch.device("cuda")), device="cuda")
    assert trainer.recorded.replays == STEPS - TRIALS
    assert_same(found, expected, rtol=1e-3, atol=1e-4)
