"""Gates of every site, from one pass over the task graph and one over all adapter graphs.

Shapes: S sites of one group, T tasks, K adapters, p width of the embeddings.
"""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from graphadapt.adapters.site_names import key_of, site_of
from graphadapt.prior.adapter_graph import AdapterGraph, exchange
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.routing.gate import gate, soft_gate
from graphadapt.routing.router import Router, routing_logits

__all__ = ["TaskRouting"]


class TaskRouting(nn.Module):
    r"""Propagate over tasks, exchange with the adapters, route, gate.

    .. math:: H = \mathrm{propagate}(\hat A), \quad (H_s, E_s) = \mathrm{exchange}_s(H, E_s),
              \quad g_s = \mathrm{gate}(H_s Q_s E_s^\top / \sqrt p;\ \tau, \theta)

    Sites of one shape are computed together: some thirty operations for all of them, where one by
    one would take as many a site and, with many sites, as long as a layer's products.

    Args:
        propagation: messages over the task graph; gives H, (T, p).
        routers: queries and adapter embeddings of each site.
        exchanges: adapter graph of each site; where there is none, H and E stay as they are.
        temperature: τ, above 0.
        threshold: θ, in [0, 1).
    """

    def __init__(
        self,
        propagation: TaskPropagation,
        routers: Mapping[str, Router],
        exchanges: Mapping[str, AdapterGraph],
        *,
        temperature: float,
        threshold: float,
    ) -> None:
        super().__init__()
        self.propagation = propagation
        self.routers = nn.ModuleDict({key_of(site): r for site, r in routers.items()})
        self.exchanges = nn.ModuleDict({key_of(site): e for site, e in exchanges.items()})
        self.temperature = temperature
        self.threshold = threshold

    def logits(self) -> dict[str, Tensor]:
        """ζ of every site, each (T, K)."""
        return self._of_sites(lambda logits_STK: logits_STK)

    def soft(self) -> dict[str, Tensor]:
        """π of every site before the threshold, each (T, K) with rows that sum to 1."""
        return self._of_sites(lambda logits_STK: soft_gate(logits_STK, self.temperature))

    def forward(self) -> dict[str, Tensor]:
        """Gates of every site, each (T, K) with rows that sum to 1."""
        return self._of_sites(lambda logits_STK: gate(logits_STK, self.temperature, self.threshold))

    def _of_sites(self, read: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """What ``read`` makes of the logits, site by site."""
        task_Tp = self.propagation()
        found = {
            key: value_TK
            for keys in self._groups()
            for key, value_TK in zip(keys, read(self._logits(task_Tp, keys)).unbind(0), strict=True)
        }
        return {site_of(key): found[key] for key in self.routers}

    def _groups(self) -> list[list[str]]:
        """Keys of the sites that are computed together."""
        groups: dict[tuple[object, ...], list[str]] = {}
        for key in self.routers:
            kernels = self.exchanges[key].message_passing if key in self.exchanges else None
            alike = (cast("Router", self.routers[key]).adapters.shape, kernels)
            groups.setdefault(alike, []).append(key)
        return list(groups.values())

    def _logits(self, task_Tp: Tensor, keys: list[str]) -> Tensor:
        """ζ of a group, ``(S, T, K)``."""
        routers = [cast("Router", self.routers[key]) for key in keys]
        task, adapter_SKp = task_Tp, torch.stack([router.adapters for router in routers])
        if keys[0] in self.exchanges:
            graphs = [cast("AdapterGraph", self.exchanges[key]) for key in keys]
            task, adapter_SKp = exchange(graphs, task_Tp, adapter_SKp)
        return routing_logits(task, torch.stack([router.query for router in routers]), adapter_SKp)
