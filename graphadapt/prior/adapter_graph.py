"""Messages between tasks and adapters, before tasks choose adapters.

Shapes: S sites, T tasks, K adapters of a site, p embedding width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphadapt.errors import ConfigError
from graphadapt.graphs.message_passing import KernelName
from graphadapt.prior.attention import AttentionMaps, AttentionMessage, attention_message
from graphadapt.prior.pairs import all_pairs, other_pairs

__all__ = ["AdapterGraph", "exchange"]


class AdapterGraph(nn.Module):
    r"""A graph of tasks and adapters: every task beside every adapter, adapters beside each other.

    .. math::
        E'_k = E_k + m^{T \to K}_k(H) + m^{K \to K}_k(E), \qquad
        H'_t = H_t + m^{K \to T}_t(E')

    Adapters hear all tasks and the other adapters at once, then tasks hear the adapters. Each
    message is an :class:`AttentionMessage` with its own maps, silent at the start: a fresh adapter
    graph changes nothing. Renaming tasks or adapters renames the answer. Computed in the
    parameters' precision under autocast too.

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
        self.message_passing: KernelName = message_passing
        self.adapters_from_tasks = AttentionMessage(width, message_passing)
        self.adapters_from_adapters = AttentionMessage(width, message_passing)
        self.tasks_from_adapters = AttentionMessage(width, message_passing)

    @property
    def messages(self) -> tuple[AttentionMessage, AttentionMessage, AttentionMessage]:
        """The three messages, in the order of the equations."""
        return self.adapters_from_tasks, self.adapters_from_adapters, self.tasks_from_adapters

    def forward(self, task_Tp: Tensor, adapter_Kp: Tensor) -> tuple[Tensor, Tensor]:
        """Tasks and adapters after the exchange, ``(T, p)`` and ``(K, p)``."""
        task_STp, adapter_SKp = exchange([self], task_Tp, adapter_Kp.unsqueeze(0))
        return task_STp.squeeze(0), adapter_SKp.squeeze(0)


def exchange(
    graphs: Sequence[AdapterGraph], task_Tp: Tensor, adapter_SKp: Tensor
) -> tuple[Tensor, Tensor]:
    """Every site's adapter graph, with one message-passing call for all sites a message.

    Args:
        graphs: of the S sites, at least one, of one width and with the same kernels.
        task_Tp: the tasks before the exchange, the same at every site.
        adapter_SKp: every site's adapters.

    Returns:
        What each site's tasks and adapters are after it, ``(S, T, p)`` and ``(S, K, p)``.
    """
    sites, adapters, _ = adapter_SKp.shape
    tasks, device, kernels = len(task_Tp), task_Tp.device, graphs[0].message_passing
    heard, beside, answer = _stacked_maps(graphs)
    with torch.autocast(device.type, enabled=False):
        task_STp = task_Tp.expand(sites, -1, -1)
        to_adapters = all_pairs(sites, tasks, adapters, device)
        heard_SKp = attention_message(heard, adapter_SKp, task_STp, to_adapters, kernels)
        among = other_pairs(sites, adapters, device)
        beside_SKp = attention_message(beside, adapter_SKp, adapter_SKp, among, kernels)
        adapter_SKp = adapter_SKp + heard_SKp + beside_SKp
        to_tasks = all_pairs(sites, adapters, tasks, device)
        heard_STp = attention_message(answer, task_STp, adapter_SKp, to_tasks, kernels)
        return task_STp + heard_STp, adapter_SKp


def _stacked_maps(graphs: Sequence[AdapterGraph]) -> tuple[AttentionMaps, ...]:
    """The maps of each of the three messages at all sites; one copy, as sites keep their own."""
    weights = [
        weight_pp for graph in graphs for message in graph.messages for weight_pp in message.maps
    ]
    width = weights[0].shape[0]
    stacked = torch.stack(weights).view(len(graphs), -1, len(AttentionMaps._fields), width, width)
    return tuple(AttentionMaps(*message.unbind(1)) for message in stacked.unbind(1))
