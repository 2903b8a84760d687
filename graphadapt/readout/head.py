"""One linear head a task, corrected by the task's own mix of adapters.

Shapes: G graphs, T tasks, K adapters, D width of the joined embedding.
"""

import math

import torch
from torch import Tensor, nn

from graphadapt.adapters.bank import AdapterBank

__all__ = ["TaskReadout"]


class TaskReadout(nn.Module):
    r"""Answer every task from one embedding.

    .. math:: u'_t = (I + \gamma \sum_k g_{t,k} V_k U_k)^\top u_t, \qquad
              \mathrm{logit}_{b,t} = u'_t \cdot z_b + c_t

    Unlike at the inner sites, no composition enters here: each task keeps its own weights.

    Args:
        width: D.
        task_count: T.
        bank: adapters D -> D; ``None`` for plain heads.
    """

    def __init__(self, width: int, task_count: int, bank: AdapterBank | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(task_count, width))  # u
        self.bias = nn.Parameter(torch.empty(task_count))  # c
        bound = 1 / math.sqrt(width)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self.bank = bank

    def task_vectors(self, gate_TK: Tensor | None) -> Tensor:
        """``u'``, one row a task, ``(T, D)``; ``u`` itself without a gate or a bank."""
        if self.bank is None or gate_TK is None:
            return self.weight
        return self.bank.correct_rows(self.weight, gate_TK)

    def forward(self, embedding_GD: Tensor, gate_TK: Tensor | None = None) -> Tensor:
        """Map ``(G, D)`` to logits or standardised values ``(G, T)``."""
        return nn.functional.linear(embedding_GD, self.task_vectors(gate_TK), self.bias)
