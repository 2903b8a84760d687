"""How far apart the outputs of a bank's adapters are on the same input.

Shapes: N rows, D in, F out, K adapters, R rank.
"""

import torch
from torch import Tensor

from graphadapt.adapters.bank import AdapterBank

__all__ = ["adapter_disagreement"]


def adapter_disagreement(bank: AdapterBank, x_ND: Tensor, count: Tensor | None = None) -> Tensor:
    r"""Mean squared distance between every two adapters' outputs, per output column.

    .. math::
        S_{kk'} = \langle M_{kk'}, G_{kk'} \rangle, \quad
        \Delta_{kk'} = \tfrac{1}{F} (S_{kk} + S_{k'k'} - 2 S_{kk'})
                     = \tfrac{1}{F} \operatorname{mean}_n \| V_k U_k x_n - V_{k'} U_{k'} x_n \|^2

    with :math:`M = H^T H / N` for :math:`H = x U^T` over all k, and :math:`G = V^T V`, both read
    as K x K blocks of R x R. No adapter's ``(N, F)`` output is ever formed. The scale γ and the
    mixing weights do not enter. The difference cancels, so it is computed in the bank's precision
    under autocast too. Without rows the distance is zero.

    Args:
        bank: the adapters.
        x_ND: what they are applied to; gradients flow to it.
        count: how many rows come before padding, an int64 scalar on their device; None is all.

    Returns:
        Δ, ``(K, K)``, symmetric with a zero diagonal.
    """
    with torch.autocast(x_ND.device.type, enabled=False):
        if count is not None:
            leads_N = torch.arange(len(x_ND), device=x_ND.device) < count
            x_ND = torch.where(leads_N.unsqueeze(1), x_ND, 0)
        hidden_NKR = x_ND.to(bank.down.dtype) @ bank.down.flatten(0, 1).T
        rows = max(1, len(x_ND)) if count is None else count.clamp(min=1)
        moment = hidden_NKR.T @ hidden_NKR / rows
        up = bank.up.transpose(0, 1).flatten(1)
        blocks = (moment * (up.T @ up)).view(bank.count, bank.rank, bank.count, bank.rank)
        inner_KK = blocks.sum((1, 3))
        square_K = inner_KK.diagonal()
        return (square_K.unsqueeze(1) + square_K - 2 * inner_KK) / bank.out_features
