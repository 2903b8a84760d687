"""The graph convolution with bond features and degree normalisation.

Shapes: N nodes, E directed edges, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.backbone.encoders import BondEncoder
from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.backbone.protocol import LinearCall
from graphadapt.graphs.batch import GraphBatch
from graphadapt.graphs.message_passing import MessageKernels

__all__ = ["GCNConvolution"]


class GCNConvolution(nn.Module):
    r"""Average what the neighbours say, weighted by both ends' degrees.

    .. math::

        y_v = \sum_{u \to v} \frac{\mathrm{relu}(h_u + b_{uv})}{\sqrt{d_u d_v}}
            + \frac{\mathrm{relu}(h_v + r)}{d_v}, \quad h = W x

    with :math:`d_v` one more than the number of bonds of v. ``update`` is W, with a bias, and can
    be an adapter site.

    Args:
        width: D.

    References:
        Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, 2017;
        Hu et al., Open Graph Benchmark, 2020: its ``GCNConv``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bonds = BondEncoder(width)
        self.update = nn.Linear(width, width)
        self.root = nn.Parameter(torch.randn(width))

    def forward(
        self,
        x_ND: Tensor,
        batch: GraphBatch,
        kernels: MessageKernels,
        linear: LinearCall,
        norm: NodeNorm | None = None,
    ) -> Tensor:
        """Update node states ``(N, D)``, through ``norm`` in the end if there is one."""
        h_ND = linear(self.update, x_ND)
        degree_N, weight_E = _degree_weights(batch, h_ND)
        heard_ND = kernels.relu_message_sum(
            h_ND,
            self.bonds(),
            batch.source,
            batch.target,
            batch.bond_codes,
            weight_E,
            order=batch.bond_order,
        )
        own_ND = functional.relu(h_ND + self.root.to(h_ND.dtype))
        y_ND = torch.addcmul(heard_ND, own_ND, degree_N.reciprocal().to(h_ND.dtype).unsqueeze(1))
        return y_ND if norm is None else norm(y_ND, batch, kernels)


def _degree_weights(batch: GraphBatch, like: Tensor) -> tuple[Tensor, Tensor]:
    """Degrees ``(N,)``, oneself included, and the edges' weights ``(E,)``; at least float32."""
    ones_E = torch.ones(
        len(batch.source),
        dtype=torch.promote_types(like.dtype, torch.float32),
        device=like.device,
    )
    degree_N = ones_E.new_ones(batch.num_nodes).index_add(0, batch.source, ones_E)
    root_N = degree_N.rsqrt()
    return degree_N, root_N[batch.source] * root_N[batch.target]
