"""Epochs of steps: gradient, schedule, validation, saving and resuming.

Every random choice is a function of the seed and the step number, so a resumed run takes
the steps that an uninterrupted one would.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from graphadapt.backbone.checkpoints import mismatch
from graphadapt.errors import CheckpointError
from graphadapt.graphs.derived import forget_derived
from graphadapt.progress import Progress
from graphadapt.trainer.checkpoint import (
    load_tensors,
    optimiser_state,
    restore_optimiser,
    save_tensors,
)
from graphadapt.trainer.cuda_recorder import choose_recorder
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.interrupt import Interrupted, InterruptWatch
from graphadapt.trainer.learner import Learner, PlannedLearner, StepInputs
from graphadapt.trainer.recorded_steps import RecordedSteps, Recorder
from graphadapt.trainer.run_folder import (
    BEST,
    LAST,
    append_metrics,
    check_same_data,
    drop_metrics_after,
)
from graphadapt.trainer.update import Update
from graphadapt.training_config import TrainerConfig

__all__ = ["Trainer", "TrainerState"]

STEPS_BETWEEN_QUESTIONS: Final = 20
"""Steps after which several processes agree on whether to stop or save."""


@dataclass(slots=True)
class TrainerState:
    """Where a run stands; everything beside the tensors that resuming needs."""

    step: int = 0
    """Optimiser steps taken."""

    best_score: float | None = None
    best_epoch: int = -1
    loss_sum: float = 0.0
    """Sum of the steps' losses in the epoch under way."""

    seconds: float = 0.0
    """Time spent training and validating, over all sittings."""

    finished: bool = False

    data: str = ""
    """Mark of the data that is trained on; empty where it is not told from others."""


