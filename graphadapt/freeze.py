"""A trained model and a composition to one plain network, prior and routing folded in.

Shapes: G graphs, T tasks of the model, P requested tasks, K adapters, D joined embedding.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.sites import find_sites
from graphadapt.data.store import TaskInfo
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphBatch
from graphadapt.model import READOUT, ComposedModel
from graphadapt.readout.features import FeatureEmbedding
from graphadapt.routing.composition import mix, uniform_composition

__all__ = [
    "Correction",
    "FrozenModel",
    "Selection",
    "freeze",
    "fresh_norms",
    "reestimate_backbone_norms",
    "reestimate_norms",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which adapters a frozen model keeps; at most one rule, none keeps all mass.

    The largest weight is always kept, and what is kept is scaled to sum to 1.
    """

    mass: float | None = None
    """The fewest adapters whose weights reach this sum, in (0, 1]."""

    top_m: int | None = None
    """This many of the largest, at least 1."""

    threshold: float | None = None
    """Every weight of at least this, in [0, 1)."""

    def __post_init__(self) -> None:
        given = [name for name in ("mass", "top_m", "threshold") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"selection by {' and '.join(given)}: give one rule only")
        if self.mass is not None and not 0 < self.mass <= 1:
            raise ConfigError(f"selection mass={self.mass} is not in (0, 1]")
        if self.top_m is not None and self.top_m < 1:
            raise ConfigError(f"selection top_m={self.top_m} keeps nothing; use at least 1")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise ConfigError(f"selection threshold={self.threshold} is not in [0, 1)")

    def apply(self, weights: Tensor) -> Tensor:
        """Keep part of each distribution in the last axis, ``(..., K)`` to ``(..., K)``.

        Raises:
            ConfigError: if ``top_m`` is above K.
        """
        if self.top_m is not None and self.top_m > weights.shape[-1]:
            raise ConfigError(
                f"selection top_m={self.top_m} is more than the {weights.shape[-1]} adapters there "
                f"are; use 1 to {weights.shape[-1]}"
            )
        order = weights.argsort(dim=-1, descending=True, stable=True)
        ranked = weights.gather(-1, order)
        keep = ranked > 0
        if self.top_m is not None:
            keep &= torch.arange(weights.shape[-1], device=weights.device) < self.top_m
        if self.threshold is not None:
            keep &= ranked >= self.threshold
        if self.mass is not None:
            before = ranked.double().cumsum(-1) - ranked.double()
            keep &= before < self.mass - 1e-6  # float32 weights sum to 1 within this
        keep[..., 0] = True
        kept = torch.zeros_like(weights).scatter(-1, order, ranked * keep)
        return kept / kept.sum(dim=-1, keepdim=True)


class Correction(NamedTuple):
    """What a composition adds at one site, ``W' = W + (U V)^T``."""

    weight: Tensor
    """W, (F, D): the layer as it was."""

    down: Tensor
    """U of the kept adapters side by side, (D, Q)."""

    up: Tensor
    """V, times their weights and the scale, (Q, F)."""


