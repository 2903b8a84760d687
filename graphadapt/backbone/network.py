"""Layers of message passing, pooled to one embedding a graph.

Shapes: N nodes, G graphs, D width, L layers.
"""

from typing import Literal, cast

import torch
from torch import Tensor, nn

from graphadapt.backbone.dropout import Dropout
from graphadapt.backbone.encoders import AtomEncoder
from graphadapt.backbone.fixed_norm import column_map, is_fixed
from graphadapt.backbone.gcn import GCNConvolution
from graphadapt.backbone.gin import GINConvolution
from graphadapt.backbone.layered import LayeredBackbone, LayerState, layer_in_name
from graphadapt.backbone.node_norm import NodeNorm
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


class MoleculeNetwork(LayeredBackbone):
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
        self.num_layers = layers
        self.pooling = pooling
        self.jumping_knowledge = jumping_knowledge
        self.message_passing: KernelName = message_passing
        make = _CONVOLUTIONS[convolution]
        self.atoms = AtomEncoder(width)
        self.convolutions = nn.ModuleList(make(width) for _ in range(layers))
        self.norms = nn.ModuleList(NodeNorm(width) for _ in range(layers))
        self.dropout = Dropout(dropout)
        self.virtual_node = VirtualNode(width, layers, dropout) if virtual_node else None

    def start(self, batch: GraphBatch) -> LayerState:
        """Atoms' states, and every graph's virtual node."""
        x_ND = self.atoms(batch.atoms)
        shared_GD = None if self.virtual_node is None else self.virtual_node.start(batch, x_ND)
        return LayerState(0, x_ND, shared_GD)

    def advance(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> LayerState:
        """Hear the virtual node and the neighbours; then the virtual node hears the nodes."""
        kernels = self._kernels(batch)
        layer, x_ND, shared_GD = state.layer, self._heard_nodes(state, batch), state.graphs
        y_ND = self._layer(layer, x_ND, batch, kernels, linear)
        if self.virtual_node is not None and layer < len(self.virtual_node.updates):
            summed_GD = kernels.segment_sum(
                x_ND, batch.graph_of_node, batch.num_graphs, offsets=batch.node_offsets
            )
            shared_GD = self.virtual_node.updates[layer](shared_GD, summed_GD, linear)
        if self.jumping_knowledge == "last":
            return LayerState(layer + 1, y_ND, shared_GD)
        below_ND = x_ND if state.summed is None else state.summed + x_ND
        return LayerState(layer + 1, y_ND, shared_GD, below_ND)

    def embed(
        self, state: LayerState, batch: GraphBatch, linear: LinearCall = call_linear
    ) -> Tensor:
        r"""Run the layers that are left and embed every graph, ``(G, width)``.

        A last layer of GIN whose norm is fixed ends in one affine map, and a mean of affine maps is
        the map of the mean:

        .. math:: \frac{1}{|g|} \sum_{v \in g} \mathrm{norm}(W_2 h_v)
                  = \mathrm{norm}\Bigl(W_2 \frac{1}{|g|} \sum_{v \in g} h_v\Bigr)

        So there the product is over G rows, not N, which spares a frozen network a tenth of its
        work, and of the work of its last layer alone more than half.
        """
        last = self.num_layers - 1
        if state.layer > last or not self._ends_affine(linear):
            return super().embed(state, batch, linear)
        state = self.run(state, last, batch, linear)
        convolution, kernels = self.convolutions[last], self._kernels(batch)
        assert isinstance(convolution, GINConvolution)
        hidden = convolution.hidden(self._heard_nodes(state, batch), batch, kernels, linear)
        pooled = self._sum(hidden, batch) / batch.nodes_per_graph.unsqueeze(1)
        with torch.autocast(pooled.device.type, enabled=False):
            mean_GD = linear(convolution.contract, pooled, column_map(self._last_norm))
        return mean_GD if self.pooling == "mean" else mean_GD * batch.nodes_per_graph.unsqueeze(1)

    def finish(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> Tensor:
        """Pool nodes in float32 at least, ``(G, width)``."""
        x_ND = state.nodes if state.summed is None else state.summed + state.nodes
        summed_GD = self._sum(x_ND, batch)
        if self.pooling == "sum":
            return summed_GD
        return summed_GD / batch.nodes_per_graph.unsqueeze(1)

    def layer_of(self, name: str) -> int:
        """By the number in the name; tables and the virtual node's first state are layer 0's."""
        return layer_in_name(name, 0)

    def _kernels(self, batch: GraphBatch) -> MessageKernels:
        return message_kernels(self.message_passing, batch.atoms.device)

    @property
    def _last_norm(self) -> NodeNorm:
        return cast("NodeNorm", self.norms[-1])

    def _ends_affine(self, linear: LinearCall) -> bool:
        """Whether the last layer ends in an affine map that nobody looks into node by node."""
        return (
            isinstance(self.convolutions[-1], GINConvolution)
            and self.jumping_knowledge == "last"
            and not self.training
            and is_fixed(self._last_norm)
            and not getattr(linear, "measures", False)
        )

    def _heard_nodes(self, state: LayerState, batch: GraphBatch) -> Tensor:
        """States of the nodes after they heard their virtual node, ``(N, D)``."""
        if state.graphs is None:
            return state.nodes
        return state.nodes + self._kernels(batch).spread(
            state.graphs, batch.graph_of_node, offsets=batch.node_offsets
        )

    def _sum(self, x_ND: Tensor, batch: GraphBatch) -> Tensor:
        """Every graph's sum over its nodes in float32 at least, ``(G, D)``."""
        x_ND = x_ND.to(torch.promote_types(x_ND.dtype, torch.float32))
        return self._kernels(batch).segment_sum(
            x_ND, batch.graph_of_node, batch.num_graphs, offsets=batch.node_offsets
        )

    def _layer(
        self,
        layer: int,
        x_ND: Tensor,
        batch: GraphBatch,
        kernels: MessageKernels,
        linear: LinearCall,
    ) -> Tensor:
        y_ND = self.convolutions[layer](x_ND, batch, kernels, linear, self.norms[layer])
        is_last = layer == self.num_layers - 1
        return self.dropout(y_ND if is_last else torch.relu(y_ND))
