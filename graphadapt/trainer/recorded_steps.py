"""Steps of a few fixed shapes, each recorded once and replayed from then on.

A step of a graph network is a thousand small kernels, and starting them one by one from Python
takes several times as long as a GPU takes to run them. A recording starts all of them at once.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from torch import Tensor

from graphadapt.errors import ConfigError
from graphadapt.graphs.derived import held_for_replays
from graphadapt.progress import note
from graphadapt.trainer.learner import StepInputs

__all__ = ["RecordedStep", "RecordedSteps", "Recorder"]

TRIALS: Final = 3
"""Steps of a shape before it is recorded: they compile kernels, make the optimiser's state, and are
watched for anything that waits for the device."""

RAREST: Final = 50
"""A shape is recorded once it has come up in one of so many steps, so that a sampler whose batches
differ does not fill the device with recordings that are hardly ever replayed."""

MOST: Final = 16
"""Shapes that are recorded; steps of others go on one kernel at a time."""


class Recorder(Protocol):
    """Something that can record what a function does on the device, and do it again."""

    def beside(self) -> AbstractContextManager[None]:
        """Where steps run, recorded or not."""

    def watched(self) -> AbstractContextManager[list[str]]:
        """Collect what the host waits for the device at."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Record ``work`` without doing it.

        Returns:
            What does it, and the tensor that its result is found in.
        """


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One recording, bound to the shape that it was made for."""

    inputs: StepInputs
    """Refilled before every replay."""

    loss: Tensor
    """Overwritten by every replay, and by those of other recordings."""

    run: Callable[[], object]

    read: Sequence[object] = ()
    """What it reads that was remembered elsewhere, and must not be let go of before it is."""

    def replay(self, inputs: StepInputs) -> Tensor:
        """Take the step on other inputs of the same shape; returns its loss.

        Raises:
            ConfigError: if they have another shape.
        """
        if inputs.shape != self.inputs.shape:
            raise ConfigError(
                f"a step recorded for {self.inputs.shape} cannot be replayed on {inputs.shape}; "
                "record one for each shape"
            )
        for held, given in zip(self.inputs.tensors, inputs.tensors, strict=True):
            held.copy_(given)
        self.run()
        return self.loss.clone()


class RecordedSteps:
    """Take steps, and replay those whose shape has come up often enough.

    The first steps of a shape are taken one kernel at a time, as steps of the training like any
    other. If the last of these waits for the device, or a recording fails, all steps go on like
    this, and a line says so.

    Args:
        take: takes a step on its inputs and returns its loss, detached.
        recorder: what records it.
        shown: whether the line is shown.
    """

    def __init__(
        self, take: Callable[[StepInputs], Tensor], recorder: Recorder, *, shown: bool = True
    ) -> None:
        self._take, self._recorder, self._shown = take, recorder, shown
        self._trials: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, RecordedStep] = {}
        self._steps = 0
        self.obstacle = ""
        self.replays = 0

    def __len__(self) -> int:
        """Shapes that are recorded."""
        return len(self._recorded)

    def __call__(self, inputs: StepInputs) -> Tensor:
        """Take the step; returns its loss, on the device."""
        self._steps += 1
        with self._recorder.beside():
            recorded = self._recorded.get(inputs.shape)
            if recorded is None and self._is_due(inputs.shape):
                recorded = self._record(inputs)
            if recorded is None:
                return self._try(inputs)
            self.replays += 1
            return recorded.replay(inputs)

    def _is_due(self, shape: Hashable) -> bool:
        trials = self._trials[shape]
        is_usual = trials >= TRIALS and trials * RAREST >= self._steps
        return is_usual and not self.obstacle and len(self._recorded) < MOST

    def _try(self, inputs: StepInputs) -> Tensor:
        self._trials[inputs.shape] += 1
        if self.obstacle or self._trials[inputs.shape] != TRIALS:
            return self._take(inputs)
        with self._recorder.watched() as found:
            loss = self._take(inputs)
        if found:
            self._give_up(found[0])
        return loss

    def _record(self, inputs: StepInputs) -> RecordedStep | None:
        """Record steps of this shape; None if that fails."""
        held = replace(inputs, tensors=tuple(tensor.clone() for tensor in inputs.tensors))
        try:
            with held_for_replays() as read:
                run, loss = self._recorder.record(lambda: self._take(held))
        except RuntimeError as error:
            self._give_up(f"one cannot be captured as a CUDA graph ({_first_cause(error)})")
            return None
        recorded = self._recorded[inputs.shape] = RecordedStep(held, loss, run, read)
        return recorded

    def _give_up(self, obstacle: str) -> None:
        """Record nothing any more; recordings share memory and random numbers, so all go."""
        self.obstacle = obstacle
        self._recorded.clear()
        note(f"steps are taken one kernel at a time: {obstacle}", shown=self._shown)


def _first_cause(error: BaseException) -> str:
    """What went wrong first: the end of a capture only says that something did."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
