"""Steps of a few fixed shapes, each recorded once and replayed from then on.

A step of a graph network is a thousand small kernels, and starting them one by one from Python
takes several times as long as a GPU takes to run them. A recording starts all of them at once.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from torch import Tensor

from graphadapt.errors import ConfigError
from graphadapt.progress import note
from graphadapt.trainer.learner import StepInputs

__all__ = ["RecordedStep", "RecordedSteps", "Recorder"]

TRIALS: Final = 3
"""Steps of a shape before it is recorded: they compile kernels, make the optimiser's state, and are
watched for anything that waits for the device."""

MOST: Final = 32
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
    other. If the last of these waits for the device, no step is ever recorded, and a line says so.

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
        self.obstacle = ""
        self.replays = 0

    def __len__(self) -> int:
        """Shapes that are recorded."""
        return len(self._recorded)

    def __call__(self, inputs: StepInputs) -> Tensor:
        """Take the step; returns its loss, on the device."""
        with self._recorder.beside():
            recorded = self._recorded.get(inputs.shape)
            if recorded is None and self._is_due(inputs.shape):
                recorded = self._recorded[inputs.shape] = self._record(inputs)
            if recorded is None:
                return self._try(inputs)
            self.replays += 1
            return recorded.replay(inputs)

    def _is_due(self, shape: Hashable) -> bool:
        return not self.obstacle and len(self._recorded) < MOST and self._trials[shape] >= TRIALS

    def _try(self, inputs: StepInputs) -> Tensor:
        self._trials[inputs.shape] += 1
        if self.obstacle or self._trials[inputs.shape] != TRIALS:
            return self._take(inputs)
        with self._recorder.watched() as found:
            loss = self._take(inputs)
        if found:
            self.obstacle = found[0]
            note(f"steps are taken one kernel at a time: {self.obstacle}", shown=self._shown)
        return loss

    def _record(self, inputs: StepInputs) -> RecordedStep:
        held = replace(inputs, tensors=tuple(tensor.clone() for tensor in inputs.tensors))
        try:
            run, loss = self._recorder.record(lambda: self._take(held))
        except RuntimeError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(
                f"a training step cannot be captured as a CUDA graph ({reason}); "
                "set trainer.capture=false"
            ) from error
        return RecordedStep(held, loss, run)
