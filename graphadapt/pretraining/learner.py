"""What a pretraining step minimises, and how held-out molecules judge it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from graphadapt.pretraining.corpus import Corpus, Molecules, RowsByStore
from graphadapt.pretraining.model import PretrainingModel
from graphadapt.pretraining.objective import Evidence, LossSum, View
from graphadapt.pretraining.planned import PlannedDraws
from graphadapt.pretraining.sampler import CorpusSampler
from graphadapt.trainer.capturable import capture_obstacle
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.learner import StepInputs, StepLoss
from graphadapt.trainer.precision import autocast

__all__ = ["HeldOutScore", "Pretraining"]

HIDING_SEED = 4711
"""Seed of what is hidden from held-out molecules, the same in every evaluation."""


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """How well molecules that were never trained on are answered."""

    score: float
    r""":math:`1 - \sum_o w_o L_o / \sum_o w_o`: 0 for answers that look at nothing, 1 at best."""

    mean: Mapping[str, float]
    """Each objective's relative loss and metrics, such as ``atoms_loss`` and ``descriptors_r2``."""


class Pretraining:
    r"""A model, its corpus, and the weighted mean of relative losses.

    .. math:: L = \frac{1}{\sum_o w_o} \sum_o w_o \frac{L_o}{C_o}

    where :math:`C_o` is the loss of the best answer that looks at nothing.

    Args:
        model: on the corpus's device, its objectives fitted.
        corpus: the molecules.
        sampler: what each step reads.
        weights: :math:`w_o` by name.
        precision: ``float32`` or ``bfloat16``, what matrix products are computed in.
        planned: whether an epoch's draws are copied to the device together and its batches padded
            to a few sizes, which a GPU gains by; None is everywhere but on a CPU.
    """

    def __init__(
        self,
        model: PretrainingModel,
        corpus: Corpus,
        sampler: CorpusSampler,
        weights: Mapping[str, float],
        precision: str = "float32",
        *,
        planned: bool | None = None,
    ) -> None:
        self.model, self.corpus, self.sampler = model, corpus, sampler
        self.weights = dict(weights)
        self.precision = precision
        self.planned = self.device.type != "cpu" if planned is None else planned

    @property
    def device(self) -> torch.device:
        """Where the molecules are."""
        return self.corpus.parts[0].table.device

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show about as many molecules as there are."""
        return self.sampler.steps_per_epoch

    @property
    def composition(self) -> str:
        """None: nothing is mixed for tasks."""
        return ""

    @property
    def obstacle(self) -> str:
        """Why its steps cannot be recorded; empty if nothing is known against it."""
        return capture_obstacle(self.model, self.device, planned=self.planned)

    @cached_property
    def draws(self) -> PlannedDraws:
        """The corpus as one table, and what planned steps read of it."""
        return PlannedDraws(self.corpus, self.sampler)

    def plan(self, step: int, workers: Workers) -> None:
        """Decide the epoch that ``step`` belongs to, unless that is done."""
        if self.planned:
            self.draws.plan(step, workers)

    def inputs(self, step: int, workers: Workers) -> StepInputs:
        """What a planned step reads: rows and targets of this process."""
        return self.draws.inputs(step, workers)

    def loss_of(self, inputs: StepInputs, workers: Workers) -> Tensor:
        """The loss of a planned step's molecules."""
        return self._loss(self.draws.molecules(inputs), workers)

    def loss(self, step: int, workers: Workers) -> StepLoss:
        """Hide parts of this process's share of the step's molecules, and answer."""
        if self.planned:
            inputs = self.inputs(step, workers)
            return StepLoss(self.loss_of(inputs, workers), inputs.molecules)
        draw = self.sampler.draw(step)
        own = self.sampler.shard(draw, workers.rank, workers.world)
        return StepLoss(self._loss(self.corpus.gather(own), workers), sum(map(len, draw)))

    def _loss(self, molecules: Molecules, workers: Workers) -> Tensor:
        sums = self._sums(self._view(molecules))
        counts = workers.sum(torch.stack([sums[name].parts for name in sums]))
        loss = torch.zeros((), device=self.device)
        for (name, objective), count in zip(self.model.named_objectives(), counts, strict=True):
            mean = sums[name].total / count.clamp(min=1)
            loss = loss + self.weights[name] * mean / objective.constant
        return loss / sum(self.weights.values())

    @torch.no_grad()
    def score(self) -> HeldOutScore:
        """Answer the held-out molecules, of which always the same parts are hidden."""
        was_training = self.model.training
        self.model.eval()
        generator = torch.Generator(self.device).manual_seed(HIDING_SEED)
        totals: dict[str, list[tuple[float, float]]] = {name: [] for name in self.weights}
        pieces: dict[str, dict[str, list[Tensor]]] = {name: {} for name in self.weights}
        for rows in self._held_out_batches():
            view = self._view(self.corpus.gather(rows), generator)
            for name, (total, count) in self._sums(view).items():
                totals[name].append((float(total), float(count)))
            for name, found in self._evidence(view).items():
                for key, piece in found.items():
                    pieces[name].setdefault(key, []).append(piece.cpu())
        self.model.train(was_training)
        return self._judge(totals, pieces)

    def _judge(
        self,
        totals: Mapping[str, list[tuple[float, float]]],
        pieces: Mapping[str, Mapping[str, list[Tensor]]],
    ) -> HeldOutScore:
        mean: dict[str, float] = {}
        weighted = 0.0
        for name, objective in self.model.named_objectives():
            total, count = np.sum(totals[name], axis=0)
            relative = float(total / max(count, 1) / objective.constant.item())
            evidence: Evidence = {k: torch.cat(v).numpy() for k, v in pieces[name].items()}
            mean[f"{name}_loss"] = relative
            mean |= {f"{name}_{key}": v for key, v in objective.metrics(evidence).items()}
            weighted += self.weights[name] * relative
        return HeldOutScore(1 - weighted / sum(self.weights.values()), mean)

    def _view(self, molecules: Molecules, generator: torch.Generator | None = None) -> View:
        with autocast(self.precision, self.device):
            view: View = self.model(molecules, generator)
        return view

    def _sums(self, view: View) -> dict[str, LossSum]:
        with autocast(self.precision, self.device):
            return {name: objective(view) for name, objective in self.model.named_objectives()}

    def _evidence(self, view: View) -> dict[str, dict[str, Tensor]]:
        with autocast(self.precision, self.device):
            return {name: each.evidence(view) for name, each in self.model.named_objectives()}

    def _held_out_batches(self) -> Iterator[RowsByStore]:
        """All held-out rows, every store spread over all batches in its order."""
        held_out = self.corpus.held_out
        count = max(1, sum(map(len, held_out)) // self.sampler.batch_size)
        split = [np.array_split(rows, count) for rows in held_out]
        yield from (list(rows) for rows in zip(*split, strict=True))