class FrozenModel(nn.Module):
    """One ordinary network: merged backbone, feature embedding, one linear head a task.

    Two parts may be set afterwards. An ``applicability`` maps the joined embedding ``(G, D)`` to
    one figure a molecule, ``(G,)``, which is answered beside the tasks. A ``calibration`` maps the
    head's answers ``(G, P)`` to the probabilities of binary tasks, in the place of the sigmoid.

    Args:
        backbone: message-passing network with the corrections added in, or ``None``.
        features: embedding of molecule-level features, or ``None``.
        head: D -> P; values of regression tasks come out in the task's own units.
        tasks: name, kind and units of each output column.
        composition: weight of each task of the mix, by name.
        kept: adapters kept at each site, and at the readout for each task.
        corrections: what was added at each inner site.
    """

    applicability: nn.Module | None
    calibration: nn.Module | None

    def __init__(
        self,
        backbone: nn.Module | None,
        features: FeatureEmbedding | None,
        head: nn.Linear,
        *,
        tasks: tuple[TaskInfo, ...],
        composition: Mapping[str, float],
        kept: Mapping[str, list[int] | dict[str, list[int]]],
        corrections: Mapping[str, Correction] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.features = features
        self.head = head
        self.tasks = tasks
        self.composition = dict(composition)
        self.kept = dict(kept)
        self.corrections = dict(corrections or {})
        self.applicability = None
        self.calibration = None
        self.requires_grad_(False).eval()

    def embed(self, batch: GraphBatch) -> Tensor:
        """Graph embedding and feature embedding side by side, (G, D)."""
        parts = [] if self.backbone is None else [self.backbone(batch)]
        if self.features is not None:
            parts.append(self.features(batch.features))
        return torch.cat(parts, dim=-1)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Logits of binary tasks, values in original units of regression tasks, (G, P)."""
        answers: Tensor = self.head(self.embed(batch))
        return answers

    def answers(self, batch: GraphBatch) -> Tensor:
        """What a bundle answers: probabilities of binary tasks, else as :meth:`forward`."""
        return self._probabilities(self(batch))

    def outputs(self, batch: GraphBatch) -> Tensor:
        """As :meth:`answers`, and the applicability in a last column where there is one."""
        embedding_GD = self.embed(batch)
        answers_GP = self._probabilities(self.head(embedding_GD))
        if self.applicability is None:
            return answers_GP
        return torch.cat([answers_GP, self.applicability(embedding_GD).unsqueeze(1)], dim=1)

    def _probabilities(self, answers_GP: Tensor) -> Tensor:
        is_binary = [task.kind == "binary" for task in self.tasks]
        is_binary_P = torch.tensor(is_binary, device=answers_GP.device)
        calibrated = torch.sigmoid if self.calibration is None else self.calibration
        return torch.where(is_binary_P, calibrated(answers_GP), answers_GP)


@torch.no_grad()
def freeze(
    model: ComposedModel,
    *,
    tasks: Sequence[str] = (),
    composition_T: Tensor | None = None,
    selection: Selection | None = None,
) -> FrozenModel:
    r"""Fold routing and adapters of one composition into plain weights.

    .. math:: W' = W + \gamma \sum_k \alpha_k V_k U_k, \qquad
              u'_t = (I + \gamma \sum_k g_{t,k} V_k U_k)^\top u_t

    and for regression :math:`u'_t \leftarrow \sigma_t u'_t,\ c_t \leftarrow \sigma_t c_t + \mu_t`.

    Args:
        model: trained model; left as it is.
        tasks: requested task names in output order; empty keeps all.
        composition_T: w over the model's tasks; default is uniform over the requested.
        selection: which adapters to keep; default keeps all mass.

    Raises:
        ConfigError: for a task the model does not have, or one given twice.
    """
    columns = _columns(model, tasks)
    if composition_T is None:
        composition_T = torch.zeros(len(model.tasks))
        composition_T[columns] = 1 / len(columns)
    selection = selection or Selection()
    gates = model.gates()
    kept: dict[str, list[int] | dict[str, list[int]]] = {}
    corrections = {}
    backbone = copy.deepcopy(model.backbone)
    merged = {} if backbone is None else find_sites(backbone, model.sites)
    for site in model.sites:
        alpha_K = selection.apply(mix(composition_T.to(gates[site]), gates[site]))
        kept[site] = alpha_K.nonzero().flatten().tolist()
        corrections[site] = _correction(merged[site].weight, model.bank(site), alpha_K)
        merged[site].weight += model.bank(site).delta(alpha_K)
    gate_TK = None
    if READOUT in gates:
        gate_TK = selection.apply(gates[READOUT])
        kept[READOUT] = {
            model.tasks[t].name: gate_TK[t].nonzero().flatten().tolist() for t in columns
        }
    return FrozenModel(
        backbone,
        copy.deepcopy(model.features),
        _folded_head(model, columns, gate_TK),
        tasks=tuple(model.tasks[t] for t in columns),
        composition={
            task.name: float(w)
            for task, w in zip(model.tasks, composition_T.tolist(), strict=True)
            if w
        },
        kept=kept,
        corrections=corrections,
    )


def _correction(weight_FD: Tensor, bank: AdapterBank, alpha_K: Tensor) -> Correction:
    kept = alpha_K.nonzero().flatten()
    up_KFR = bank.up[kept] * (bank.scale * alpha_K[kept]).view(-1, 1, 1)
    return Correction(
        weight_FD.clone(),
        bank.down[kept].flatten(0, 1).T.contiguous(),
        up_KFR.transpose(1, 2).flatten(0, 1).contiguous(),
    )


def _columns(model: ComposedModel, tasks: Sequence[str]) -> list[int]:
    names = [task.name for task in model.tasks]
    if tasks:
        uniform_composition(tasks, names)  # refuses a name that is unknown, or there twice
    return [names.index(name) for name in tasks] or list(range(len(names)))


def _folded_head(model: ComposedModel, columns: list[int], gate_TK: Tensor | None) -> nn.Linear:
    weight_TD = model.readout.task_vectors(gate_TK)[columns]
    deviation, mean = model.scaling.deviation[columns], model.scaling.mean[columns]
    head = nn.Linear(weight_TD.shape[1], len(columns)).to(weight_TD)
    head.weight.copy_(weight_TD * deviation[:, None])
    head.bias.copy_(model.readout.bias[columns] * deviation + mean)
    return head


def reestimate_norms(frozen: FrozenModel, batches: Iterable[GraphBatch]) -> None:
    """Replace running statistics of batch norms by those of the frozen composition.

    Training mixes compositions, so the statistics it leaves belong to none of them. A
    backbone without batch norms is left alone.

    Args:
        frozen: changed in place.
        batches: training molecules; each batch counts the same.
    """
    if frozen.backbone is not None:
        reestimate_backbone_norms(frozen.backbone, batches)


@torch.no_grad()
def reestimate_backbone_norms(backbone: nn.Module, batches: Iterable[GraphBatch]) -> None:
    """As :func:`reestimate_norms`, of a backbone on its own."""
    with fresh_norms(backbone) as norms:
        for batch in batches if norms else ():
            backbone(batch)


@contextmanager
def fresh_norms(backbone: nn.Module) -> Iterator[list[nn.BatchNorm1d]]:
    """Forget running statistics, and take a plain average over all batches that are run inside."""
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield norms
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
