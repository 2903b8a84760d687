"""What the steps of a pretraining run read, decided on the host an epoch at a time.

Shapes: P rows of a step, M columns of a target.

The stores stand as one table on the device, so that a step puts its batch together there, padded to
one of a few sizes. Targets are far larger than graphs: they stay on the host, and a step's own are
copied while the device is at the steps before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.data.ragged import GraphColumns, offsets_of
from graphadapt.data.sampler import Draw
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import UsualBuckets
from graphadapt.pretraining.corpus import Corpus, Molecules, RowsByStore
from graphadapt.pretraining.sampler import CorpusSampler
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.epoch_plan import EpochPlan, on_device, usual_buckets
from graphadapt.trainer.learner import StepInputs

__all__ = ["PlannedDraws"]


class _Epoch(NamedTuple):
    plan: EpochPlan
    own: Sequence[RowsByStore]
    """This process's rows of every step."""

    molecules: Sequence[int]
    """Of every step's whole batch."""


class PlannedDraws:
    """The molecules of a corpus, and the steps that show them.

    Args:
        corpus: the molecules, on the device that computes.
        sampler: what each step reads.
    """

    def __init__(self, corpus: Corpus, sampler: CorpusSampler) -> None:
        self.corpus, self.sampler = corpus, sampler
        stores = [part.store for part in corpus.parts]
        columns = GraphColumns.joined([store.columns for store in stores])
        device = corpus.parts[0].table.device
        self.table = GraphTable(columns, None, device, ordered=True)
        self.kinds = tuple(corpus.parts[0].targets)
        """Of the targets, in the order of a step's inputs."""

        self._first = offsets_of(np.array([len(store) for store in stores]))
        self._epochs: dict[int, _Epoch] = {}
        self._sizing: UsualBuckets | None = None

    def plan(self, step: int, workers: Workers) -> None:
        """Decide the epoch that ``step`` belongs to, unless that is done; the last two are kept."""
        epoch = step // self.sampler.steps_per_epoch
        if epoch in self._epochs:
            return
        draws = self._draws(epoch)
        own = self._shards(draws, workers)
        if self._sizing is None:
            # Of the first epoch always, so that a resumed run pads as an uninterrupted one does.
            first = own if epoch == 0 else self._shards(self._draws(0), workers)
            batch = max(1, self.sampler.batch_size // workers.world)
            rows = [self._joined(each) for each in first]
            self._sizing = usual_buckets(self.table.sizes, rows, batch)
        self._epochs = dict(list(self._epochs.items())[-1:])
        self._epochs[epoch] = _Epoch(
            self._epoch_plan(epoch, own, self._sizing), own, [sum(map(len, draw)) for draw in draws]
        )

    def inputs(self, step: int, workers: Workers) -> StepInputs:
        """Rows of the table ``(P,)``, then each kind of target ``(P, M)``."""
        self.plan(step, workers)
        epoch, place = divmod(step, self.sampler.steps_per_epoch)
        plan, own, molecules = self._epochs[epoch]
        found = plan.inputs(step)
        tensors = (found.tensors[0], *self._targets(own[place]))
        return StepInputs(tensors, found.bucket, molecules[place])

    def molecules(self, inputs: StepInputs) -> Molecules:
        """The padded batch of a step's inputs, put together on the device."""
        rows_P, *targets = inputs.tensors
        batch = self.table.gather(rows_P, bucket=inputs.bucket)
        return Molecules(batch, dict(zip(self.kinds, targets, strict=True)))

    def _draws(self, epoch: int) -> list[RowsByStore]:
        per_epoch = self.sampler.steps_per_epoch
        return [self.sampler.draw(epoch * per_epoch + place) for place in range(per_epoch)]

    def _shards(self, draws: Sequence[RowsByStore], workers: Workers) -> list[RowsByStore]:
        return [self.sampler.shard(draw, workers.rank, workers.world) for draw in draws]

    def _joined(self, rows: RowsByStore) -> NDArray[np.int64]:
        """Rows of the stores as rows of the table, store after store."""
        return np.concatenate([own + first for own, first in zip(rows, self._first, strict=False)])

    def _epoch_plan(
        self, epoch: int, own: Sequence[RowsByStore], sizing: UsualBuckets
    ) -> EpochPlan:
        none = np.zeros(0, np.int64)
        return EpochPlan(
            epoch * self.sampler.steps_per_epoch,
            [Draw(self._joined(rows), none, none.astype(np.float32), "all") for rows in own],
            self.table.sizes,
            sizing,
            self.table.device,
        )

    def _targets(self, rows: RowsByStore) -> list[Tensor]:
        pairs = list(zip(self.corpus.parts, rows, strict=True))
        return [
            on_device(
                np.concatenate([part.targets[kind][own] for part, own in pairs]), self.table.device
            )
            for kind in self.kinds
        ]
