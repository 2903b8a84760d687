"""The structural regulariser: adapters that related tasks share should agree.

Shapes: T tasks, K adapters.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["consistency", "related_adapters", "structural_regulariser"]


def related_adapters(gate_TK: Tensor, relation_TT: Tensor) -> Tensor:
    r"""How strongly related tasks lean on every two adapters.

    .. math:: A^K_{kk'} = \sum_{t,t'} g_{tk} A_{tt'} g_{t'k'}

    Args:
        gate_TK: routing weights, at least 0; no gradient flows to them.
        relation_TT: A, symmetric, at least 0.

    Returns:
        ``(K, K)``, symmetric.
    """
    with torch.autocast(gate_TK.device.type, enabled=False):
        gate_TK = gate_TK.detach()
        return gate_TK.T @ relation_TT.to(gate_TK.dtype) @ gate_TK


def consistency(distance_KK: Tensor, related_KK: Tensor) -> Tensor:
    r"""Disagreement of the adapters, weighted by how related their tasks are.

    .. math:: \Omega = \frac{1}{\sum A^K} \sum_{k<k'} A^K_{kk'} \Delta_{kk'}

    The sum under the line runs over all of ``A^K``, its diagonal included: mass that related tasks
    put on one and the same adapter agrees with itself. One adapter alone, or tasks without any
    relation, give zero.

    Args:
        distance_KK: Δ, the mean squared distance of two adapters' outputs per output column, as
            ``graphadapt.adapters.disagreement`` gives it.
        related_KK: ``A^K``.

    Returns:
        Ω, a scalar, at least 0 up to rounding.

    Example:
        >>> distance = torch.tensor([[0.0, 6.0], [6.0, 0.0]])
        >>> consistency(distance, torch.tensor([[1.0, 0.5], [0.5, 1.0]])).item()
        1.0
    """
    total = related_KK.sum()
    pairs = (related_KK * distance_KK).triu(1).sum()
    return pairs / torch.where(total > 0, total, torch.ones_like(total))


def structural_regulariser(
    distances: Mapping[str, Tensor], gates: Mapping[str, Tensor], relation_TT: Tensor
) -> Tensor:
    """The mean of Ω over sites, a scalar; zero where there is no site.

    Args:
        distances: Δ ``(K, K)`` of every measured site.
        gates: routing weights ``(T, K)`` of at least those sites.
        relation_TT: A.
    """
    terms = [
        consistency(distance_KK, related_adapters(gates[site], relation_TT))
        for site, distance_KK in distances.items()
    ]
    return torch.stack(terms).mean() if terms else relation_TT.new_zeros(())
