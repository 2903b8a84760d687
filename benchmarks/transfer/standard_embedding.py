"""Embeddings of one scale, whatever network they come from.

Shapes: G graphs, D width of the embedding.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from graphadapt.backbone.layered import LayeredBackbone, LayerState
from graphadapt.backbone.protocol import LinearCall, call_linear
from graphadapt.graphs.batch import GraphBatch

__all__ = ["LIMIT", "StandardEmbedding"]

LIMIT = 5.0
"""Standard deviations beyond which an embedding is cut off."""

ROUNDING = 1e-6
"""A column that varies by less than this part of its mean is left at its own scale."""


class StandardEmbedding(LayeredBackbone):
    r"""A network whose embedding is standardised and clipped.

    .. math:: z = \mathrm{clip}\bigl((e - \mu) / \sigma, -5, 5\bigr)

    Learning at a given rate feels the scale of what it reads. Embeddings of published networks
    spread by hundredths; those of a random one by units, and of the largest molecules by hundreds.
    Without this, starts would be compared by their scale.

    Args:
        network: answers with :math:`e`.
        batches: molecules over which mean and standard deviation of every column are taken; the
            network is put into the mode of evaluation.
    """

    def __init__(self, network: LayeredBackbone, batches: Iterable[GraphBatch]) -> None:
        super().__init__()
        self.network = network.eval()
        self.width, self.num_layers = network.width, network.num_layers
        with torch.no_grad():
            embedding_GD = torch.cat([network(batch) for batch in batches])
        center_D, spread_D = embedding_GD.mean(dim=0), embedding_GD.std(dim=0)
        says_something_D = spread_D > ROUNDING * center_D.abs()
        self.register_buffer("center", center_D)
        self.register_buffer("spread", torch.where(says_something_D, spread_D, 1.0))
        self.center: Tensor
        self.spread: Tensor

    def start(self, batch: GraphBatch) -> LayerState:
        """As the network's."""
        return self.network.start(batch)

    def advance(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> LayerState:
        """As the network's."""
        return self.network.advance(state, batch, linear)

    def finish(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> Tensor:
        """Embed every graph and standardise, ``(G, D)``."""
        return self._standard(self.network.finish(state, batch, linear))

    def embed(
        self, state: LayerState, batch: GraphBatch, linear: LinearCall = call_linear
    ) -> Tensor:
        """As the network runs the layers that are left, standardised, ``(G, D)``."""
        return self._standard(self.network.embed(state, batch, linear))

    def layer_of(self, name: str) -> int:
        """The network's layer; the scale is read by the end alone."""
        _, _, inside = name.partition("network.")
        return self.network.layer_of(inside) if inside else self.num_layers

    def _standard(self, embedding_GD: Tensor) -> Tensor:
        return ((embedding_GD - self.center) / self.spread).clamp(-LIMIT, LIMIT)
