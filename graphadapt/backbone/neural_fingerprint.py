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
from graphadapt.backbone.protocol import LinearCall, call_linear
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphBatch
from graphadapt.graphs.message_passing import KernelName, message_kernels

__all__ = ["NeuralFingerprint"]


class NeuralFingerprint(nn.Module):
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
        self.message_passing: KernelName = message_passing
        self.atoms = AtomEncoder(width)
        self.convolutions = nn.ModuleList(GINConvolution(width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(layers))
        self.readouts = nn.ModuleList(nn.Linear(width, fingerprint_width) for _ in range(layers))
        self.count_norm = nn.BatchNorm1d(layers * fingerprint_width)
        self.project = nn.Linear(layers * fingerprint_width, embedding_width)
        self.dropout = Dropout(dropout)

    def forward(self, batch: GraphBatch, linear: LinearCall = call_linear) -> Tensor:
        """Embed every graph of the batch, ``(G, F)``."""
        kernels = message_kernels(self.message_passing, batch.atoms.device)
        x_ND = self.atoms(batch.atoms)
        counts = []
        for convolution, norm, readout in zip(
            self.convolutions, self.norms, self.readouts, strict=True
        ):
            x_ND = x_ND + torch.relu(norm(convolution(x_ND, batch, kernels, linear)))
            soft_NW = torch.relu(linear(cast("nn.Linear", readout), x_ND))
            counts.append(kernels.segment_sum(soft_NW, batch.graph_of_node, batch.num_graphs))
        joined = torch.cat(counts, dim=1)
        joined = joined.to(torch.promote_types(joined.dtype, torch.float32)).log1p()
        hidden = self.dropout(self.count_norm(joined))
        return self.dropout(torch.relu(linear(self.project, hidden)))
