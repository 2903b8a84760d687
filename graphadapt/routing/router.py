"""From task and adapter embeddings to routing logits at a site.

Shapes: ... any leading axes, such as sites, T tasks, K adapters, p embedding width.
"""

import math

import torch
from torch import Tensor, nn

from graphadapt.errors import ConfigError

__all__ = ["Router", "routing_logits"]


class Router(nn.Module):
    r"""Score every adapter of a site for every task.

    .. math:: \zeta_{tk} = \frac{\langle H_t Q, E_k \rangle}{\sqrt{p}}

    The adapters' embeddings ``E`` start random at unit scale and ``Q`` as the identity: so the
    logits start at unit scale, tasks that are close start with close routes, and tasks, ``E`` and
    ``Q`` all have a gradient as soon as the routes matter to the loss. Computed in the parameters'
    precision under autocast too: a rounded logit may cross a gate's threshold.

    Args:
        count: K.
        width: p.

    Raises:
        ConfigError: if either is below 1.
    """

    query: nn.Parameter
    """Q, ``(p, p)``."""

    adapters: nn.Parameter
    """E, ``(K, p)``; what the adapter graph makes of it goes into :meth:`forward`."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        if min(count, width) < 1:
            raise ConfigError(f"a router of {count} adapters and width {width} is empty; use >= 1")
        self.query = nn.Parameter(torch.eye(width))
        self.adapters = nn.Parameter(torch.randn(count, width))

    def forward(self, task_Tp: Tensor, adapter_Kp: Tensor | None = None) -> Tensor:
        """Routing logits ``ζ``, ``(T, K)``; without ``adapter_Kp`` against ``E`` itself."""
        adapter_Kp = self.adapters if adapter_Kp is None else adapter_Kp
        return routing_logits(task_Tp, self.query, adapter_Kp)


def routing_logits(task: Tensor, query: Tensor, adapter: Tensor) -> Tensor:
    """Routing logits ``ζ`` of :class:`Router`, at one site or several.

    Args:
        task: H, ``(..., T, p)``.
        query: Q, ``(..., p, p)``.
        adapter: E, ``(..., K, p)``.

    Returns:
        ``(..., T, K)``.
    """
    with torch.autocast(task.device.type, enabled=False):
        return task @ query @ (adapter.mT / math.sqrt(query.shape[-1]))
