"""Messages between tasks and adapters, before tasks choose adapters.

Shapes: T tasks, K adapters, E directed edges, p embedding width.
"""

import functools

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
        tasks, adapters, device = len(task_Tp), len(adapter_Kp), task_Tp.device
        with torch.autocast(device.type, enabled=False):
            heard_Kp = self.adapters_from_tasks(
                adapter_Kp, task_Tp, *_all_pairs(tasks, adapters, device)
            )
            beside_Kp = self.adapters_from_adapters(
                adapter_Kp, adapter_Kp, *_other_pairs(adapters, device)
            )
            adapter_Kp = adapter_Kp + heard_Kp + beside_Kp
            heard_Tp = self.tasks_from_adapters(
                task_Tp, adapter_Kp, *_all_pairs(adapters, tasks, device)
            )
        return task_Tp + heard_Tp, adapter_Kp


# Kernels remember what they work out from the very tensors they are given, so the same ones are
# given every time; as ordinary tensors, which training may keep for its backward pass, even if an
# evaluation in inference mode asks first.
@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _all_pairs(senders: int, receivers: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """An edge from every sender to every receiver, grouped by receiver."""
    sender_M = torch.arange(senders, device=device)
    receiver_N = torch.arange(receivers, device=device)
    return sender_M.repeat(receivers), receiver_N.repeat_interleave(senders)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _other_pairs(nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """An edge from every node to every other one, grouped by receiver; none for a single node."""
    node_N = torch.arange(nodes, device=device)
    source_E = (node_N.unsqueeze(1) + node_N[1:]) % nodes
    return source_E.flatten(), node_N.repeat_interleave(nodes - 1)
