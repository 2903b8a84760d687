"""What the steps of a pretraining run read, decided on the host an epoch at a time.

Shapes: P rows of a step, M columns of a target.

The stores stand as one table on the device, so that a step puts its batch together there, padded to
one of a few sizes. Targets are far larger than graphs: they stay on the host, and a step's own are
copied while the device is at the steps before.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.data.ragged import GraphColumns, offsets_of
from graphadapt.graphs.batch import GraphTable
from graphadapt.pretraining.corpus import Corpus, Molecules, RowsByStore
from graphadapt.pretraining.sampler import CorpusSampler
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.epoch_plan import EpochPlans, Shown, on_device
from graphadapt.trainer.learner import StepInputs

__all__ = ["PlannedDraws"]


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
        self._epochs = EpochPlans(
            self._shown_at, sampler.steps_per_epoch, sampler.batch_size, self.table.sizes, device
        )

    def plan(self, step: int, workers: Workers) -> None:
        """Decide the epoch that ``step`` belongs to, unless that is done."""
        self._epochs.plan(step, workers)

    def inputs(self, step: int, workers: Workers) -> StepInputs:
        """Rows of the table ``(P,)``, then each kind of target ``(P, M)``."""
        planned = self._epochs.inputs(step, workers)
        own = self.sampler.shard(self.sampler.draw(step), workers.rank, workers.world)
        return replace(planned, tensors=(*planned.tensors, *self._targets(own)))

    def molecules(self, inputs: StepInputs) -> Molecules:
        """The padded batch of a step's inputs, put together on the device."""
        rows_P, *targets = inputs.tensors
        batch = self.table.gather(rows_P, bucket=inputs.bucket)
        return Molecules(batch, dict(zip(self.kinds, targets, strict=True)))

    def _shown_at(self, step: int, workers: Workers) -> Shown:
        draw = self.sampler.draw(step)
        own = self.sampler.shard(draw, workers.rank, workers.world)
        return Shown(self._joined(own), sum(map(len, draw)))

    def _joined(self, rows: RowsByStore) -> NDArray[np.int64]:
        """Rows of the stores as rows of the table, store after store."""
        return np.concatenate([own + first for own, first in zip(rows, self._first, strict=False)])

    def _targets(self, rows: RowsByStore) -> list[Tensor]:
        pairs = list(zip(self.corpus.parts, rows, strict=True))
        return [
            on_device(
                np.concatenate([part.targets[kind][own] for part, own in pairs]), self.table.device
            )
            for kind in self.kinds
        ]
