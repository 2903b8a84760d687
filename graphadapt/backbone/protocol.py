"""What every backbone promises, and how adapters get into its linear layers.

Shapes: ... any leading axes, D input width, F output width, G graphs.

A backbone never calls a linear layer itself. It says ``linear(self.expand, x)``, and whoever runs
the forward pass decides what that means: the plain layer, or the layer plus a correction. So no
module is swapped, no hook is set and no checkpoint key is renamed.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from graphadapt.graphs.batch import GraphBatch

__all__ = ["Backbone", "LinearCall", "call_linear"]


class LinearCall(Protocol):
    """Apply a linear layer of the backbone, with or without a correction."""

    def __call__(self, layer: nn.Linear, x: Tensor, /) -> Tensor:
        """Map ``(..., D)`` to ``(..., F)``."""


def call_linear(layer: nn.Linear, x: Tensor, /) -> Tensor:
    """Apply ``layer`` as it is: ``(..., D)`` to ``(..., F)``."""
    return layer(x)


@runtime_checkable
class Backbone(Protocol):
    """A network from a batch of graphs to one embedding per graph.

    Any ``nn.Module`` with these two members is one; its adapter sites are the ``nn.Linear`` modules
    that it applies through ``linear``.
    """

    width: int
    """Columns of the graph embedding."""

    def __call__(self, batch: GraphBatch, linear: LinearCall = call_linear) -> Tensor:
        """Embed every graph of the batch, ``(G, width)``."""
