"""What the steps of an epoch read, decided on the host and copied to the device together.

Shapes: S steps, G molecules of the table.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.graphs.buckets import BatchSize, BucketLadder, UsualBuckets
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.learner import StepInputs

__all__ = ["EpochPlan", "EpochPlans", "Shown", "on_device", "sizes_of_batches", "usual_buckets"]


class Shown(NamedTuple):
    """What a step shows, as the host decides it."""

    rows: NDArray[np.int64]
    """This process's molecules."""

    molecules: int
    """Of the whole batch, over all processes."""

    beside: tuple[NDArray[np.generic], ...] = ()
    """What else the step reads; of one shape in all steps."""


class EpochPlan:
    """Rows and padded sizes of consecutive steps, and what they read beside.

    Sizes are worked out from the molecules' atom and bond counts, which the host has, so that no
    batch's size is ever asked of the device.

    Args:
        first: number of the first step.
        shown: what each step shows.
        sizes_2G: atoms and bonds of every molecule.
        sizing: says what to pad each batch to.
        device: where steps are computed.
    """

    def __init__(
        self,
        first: int,
        shown: Sequence[Shown],
        sizes_2G: NDArray[np.integer],
        sizing: BucketLadder | UsualBuckets,
        device: torch.device,
    ) -> None:
        self.first = first
        rows = [step.rows for step in shown]
        self._ends = np.cumsum([len(each) for each in rows]).tolist()
        self._buckets = sizing.buckets(*sizes_of_batches(sizes_2G, rows))
        self._molecules = [step.molecules for step in shown]
        self._rows = on_device(np.concatenate(rows), device)
        besides = zip(*(step.beside for step in shown), strict=True)
        self._beside = [on_device(np.stack(each), device) for each in besides]

    def __len__(self) -> int:
        return len(self._buckets)

    def inputs(self, step: int) -> StepInputs:
        """What one of the steps reads: rows, and what is beside them, as views of the plan."""
        place = step - self.first
        start = self._ends[place - 1] if place else 0
        return StepInputs(
            (self._rows[start : self._ends[place]], *(each[place] for each in self._beside)),
            self._buckets[place],
            self._molecules[place],
        )

    @property
    def buckets(self) -> Sequence[BatchSize]:
        """The padded size of every step."""
        return self._buckets


class EpochPlans:
    """An endless series of epochs, planned as they are asked for; the last two are kept.

    All are padded to the sizes that suit the first, also where a resumed run begins with a later
    one, so that it pads as an uninterrupted run does.

    Args:
        shown_at: what a step shows this process.
        steps_per_epoch: steps that are planned together.
        batch_size: rows of a whole batch, over all processes.
        sizes_2G: atoms and bonds of every molecule.
        device: where steps are computed.
    """

    def __init__(
        self,
        shown_at: Callable[[int, Workers], Shown],
        steps_per_epoch: int,
        batch_size: int,
        sizes_2G: NDArray[np.integer],
        device: torch.device,
    ) -> None:
        self._shown_at, self._length = shown_at, steps_per_epoch
        self._batch_size, self._sizes_2G, self._device = batch_size, sizes_2G, device
        self._plans: dict[int, EpochPlan] = {}
        self._sizing: UsualBuckets | None = None

    def plan(self, step: int, workers: Workers) -> EpochPlan:
        """The plan of the epoch that ``step`` belongs to; made unless it is kept."""
        epoch = step // self._length
        if epoch not in self._plans:
            shown = self._epoch(epoch, workers)
            if self._sizing is None:
                first = shown if epoch == 0 else self._epoch(0, workers)
                batch = max(1, self._batch_size // workers.world)
                self._sizing = usual_buckets(self._sizes_2G, [each.rows for each in first], batch)
            self._plans = dict(list(self._plans.items())[-1:])
            self._plans[epoch] = EpochPlan(
                epoch * self._length, shown, self._sizes_2G, self._sizing, self._device
            )
        return self._plans[epoch]

    def inputs(self, step: int, workers: Workers) -> StepInputs:
        """What a step reads; plans its epoch first if need be."""
        return self.plan(step, workers).inputs(step)

    def _epoch(self, epoch: int, workers: Workers) -> list[Shown]:
        first = epoch * self._length
        return [self._shown_at(step, workers) for step in range(first, first + self._length)]


def sizes_of_batches(
    sizes_2G: NDArray[np.integer], rows: Sequence[NDArray[np.int64]]
) -> NDArray[np.integer]:
    """Nodes and bonds of the batches of these rows, none of them empty, ``(2, S)``."""
    starts = np.cumsum([0, *(len(each) for each in rows[:-1])])
    return np.asarray(np.add.reduceat(sizes_2G[:, np.concatenate(rows)], starts, axis=1))


def usual_buckets(
    sizes_2G: NDArray[np.integer], rows: Sequence[NDArray[np.int64]], batch_size: int
) -> UsualBuckets:
    """The few sizes that batches like these are padded to.

    Rows stay as many as were drawn: a backbone may norm over graphs, and padding graphs would count
    there.

    Args:
        sizes_2G: atoms and bonds of every molecule.
        rows: of the batches of an epoch, none of them empty.
        batch_size: rows that a batch usually has.
    """
    ladder = BucketLadder.fit(sizes_2G[0], sizes_2G[1], batch_size)
    return UsualBuckets.fit(ladder, *sizes_of_batches(sizes_2G, rows))


def on_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """A copy on the device, which a GPU is not waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
