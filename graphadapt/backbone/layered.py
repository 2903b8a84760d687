"""Backbones that can be run layer by layer: what passes between layers, and where a run may begin.

Shapes: N nodes, G graphs, D width of the layers.

A network whose lower layers are frozen computes the same states for a molecule every time. Whoever
trains it may keep those states and begin at the first layer that moves.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from graphadapt.backbone.protocol import LinearCall, call_linear
from graphadapt.graphs.batch import GraphBatch

__all__ = ["LayerState", "LayeredBackbone", "layer_in_name"]


@dataclass(frozen=True, slots=True)
class LayerState:
    """What one layer leaves for those above it."""

    layer: int
    """The layer to run next, in ``[0, num_layers]``."""

    nodes: Tensor
    """``(N, D)`` states of the nodes."""

    graphs: Tensor | None = None
    """One row a graph, such as its virtual node's state; None in networks without."""

    summed: Tensor | None = None
    """``(N, D)`` sum over the layers so far; None where only the last layer is pooled."""


class LayeredBackbone(nn.Module, ABC):
    """A network of L layers between a start from the atoms and an end that pools.

    A subclass sets ``width``, the columns of the graph embedding, and ``num_layers``, L. On a GPU
    it is trained on padded batches: nodes at the end that belong to no graph, which must change no
    graph's embedding and no norm's statistics.
    """

    width: int
    num_layers: int

    @abstractmethod
    def start(self, batch: GraphBatch) -> LayerState:
        """States before layer 0."""

    @abstractmethod
    def advance(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> LayerState:
        """Run the next layer."""

    @abstractmethod
    def finish(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> Tensor:
        """Embed every graph, ``(G, width)``, from the states after the last layer."""

    @abstractmethod
    def layer_of(self, name: str) -> int:
        """The layer that first reads the parameter or module of this name.

        The atom tables belong to layer 0, and what only the end reads to layer ``num_layers``.
        """

    def forward(self, batch: GraphBatch, linear: LinearCall = call_linear) -> Tensor:
        """Embed every graph of the batch, ``(G, width)``."""
        return self.embed(self.start(batch), batch, linear)

    def node_states(self, batch: GraphBatch, linear: LinearCall = call_linear) -> Tensor:
        """States of the nodes after the last layer, ``(N, D)``."""
        return self.run(self.start(batch), self.num_layers, batch, linear).nodes

    def embed(
        self, state: LayerState, batch: GraphBatch, linear: LinearCall = call_linear
    ) -> Tensor:
        """Run the layers that are left and embed every graph, ``(G, width)``."""
        return self.finish(self.run(state, self.num_layers, batch, linear), batch, linear)

    def run(
        self, state: LayerState, end: int, batch: GraphBatch, linear: LinearCall = call_linear
    ) -> LayerState:
        """States before layer ``end``."""
        while state.layer < end:
            state = self.advance(state, batch, linear)
        return state


def layer_in_name(name: str, otherwise: int) -> int:
    """The number of the layer that a name starts with: 3 of ``convolutions.3.bonds.tables.0``.

    The atom tables, numbered by feature, are layer 0's.
    """
    if name.startswith("atoms."):
        return 0
    return next((int(part) for part in name.split(".") if part.isdigit()), otherwise)
