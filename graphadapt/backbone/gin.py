"""The graph isomorphism convolution with bond features.

Shapes: N nodes, D width.
"""

import torch
from torch import Tensor, nn

from graphadapt.backbone.encoders import BondEncoder
from graphadapt.backbone.fixed_norm import linear_norm
from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.backbone.protocol import LinearCall
from graphadapt.graphs.batch import GraphBatch
from graphadapt.graphs.message_passing import MessageKernels

__all__ = ["GINConvolution"]


class GINConvolution(nn.Module):
    r"""Sum what the neighbours say, add oneself, and pass it through a small network.

    .. math::

        y_v = W_2 \, \mathrm{relu}(\mathrm{norm}(W_1 ((1 + \epsilon) x_v
            + \sum_{u \to v} \mathrm{relu}(x_u + b_{uv}))))

    ``expand`` is :math:`W_1`, ``contract`` is :math:`W_2`, both with a bias; both can be adapter
    sites. :math:`\epsilon` is learned, from zero.

    Args:
        width: D; the hidden layer has 2D.

    References:
        Xu et al., How Powerful are Graph Neural Networks?, 2019; Hu et al., Open Graph Benchmark,
        2020: its ``GINConv``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bonds = BondEncoder(width)
        self.epsilon = nn.Parameter(torch.zeros(1))
        self.expand = nn.Linear(width, 2 * width)
        self.norm = NodeNorm(2 * width)
        self.contract = nn.Linear(2 * width, width)

    def forward(
        self,
        x_ND: Tensor,
        batch: GraphBatch,
        kernels: MessageKernels,
        linear: LinearCall,
        norm: NodeNorm | None = None,
    ) -> Tensor:
        """Update node states ``(N, D)``, through ``norm`` in the end if there is one."""
        hidden = self.hidden(x_ND, batch, kernels, linear)
        if norm is None:
            return linear(self.contract, hidden)
        return linear_norm(linear, self.contract, norm, hidden, batch, kernels)

    def hidden(
        self, x_ND: Tensor, batch: GraphBatch, kernels: MessageKernels, linear: LinearCall
    ) -> Tensor:
        """What ``contract`` is applied to, ``(N, 2D)``."""
        heard_ND = kernels.relu_message_sum(
            x_ND,
            self.bonds(),
            batch.source,
            batch.target,
            batch.bond_codes,
            order=batch.bond_order,
        )
        # Not (1 + epsilon) x: bfloat16 would round a small epsilon away.
        summed_ND = torch.addcmul(heard_ND + x_ND, x_ND, self.epsilon.to(x_ND.dtype))
        return torch.relu(linear_norm(linear, self.expand, self.norm, summed_ND, batch, kernels))
