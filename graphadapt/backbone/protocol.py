"""What every backbone promises, and how adapters get into its linear layers.

Shapes: ... any leading axes, D input width, F output width, G graphs.

A backbone never calls a linear layer itself. It says ``linear(self.expand, x)``, and whoever runs
the forward pass decides what that means: the plain layer, or the layer plus a correction. So no
module is swapped, no hook is set and no checkpoint key is renamed.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.graphs.batch import GraphBatch

__all__ = ["Backbone", "ColumnMap", "LinearCall", "call_linear", "mapped"]


class ColumnMap(NamedTuple):
    """What follows a linear layer column by column: ``scale * y + shift``."""

    scale: Tensor
    """``(F,)``."""

    shift: Tensor
    """``(F,)``."""


class LinearCall(Protocol):
    """Apply a linear layer of the backbone, with or without a correction.

    One that looks at its inputs row by row has a true attribute ``measures``. A backbone may hand
    the others any rows that lead to the same embedding, such as means over a graph's nodes.
    """

    def __call__(self, layer: nn.Linear, x: Tensor, after: ColumnMap | None = None, /) -> Tensor:
        """Map ``(..., D)`` to ``(..., F)``, and the result on by ``after`` if it is given."""


def call_linear(layer: nn.Linear, x: Tensor, after: ColumnMap | None = None, /) -> Tensor:
    """Apply ``layer`` as it is, ``(..., D)`` to ``(..., F)``, and ``after`` by its weights."""
    return functional.linear(x, *mapped(layer.weight, layer.bias, after))


def mapped(
    weight_FD: Tensor, bias_F: Tensor | None, after: ColumnMap | None
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a linear layer that is followed by ``after``."""
    if after is None:
        return weight_FD, bias_F
    shift_F = after.shift if bias_F is None else torch.addcmul(after.shift, after.scale, bias_F)
    return after.scale.unsqueeze(1) * weight_FD, shift_F


@runtime_checkable
class Backbone(Protocol):
    """A network from a batch of graphs to one embedding per graph.

    Any ``nn.Module`` with these two members is one; its adapter sites are the ``nn.Linear`` modules
    that it applies through ``linear``. It is trained on batches without padding, unless it is a
    :class:`~graphadapt.backbone.layered.LayeredBackbone`.
    """

    width: int
    """Columns of the graph embedding."""

    def __call__(self, batch: GraphBatch, linear: LinearCall = call_linear) -> Tensor:
        """Embed every graph of the batch, ``(G, width)``."""
