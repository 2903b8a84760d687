"""What is recorded at all, what is said where nothing is, and what is kept of torch's warnings."""

import warnings

import pytest
import torch

from graphadapt.trainer.cuda_recorder import CudaRecorder, choose_recorder, told_apart
from graphadapt.trainer.distributed import Workers
from graphadapt.training_config import TrainerConfig

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


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


def test_only_what_waits_for_the_device_is_kept_of_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, "loss.py", 7)
        warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)
        warnings.warn("a table is about to move", DeprecationWarning, stacklevel=1)
    with pytest.warns(DeprecationWarning, match="a table is about to move") as passed_on:
        found = told_apart(caught)
    assert found == ["called a synchronizing CUDA operation (loss.py:7)"]
    assert len(passed_on) == 1


@needs_gpu
def test_waiting_for_the_gpu_is_noticed():
    recorder = CudaRecorder(torch.device("cuda"))
    with recorder.watched() as found:
        torch.ones(3, device="cuda").sum().item()
    assert len(found) == 1
    with recorder.watched() as found:
        torch.ones(3, device="cuda").sum()
    assert found == []
