"""Messages between tasks and adapters, before tasks choose adapters.

Shapes: T tasks, K adapters, E directed edges, p embedding width.
"""

import torch
from torch import Tensor, nn

from graphadapt.errors import ConfigError
from graphadapt.graphs.message_passing import KernelName
from graphadapt.prior.attention import AttentionMessage

__all__ = ["AdapterGraph"]


class AdapterGraph(nn.Module):
    r"""A graph of tasks and adapters: every task beside every adapter, adapters beside each other.

    .. math::
        E'_k = E_k + m^{T \to K}_k(H) + m^{K \to K}_k(E), \qquad
        H'_t = H_t + m^{K \to T}_t(E')

    Adapters hear all tasks and the other adapters at once, then tasks hear the adapters. Each
    message is an :class:`AttentionMessage` with its own maps, silent at the start: a fresh adapter
    graph changes nothing. Renaming tasks or adapters renames the answer. The adapters may be one
    site's, or those of several sites one below the other. Computed in the parameters' precision
    under autocast too.

    Args:
        width: p.
        message_passing: kernels to use.

    Raises:
        ConfigError: if ``width`` is below 1.

    References:
        The shape of a message is that of Vaswani et al., Attention is all you need, 2017, eq. 1,
        with one head.
    """

    def __init__(self, width: int, *, message_passing: KernelName = "auto") -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"width={width} leaves no room for an embedding; use at least 1")
        self.adapters_from_tasks = AttentionMessage(width, message_passing)
        self.adapters_from_adapters = AttentionMessage(width, message_passing)
        self.tasks_from_adapters = AttentionMessage(width, message_passing)

    def forward(self, task_Tp: Tensor, adapter_Kp: Tensor) -> tuple[Tensor, Tensor]:
        """Tasks and adapters after the exchange, ``(T, p)`` and ``(K, p)``."""
        to_adapters = _all_pairs(task_Tp, adapter_Kp)
        to_tasks = _all_pairs(adapter_Kp, task_Tp)
        with torch.autocast(task_Tp.device.type, enabled=False):
            adapter_Kp = (
                adapter_Kp
                + self.adapters_from_tasks(adapter_Kp, task_Tp, *to_adapters)
                + self.adapters_from_adapters(adapter_Kp, adapter_Kp, *_other_pairs(adapter_Kp))
            )
            return task_Tp + self.tasks_from_adapters(task_Tp, adapter_Kp, *to_tasks), adapter_Kp


def _all_pairs(sender_Mp: Tensor, receiver_Np: Tensor) -> tuple[Tensor, Tensor]:
    """An edge from every sender to every receiver, grouped by receiver."""
    senders = torch.arange(len(sender_Mp), device=sender_Mp.device)
    receivers = torch.arange(len(receiver_Np), device=sender_Mp.device)
    return senders.repeat(len(receivers)), receivers.repeat_interleave(len(senders))


def _other_pairs(node_Np: Tensor) -> tuple[Tensor, Tensor]:
    """An edge from every node to every other one; none for a single node."""
    nodes = torch.arange(len(node_Np), device=node_Np.device)
    # Counted, not masked: a mask would make a GPU's host wait for the number of edges.
    source = (nodes.unsqueeze(1) + nodes[1:]) % len(node_Np)
    return source.flatten(), nodes.repeat_interleave(max(0, len(node_Np) - 1))
