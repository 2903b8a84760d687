"""Gates of every site, from one pass over the task graph and one adapter graph a site.

Shapes: T tasks, K adapters, p width of the embeddings.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from graphadapt.adapters.site_names import key_of, site_of
from graphadapt.prior.adapter_graph import AdapterGraph
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.routing.gate import gate, soft_gate
from graphadapt.routing.router import Router

__all__ = ["TaskRouting"]


class TaskRouting(nn.Module):
    r"""Propagate over tasks, exchange with the adapters, route, gate.

    .. math:: H = \mathrm{propagate}(\hat A), \quad (H_s, E_s) = \mathrm{exchange}_s(H, E_s),
              \quad g_s = \mathrm{gate}(H_s Q_s E_s^\top / \sqrt p;\ \tau, \theta)

    Args:
        propagation: messages over the task graph; gives H, (T, p).
        routers: queries and adapter embeddings of each site.
        exchanges: adapter graph of each site; empty leaves H and E as they are.
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
        task_Tp = self.propagation()
        logits = {}
        for key, router in self.routers.items():
            routed_Tp, adapter_Kp = task_Tp, router.adapters
            if key in self.exchanges:
                routed_Tp, adapter_Kp = self.exchanges[key](task_Tp, adapter_Kp)
            logits[site_of(key)] = router(routed_Tp, adapter_Kp)
        return logits

    def soft(self) -> dict[str, Tensor]:
        """π of every site before the threshold, each (T, K) with rows that sum to 1."""
        return {
            site: soft_gate(logits_TK, self.temperature)
            for site, logits_TK in self.logits().items()
        }

    def forward(self) -> dict[str, Tensor]:
        """Gates of every site, each (T, K) with rows that sum to 1."""
        return {
            site: gate(logits_TK, self.temperature, self.threshold)
            for site, logits_TK in self.logits().items()
        }
