"""How evenly routes use the adapters: two optional terms of the objective, also reported.

Shapes: T tasks, K adapters.
"""

import torch
from torch import Tensor

__all__ = ["adapters_used", "load_imbalance", "routing_entropy"]


def routing_entropy(gate_TK: Tensor) -> Tensor:
    r"""Mean entropy of a task's route, :math:`-\frac1T \sum_{t,k} g_{tk} \ln g_{tk}`.

    In nats: 0 where every task uses one adapter, ``ln K`` where every task uses all alike; adding
    it to a loss makes routes sharper. A zero weight adds nothing, and its gradient is large but
    finite; a loss does better to take the entropy of the soft gate.

    Args:
        gate_TK: rows that sum to one.

    Returns:
        A scalar in ``[0, ln K]``.
    """
    tiny = torch.finfo(gate_TK.dtype).tiny
    return -(gate_TK * gate_TK.clamp_min(tiny).log()).sum(1).mean()


def load_imbalance(gate_TK: Tensor) -> Tensor:
    r"""How unevenly all tasks together use the adapters.

    .. math:: K \sum_k \bar g_k^2 - 1, \quad \bar g_k = \frac1T \sum_t g_{tk}

    Returns:
        A scalar in ``[0, K - 1]``: 0 where all adapters carry the same load, ``K - 1`` where one
        carries everything.
    """
    load_K = gate_TK.mean(0)
    return gate_TK.shape[1] * load_K.square().sum() - 1


def adapters_used(gate_TK: Tensor) -> Tensor:
    """Adapters of weight above zero for each task, ``(T,)`` int64."""
    return (gate_TK > 0).sum(1)
