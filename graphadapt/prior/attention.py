"""One attention message from some nodes to others along given edges, at several sites at once.

Shapes: S sites, N receiving nodes of a site, M sending nodes of a site, E directed edges over all
sites, p embedding width.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from graphadapt.graphs.message_passing import KernelName, message_kernels
from graphadapt.prior.pairs import Pairs

__all__ = ["AttentionMaps", "AttentionMessage", "attention_message"]


class AttentionMaps(NamedTuple):
    """The maps of a message, each ``(S, p, p)`` with outputs in rows."""

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor


class AttentionMessage(nn.Module):
    r"""What every node hears from its neighbours, the fitting ones loudest.

    .. math::
        m_v = O \sum_{u \to v} a_{uv}\, V x_u, \qquad
        a_{uv} = \operatorname*{softmax}_{u \to v}
                 \frac{\langle Q y_v, K x_u \rangle}{\sqrt p}

    ``O`` starts at zero, so a fresh message is silent, and it has a gradient from the first step.
    The other maps start as random rotations. A node that nothing points at hears zeros.

    Args:
        width: p.
        message_passing: kernels to use.
    """

    def __init__(self, width: int, message_passing: KernelName = "auto") -> None:
        super().__init__()
        self.message_passing: KernelName = message_passing
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        for layer in (self.query, self.key, self.value):
            nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(self.out.weight)

    @property
    def maps(self) -> AttentionMaps:
        """Q, K, V and O, each ``(p, p)``."""
        return AttentionMaps(self.query.weight, self.key.weight, self.value.weight, self.out.weight)

    def forward(self, receiver_Np: Tensor, sender_Mp: Tensor, pairs: Pairs) -> Tensor:
        """One message for every receiver of a single site, ``(N, p)``.

        Args:
            receiver_Np: y.
            sender_Mp: x.
            pairs: who hears whom.
        """
        maps = AttentionMaps(*(weight_pp.unsqueeze(0) for weight_pp in self.maps))
        receiver_SNp, sender_SMp = receiver_Np.unsqueeze(0), sender_Mp.unsqueeze(0)
        return attention_message(
            maps, receiver_SNp, sender_SMp, pairs, self.message_passing
        ).squeeze(0)


def attention_message(
    maps: AttentionMaps,
    receiver_SNp: Tensor,
    sender_SMp: Tensor,
    pairs: Pairs,
    message_passing: KernelName = "auto",
) -> Tensor:
    """One message for every receiver of every site, ``(S, N, p)``.

    How two nodes fit is a matrix product over all pairs of a site; weights and sums go along the
    edges, of all sites in one call.

    Args:
        maps: of every site.
        receiver_SNp: y.
        sender_SMp: x.
        pairs: who hears whom, of these sizes.
        message_passing: kernels to use.
    """
    kernels = message_kernels(message_passing, receiver_SNp.device)
    sites, receivers, width = receiver_SNp.shape
    query_SNp = torch.bmm(receiver_SNp, maps.query.mT / math.sqrt(width))
    fit_E = torch.bmm(query_SNp, torch.bmm(sender_SMp, maps.key.mT).mT).flatten()
    if pairs.position is not None:
        fit_E = fit_E.index_select(0, pairs.position)
    weight_E = kernels.edge_softmax(fit_E, pairs.target, sites * receivers)
    value = torch.bmm(sender_SMp, maps.value.mT).flatten(0, 1)
    heard_Np = kernels.weighted_sum(value, pairs.source, pairs.target, weight_E, sites * receivers)
    return torch.bmm(heard_Np.view(sites, receivers, width), maps.out.mT)
