"""What the steps of one epoch read, decided on the host and copied to the device together.

Shapes: S steps, R rows of all of them, T tasks, G molecules of the table.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.data.sampler import Draw, TaskSampler
from graphadapt.graphs.buckets import BatchSize, BucketLadder, UsualBuckets
from graphadapt.trainer.learner import StepInputs

__all__ = ["EpochPlan", "on_device", "sizes_of_batches", "usual_buckets"]


class EpochPlan:
    """Rows, compositions and padded sizes of consecutive steps.

    Sizes are worked out from the molecules' atom and bond counts, which the host has, so that no
    batch's size is ever asked of the device.

    Args:
        first: number of the first step.
        draws: what each step reads, over all processes.
        sizes_2G: atoms and bonds of every molecule.
        sizing: says what to pad each batch to.
        device: where steps are computed.
        rank: this process, which takes its part of every draw.
        world: number of processes.
    """

    def __init__(
        self,
        first: int,
        draws: Sequence[Draw],
        sizes_2G: NDArray[np.integer],
        sizing: BucketLadder | UsualBuckets,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.first = first
        rows = [TaskSampler.shard(draw.rows, rank, world) for draw in draws]
        self._ends = np.cumsum([len(each) for each in rows]).tolist()
        rows_R = np.concatenate(rows)
        self._buckets = sizing.buckets(*sizes_of_batches(sizes_2G, rows))
        self._molecules = [len(draw.rows) for draw in draws]
        self._rows = on_device(rows_R, device)
        self._compositions = on_device(np.stack([draw.composition for draw in draws]), device)

    def __len__(self) -> int:
        return len(self._buckets)

    def inputs(self, step: int) -> StepInputs:
        """What one of the steps reads: rows and the composition, as views of the plan."""
        place = step - self.first
        start = self._ends[place - 1] if place else 0
        return StepInputs(
            (self._rows[start : self._ends[place]], self._compositions[place]),
            self._buckets[place],
            self._molecules[place],
        )

    @property
    def buckets(self) -> Sequence[BatchSize]:
        """The padded size of every step."""
        return self._buckets


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