class Trainer:
    """Train a model and leave its checkpoints and metrics in a folder.

    Args:
        learner: the model and what each step asks of it.
        settings: steps, optimiser, saving.
        folder: run folder.
        workers: the processes that train together.
        shown: whether progress is shown.
        recorder: what records steps of a planned learner and replays them; None is CUDA graphs
            where a GPU trains and they can be had, and nothing elsewhere.
        data: mark of what the learner shows its model, kept in checkpoints.
    """

    def __init__(
        self,
        learner: Learner,
        settings: TrainerConfig,
        folder: Path,
        *,
        workers: Workers | None = None,
        shown: bool = True,
        recorder: Recorder | None = None,
        data: str = "",
    ) -> None:
        self.learner, self.settings, self.folder = learner, settings, folder
        self.model = learner.model
        self.workers = workers or Workers()
        self.shown = shown and self.workers.is_first
        self.state = TrainerState(data=data)
        if recorder is None:
            recorder = choose_recorder(learner, settings, self.workers, shown=self.shown)
        self._update = Update(self.model, settings, self.workers, capturable=recorder is not None)
        self.optimiser, self.average = self._update.optimiser, self._update.average
        self._planner = learner if isinstance(learner, PlannedLearner) else None
        self.recorded: RecordedSteps | None = None
        if recorder is not None:
            self.recorded = RecordedSteps(self._take_planned, recorder, shown=self.shown)
        self._names: dict[Tensor, str] = {
            parameter: name for name, parameter in self.model.named_parameters()
        }
        self._interrupt = InterruptWatch()
        self._last_loss: float | None = None
        self._last_save = time.monotonic()

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.settings.epochs * self.learner.steps_per_epoch

    def fit(self) -> TrainerState:
        """Train from where the state stands to the end.

        Metrics that an earlier sitting wrote for later steps are dropped: they come again.

        Raises:
            Interrupted: after the user's Ctrl-C, once the last checkpoint is written.
        """
        self.model.train()
        if self.workers.is_first:
            drop_metrics_after(self.folder, self.state.step)
        started = time.monotonic() - self.state.seconds
        try:
            with self._interrupt:
                while not self.state.finished:
                    self._run_epoch(started)
        finally:
            forget_derived()
        return self.state

    def resume(self) -> None:
        """Continue from the folder's last checkpoint; without one, nothing is done yet.

        Raises:
            CheckpointError: if the checkpoint cannot be read, is of another model, or was trained
                on other data.
        """
        if not (self.folder / LAST).exists():
            return
        tensors, state = load_tensors(self.folder / LAST)
        check_same_data(self.folder, state, self.state.data)
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}, "average": {}}
        for full_name, tensor in tensors.items():
            group, _, name = full_name.partition("/")
            groups[group][name] = tensor
        found = mismatch(self.model, groups["model"])
        if found:
            raise CheckpointError(f"{self.folder / LAST} does not fit its own settings: {found}")
        self.model.load_state_dict(groups["model"])
        restore_optimiser(self.optimiser, self._names, groups["optimiser"])
        if self.average is not None:
            self.average.load(groups["average"])
        self.state = TrainerState(**{**state, "data": self.state.data})

    def _run_epoch(self, started: float) -> None:
        per_epoch = self.learner.steps_per_epoch
        epoch, first = divmod(self.state.step, per_epoch)
        end = (epoch + 1) * per_epoch
        label = f"Epoch {epoch + 1}/{self.settings.epochs}"
        rows_seen, clock = 0, time.monotonic()
        losses: list[Tensor] = []
        with Progress(per_epoch, label, shown=self.shown) as progress:
            progress.update(first)
            for step in range(self.state.step, end):
                loss, rows = self.take_step(step)
                losses.append(loss)
                rows_seen += rows
                self.state.step = step + 1
                if self.state.step < end:  # an epoch's end is saved once it is validated
                    self._pause(losses, started)
                rate = rows_seen / (time.monotonic() - clock)
                progress.update(status=f"{self._loss_text(loss)}{rate:.0f} molecules/s")
        self._plan_ahead()
        self._absorb(losses)
        self._finish_epoch(epoch, rows_seen / (time.monotonic() - clock), started)
        if not self.state.finished and self._asked()[0]:
            raise Interrupted(f"stopped after step {self.state.step}")

    def _pause(self, losses: list[Tensor], started: float) -> None:
        """Save inside an epoch, and stop, if that is due; absorbs the losses when it does."""
        stopping, saving = self._asked()
        if stopping or saving:
            self._absorb(losses)
            self.state.seconds = time.monotonic() - started
            self._save_last()
        if stopping:
            raise Interrupted(f"stopped after step {self.state.step}")

    def take_step(self, step: int) -> tuple[Tensor, int]:
        """Take one optimiser step, counted from 0 over the whole run.

        The model must be in the mode of training. Nothing is waited for: the loss is a scalar on
        the device.

        Returns:
            This process's share of the loss, and the molecules of the whole batch.
        """
        self._update.begin(step, self.total_steps)
        torch.manual_seed(_mixed([self.settings.seed, step, self.workers.rank]))
        if self.recorded is not None and self._planner is not None:
            inputs = self._planner.inputs(step, self.workers)
            return self.recorded(inputs), inputs.molecules
        self._update.forget()
        found = self.learner.loss(step, self.workers)
        self._update.apply(found.loss)
        return found.loss.detach(), found.molecules

    def _take_planned(self, inputs: StepInputs) -> Tensor:
        """Take a step of a planned learner on the device alone; returns its loss."""
        assert self._planner is not None
        self._update.forget()
        loss = self._planner.loss_of(inputs, self.workers)
        self._update.apply(loss)
        return loss.detach()

    def _plan_ahead(self) -> None:
        """Decide the next epoch on the host while the device is still at this one's steps."""
        if self._planner is not None and self.state.step < self.total_steps:
            self._planner.plan(self.state.step, self.workers)

    def _finish_epoch(self, epoch: int, rate: float, started: float) -> None:
        settings = self.settings
        self.workers.share_buffers(self.model)
        record: dict[str, Any] = {
            "epoch": epoch,
            "step": self.state.step,
            "loss": self.state.loss_sum / self.learner.steps_per_epoch,
            "molecules_per_second": round(rate, 1),
        }
        is_last = epoch + 1 >= settings.epochs
        if is_last or (epoch + 1) % settings.evaluate_every == 0:
            record |= self._validate(epoch)
        self.state.loss_sum = 0.0
        self._last_loss = record["loss"]
        waited = epoch - self.state.best_epoch if self.state.best_epoch >= 0 else 0
        self.state.finished = is_last or 0 < settings.patience <= waited
        self.state.seconds = time.monotonic() - started
        record["seconds"] = round(self.state.seconds, 2)
        if self.workers.is_first:
            append_metrics(self.folder, record)
        self._save_last()

    def _validate(self, epoch: int) -> dict[str, Any]:
        composition = self.learner.composition
        asked = {"composition": composition} if composition else {}
        with self.average.swapped_in(self.model) if self.average else nullcontext():
            found = self.learner.score()
            best = self.state.best_score
            if best is None or found.score > best:
                if not math.isnan(found.score):
                    self.state.best_score, self.state.best_epoch = found.score, epoch
                # while nothing could be scored, the latest is the best there is
                if self.workers.is_first:
                    state = {"epoch": epoch, "validation": dict(found.mean), **asked}
                    self._save_model(BEST, state)
        return {"validation": dict(found.mean), **asked}

    def _save_model(self, name: str, state: Mapping[str, Any]) -> None:
        save_tensors(self.folder / name, self.model.state_dict(), state)

    def _save_last(self) -> None:
        self._last_save = time.monotonic()
        if not self.workers.is_first:
            return
        groups = {
            "model": self.model.state_dict(),
            "optimiser": optimiser_state(self.optimiser, self._names),
            "average": {} if self.average is None else self.average.tensors,
        }
        tensors = {
            f"{group}/{name}": tensor
            for group, named in groups.items()
            for name, tensor in named.items()
        }
        save_tensors(self.folder / LAST, tensors, asdict(self.state))

    def _asked(self) -> tuple[bool, bool]:
        """Whether to stop and whether to save now; several processes agree every few steps."""
        due = time.monotonic() - self._last_save >= self.settings.checkpoint_seconds
        if self.workers.world == 1:
            return self._interrupt.asked, due
        if self.state.step % STEPS_BETWEEN_QUESTIONS:
            return False, False
        asked = torch.tensor([self._interrupt.asked, due], dtype=torch.float32)
        stop, save = self.workers.sum(asked).tolist()  # on the host: no GPU is waited for
        return stop > 0, save > 0

    def _absorb(self, losses: list[Tensor]) -> None:
        """Move the epoch's losses from the device into the state, in step order."""
        if not losses:
            return
        for value in self.workers.sum(torch.stack(losses).double()).tolist():
            self.state.loss_sum += value
        losses.clear()

    def _loss_text(self, loss: Tensor) -> str:
        """Loss and best validation score, as far as they are known, and a comma.

        A GPU's loss is not waited for inside an epoch: it is that of the epoch before.
        """
        shown = loss.item() if loss.device.type == "cpu" else self._last_loss
        known = {"loss": shown, "best": self.state.best_score}
        return "".join(
            f"{name} {value:.4f}, " for name, value in known.items() if value is not None
        )


def _mixed(numbers: Sequence[int]) -> int:
    """One seed out of several, far from those of neighbouring numbers."""
    return int(np.random.SeedSequence(list(numbers)).generate_state(1)[0])
