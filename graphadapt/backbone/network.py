"""Layers of message passing, pooled to one embedding a graph.

Shapes: N nodes, G graphs, D width, L layers.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from graphadapt.backbone.dropout import Dropout
from graphadapt.backbone.encoders import AtomEncoder
from graphadapt.backbone.gcn import GCNConvolution
from graphadapt.backbone.gin import GINConvolution
from graphadapt.backbone.protocol import LinearCall, call_linear
from graphadapt.backbone.virtual_node import VirtualNode
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphBatch
from graphadapt.graphs.message_passing import KernelName, MessageKernels, message_kernels

__all__ = ["MoleculeNetwork"]

_CONVOLUTIONS: dict[str, type[GINConvolution] | type[GCNConvolution]] = {
    "gin": GINConvolution,
    "gcn": GCNConvolution,
}


class MoleculeNetwork(nn.Module):
    r"""OGB's reference network over molecules.

    With :math:`x^0` from the atom tables, layer by layer

    .. math:: x^{l+1} = \mathrm{drop}(\mathrm{relu}(\mathrm{norm}(\mathrm{conv}(x^l + s^l))))

    where the last layer has no relu, and :math:`s^l` is the state of the graph's virtual node, or
    zero without one. A graph's embedding is the mean or sum over its nodes of the last layer's
    states, or of the sum of all layers' (each as its convolution saw it, virtual node included).

    Args:
        convolution: ``gin`` or ``gcn``.
        width: D.
        layers: L, at least 1.
        virtual_node: whether graphs have a virtual node.
        dropout: chance to drop an entry of a layer's result, in ``[0, 1)``.
        pooling: ``mean`` or ``sum`` over nodes.
        jumping_knowledge: ``last`` or ``sum`` over layers.
        message_passing: name of the kernels, chosen anew for the device of every batch.

    References:
        Hu et al., Open Graph Benchmark, 2020: ``GNN_node`` and ``GNN_node_Virtualnode`` of its
        molecule examples, without their residual option.
    """

    def __init__(
        self,
        *,
        convolution: Literal["gin", "gcn"] = "gin",
        width: int = 300,
        layers: int = 5,
        virtual_node: bool = False,
        dropout: float = 0.5,
        pooling: Literal["mean", "sum"] = "mean",
        jumping_knowledge: Literal["last", "sum"] = "last",
        message_passing: KernelName = "auto",
    ) -> None:
        super().__init__()
        if min(width, layers) < 1:
            raise ConfigError(f"width={width} and layers={layers} must both be at least 1")
        self.width = width
        self.pooling = pooling
        self.jumping_knowledge = jumping_knowledge
        self.message_passing: KernelName = message_passing
        make = _CONVOLUTIONS[convolution]
        self.atoms = AtomEncoder(width)
        self.convolutions = nn.ModuleList(make(width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(layers))
        self.dropout = Dropout(dropout)
        self.virtual_node = VirtualNode(width, layers, dropout) if virtual_node else None

    def forward(self, batch: GraphBatch, linear: LinearCall = call_linear) -> Tensor:
        """Embed every graph of the batch, ``(G, width)``."""
        kernels = message_kernels(self.message_passing, batch.atoms.device)
        return self._pool(self._node_states(batch, kernels, linear), batch, kernels)

    def _node_states(
        self, batch: GraphBatch, kernels: MessageKernels, linear: LinearCall
    ) -> Tensor:
        """Run all layers, giving ``(N, D)``."""
        states = [self.atoms(batch.atoms)]
        shared_GD = None if self.virtual_node is None else self.virtual_node.start(batch, states[0])
        for layer in range(len(self.convolutions)):
            if shared_GD is not None:
                states[-1] = states[-1] + kernels.spread(shared_GD, batch.graph_of_node)
            states.append(self._layer(layer, states[-1], batch, kernels, linear))
            if self.virtual_node is not None and layer < len(self.virtual_node.updates):
                summed_GD = kernels.segment_sum(states[-2], batch.graph_of_node, batch.num_graphs)
                shared_GD = self.virtual_node.updates[layer](shared_GD, summed_GD, linear)
        return states[-1] if self.jumping_knowledge == "last" else torch.stack(states).sum(0)

    def _layer(
        self,
        layer: int,
        x_ND: Tensor,
        batch: GraphBatch,
        kernels: MessageKernels,
        linear: LinearCall,
    ) -> Tensor:
        y_ND = self.norms[layer](self.convolutions[layer](x_ND, batch, kernels, linear))
        is_last = layer == len(self.convolutions) - 1
        return self.dropout(y_ND if is_last else torch.relu(y_ND))

    def _pool(self, x_ND: Tensor, batch: GraphBatch, kernels: MessageKernels) -> Tensor:
        """Add up or average nodes in float32 at least, ``(G, D)``."""
        x_ND = x_ND.to(torch.promote_types(x_ND.dtype, torch.float32))
        summed_GD = kernels.segment_sum(x_ND, batch.graph_of_node, batch.num_graphs)
        if self.pooling == "sum":
            return summed_GD
        return summed_GD / batch.nodes_per_graph.unsqueeze(1)
