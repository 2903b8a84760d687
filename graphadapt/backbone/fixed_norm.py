"""A linear layer and the batch norm after it, as one product where the norm does not move.

Shapes: N nodes, D in, F out.
"""

import torch
from torch import Tensor, nn

from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.backbone.protocol import ColumnMap, LinearCall
from graphadapt.graphs.batch import GraphBatch
from graphadapt.graphs.message_passing import MessageKernels

__all__ = ["column_map", "is_fixed", "linear_norm"]


def linear_norm(
    linear: LinearCall,
    layer: nn.Linear,
    norm: NodeNorm,
    x_ND: Tensor,
    batch: GraphBatch,
    kernels: MessageKernels,
) -> Tensor:
    r"""Apply ``layer``, then ``norm``, ``(N, D)`` to ``(N, F)``.

    .. math:: \mathrm{norm}(W x + b) = (s \odot W)\, x + s \odot b + t, \qquad
              s = \frac{w}{\sqrt{\sigma^2 + \epsilon}}, \quad t = \beta - s \odot \mu

    where the norm is fixed. Passes over ``N F`` values, forward and back, then become one over
    ``D F`` weights: done as soon as there are more rows than columns in.

    Args:
        linear: how the layer is applied.
        layer: W and b.
        norm: what follows.
        x_ND: rows of the batch's nodes.
        batch: for a norm that moves.
        kernels: likewise.
    """
    if len(x_ND) > layer.in_features and is_fixed(norm):
        return linear(layer, x_ND, column_map(norm))
    return norm(linear(layer, x_ND), batch, kernels)


def is_fixed(norm: NodeNorm) -> bool:
    """Whether it maps every column by itself, and no gradient is recorded for its parameters."""
    learns = norm.weight.requires_grad or norm.bias.requires_grad
    return not norm.training and not (learns and torch.is_grad_enabled())


def column_map(norm: NodeNorm) -> ColumnMap:
    """A fixed norm's s and t."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale_F = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return ColumnMap(scale_F, norm.bias - scale_F * norm.running_mean)
