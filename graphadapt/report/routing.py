"""How a model routes: how sharp, how many adapters, how evenly they are used.

Shapes: T tasks, K adapters.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from graphadapt.model import ComposedModel
from graphadapt.report.table import Cell, format_table
from graphadapt.routing.usage import adapters_used, load_imbalance, routing_entropy

__all__ = ["SiteRouting", "describe_gates", "describe_routing", "routing_table"]


@dataclass(frozen=True, kw_only=True)
class SiteRouting:
    """The routes of all tasks at one site."""

    adapters: int
    """K."""

    entropy: float
    """Mean over tasks, in nats, from 0 to ln K."""

    effective: float
    """Mean over tasks of the exponential of the entropy: adapters in all but name, 1 to K."""

    used: dict[str, int]
    """Adapters of weight above zero, by task."""

    idle: int
    """Adapters that no task uses."""

    imbalance: float
    """``K Σ_k load_k² - 1``: 0 where all carry alike, K - 1 where one carries everything."""

    load: list[float]
    """Mean weight of each adapter over tasks; sums to 1."""

    @property
    def mean_used(self) -> float:
        """Adapters of weight above zero, mean over tasks."""
        return sum(self.used.values()) / len(self.used)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested tables for JSON."""
        return asdict(self) | {"mean_used": self.mean_used}


@torch.no_grad()
def describe_routing(model: ComposedModel) -> dict[str, SiteRouting]:
    """The routes at every site; empty for a model without adapters."""
    return describe_gates(model.gates(), [task.name for task in model.tasks])


def describe_gates(gates: Mapping[str, Tensor], names: list[str]) -> dict[str, SiteRouting]:
    """The same of given weights, each site's ``(T, K)`` with rows that sum to 1."""
    return {site: _describe(gate_TK.detach().cpu(), names) for site, gate_TK in gates.items()}


def routing_table(sites: Mapping[str, SiteRouting], *, markdown: bool = False) -> str:
    """One row a site."""
    rows: list[list[Cell]] = [
        [
            site,
            found.adapters,
            found.mean_used,
            found.effective,
            found.entropy,
            math.log(found.adapters),
            found.idle,
        ]
        for site, found in sites.items()
    ]
    header = ["site", "adapters", "used a task", "effective", "entropy", "of at most", "idle"]
    return format_table(header, rows, digits=2, markdown=markdown)


def _describe(gate_TK: Tensor, names: list[str]) -> SiteRouting:
    entropies = [max(0.0, float(routing_entropy(row_K[None]))) for row_K in gate_TK]
    used_T = adapters_used(gate_TK)
    return SiteRouting(
        adapters=gate_TK.shape[1],
        entropy=sum(entropies) / len(entropies),
        effective=sum(math.exp(entropy) for entropy in entropies) / len(entropies),
        used=dict(zip(names, used_T.tolist(), strict=True)),
        idle=int((gate_TK.amax(0) == 0).sum()),
        imbalance=float(load_imbalance(gate_TK)),
        load=gate_TK.mean(0).tolist(),
    )
