"""A learned fingerprint: what every layer sees around every atom, counted over the molecule.

Shapes: N nodes, G graphs, D width of the layers, W width of one layer's counts, L layers, F width
of the embedding.
"""

from typing import cast

import torch
from torch import Tensor, nn

from graphadapt.backbone.dropout import Dropout
from graphadapt.backbone.encoders import AtomEncoder
from graphadapt.backbone.gin import GINConvolution
from graphadapt.backbone.layered import LayeredBackbone, LayerState, layer_in_name
from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.backbone.protocol import LinearCall
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphBatch
from graphadapt.graphs.message_passing import KernelName, message_kernels

__all__ = ["NeuralFingerprint"]


class NeuralFingerprint(LayeredBackbone):
    r"""Convolutions with residuals, each read out by soft counts of the substructures it sees.

    .. math::

        x^{l+1} = x^l + \mathrm{relu}(\mathrm{norm}(\mathrm{conv}(x^l))), \qquad
        c^l_g = \log\Bigl(1 + \sum_{v \in g} \mathrm{relu}(R^l x^l_v)\Bigr)

    for l = 1 to L, and the embedding is

    .. math::

        z_g = \mathrm{drop}(\mathrm{relu}(P\,\mathrm{drop}(
            \mathrm{norm}([c^1_g, \dots, c^L_g]))))

    Few narrow layers and wide counts suit tasks that turn on substructures, and cost a fraction of
    the reference networks.

    Args:
        width: D of the layers.
        layers: L, the radius of the largest substructure.
        fingerprint_width: W, soft counts a layer.
        embedding_width: F.
        dropout: chance to drop a count or an entry of the embedding, in ``[0, 1)``.
        message_passing: name of the kernels, chosen anew for the device of every batch.

    References:
        Duvenaud et al., Convolutional Networks on Graphs for Learning Molecular Fingerprints, 2015,
        for the readout of every layer; ours sums rectified counts on a log scale where theirs sums
        softmaxes, and convolves as in Hu et al., Open Graph Benchmark, 2020.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 3,
        fingerprint_width: int = 256,
        embedding_width: int = 512,
        dropout: float = 0.2,
        message_passing: KernelName = "auto",
    ) -> None:
        super().__init__()
        if min(width, layers, fingerprint_width, embedding_width) < 1:
            raise ConfigError(
                f"width={width}, layers={layers}, fingerprint_width={fingerprint_width} and "
                f"embedding_width={embedding_width} must all be at least 1"
            )
        self.width = embedding_width
        self.num_layers = layers
        self.message_passing: KernelName = message_passing
        self.atoms = AtomEncoder(width)
        self.convolutions = nn.ModuleList(GINConvolution(width) for _ in range(layers))
        self.norms = nn.ModuleList(NodeNorm(width) for _ in range(layers))
        self.readouts = nn.ModuleList(nn.Linear(width, fingerprint_width) for _ in range(layers))
        self.count_norm = nn.BatchNorm1d(layers * fingerprint_width)
        self.project = nn.Linear(layers * fingerprint_width, embedding_width)
        self.dropout = Dropout(dropout)

    def start(self, batch: GraphBatch) -> LayerState:
        """Atoms' states, and nothing counted yet."""
        x_ND = self.atoms(batch.atoms)
        return LayerState(0, x_ND, x_ND.new_zeros((batch.num_graphs, 0)))

    def advance(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> LayerState:
        """Hear the neighbours, then count what the layer sees: W more columns a graph."""
        layer = state.layer
        kernels = message_kernels(self.message_passing, batch.atoms.device)
        norm = self.norms[layer]
        heard_ND = self.convolutions[layer](state.nodes, batch, kernels, linear, norm)
        x_ND = state.nodes + torch.relu(heard_ND)
        soft_NW = torch.relu(linear(cast("nn.Linear", self.readouts[layer]), x_ND))
        counts_GW = kernels.segment_sum(
            soft_NW, batch.graph_of_node, batch.num_graphs, offsets=batch.node_offsets
        )
        assert state.graphs is not None
        return LayerState(layer + 1, x_ND, torch.cat([state.graphs, counts_GW], dim=1))

    def finish(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> Tensor:
        """Norm the counts' logarithms and project them, ``(G, F)``."""
        assert state.graphs is not None
        counts = state.graphs.to(torch.promote_types(state.graphs.dtype, torch.float32))
        hidden = self.dropout(self.count_norm(counts.log1p()))
        return self.dropout(torch.relu(linear(self.project, hidden)))

    def layer_of(self, name: str) -> int:
        """By the number in the name; the atom tables are layer 0's, the rest the end's."""
        return layer_in_name(name, self.num_layers)
