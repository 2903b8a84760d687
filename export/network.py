"""The frozen network re-stated in plain tensors, over merged rows and without scatter.

Shapes: K atom kinds, V environments, R rows, G graphs, D width, M molecule features, P tasks.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.export.layers import GcnLayer, GinLayer, VirtualNodeUpdate, Wiring

__all__ = ["GraphNetwork", "PlainNetwork"]


class GraphNetwork(nn.Module):
    """Message passing from atom kinds to one embedding per graph.

    Args:
        atom_table: embeddings of all atom vocabularies, one below the other.
        offsets_9: first row of each vocabulary.
        layers: at least one.
        virtual_node_D: first virtual node, with ``updates`` between the layers; or None.
        updates: one fewer than layers.
        mean: whether to divide each graph's sum by its atoms.
        sums_layers: whether the states before the last one count too.
    """

    atom_table: Tensor
    offsets: Tensor
    virtual_node: Tensor | None

    def __init__(
        self,
        atom_table: Tensor,
        offsets_9: Tensor,
        layers: Sequence[GinLayer | GcnLayer],
        *,
        virtual_node_D: Tensor | None,
        updates: Sequence[VirtualNodeUpdate],
        mean: bool,
        sums_layers: bool,
    ) -> None:
        super().__init__()
        self.register_buffer("atom_table", atom_table)
        self.register_buffer("offsets", offsets_9)
        self.layers = nn.ModuleList(layers)
        self.register_buffer("virtual_node", virtual_node_D)
        self.updates = nn.ModuleList(updates)
        self.mean = mean
        self.sums_layers = sums_layers

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Embed every graph, ``(G, D)``."""
        x = functional.embedding(inputs["kind_features"] + self.offsets, self.atom_table).sum(1)
        graph_atoms = inputs["graph_atoms"]
        node = self.virtual_node
        if node is not None:
            x = x + node
        first, later = self._wirings(inputs)
        states = []
        for depth, layer in enumerate(self.layers):
            hidden = layer.hidden(x, first if depth == 0 else later)
            if depth == 0:
                x = x.index_select(0, inputs["environment_kind"].index_select(0, inputs["atom_environment"]))
            states.append(x)
            if depth == len(self.layers) - 1:
                break
            x_next = layer.finish(hidden).relu()
            if depth == 0:
                x_next = x_next.index_select(0, inputs["atom_environment"])
            if node is not None:
                node = self.updates[depth](graph_atoms @ x + node)
                x_next = x_next + node.index_select(0, inputs["atom_graph"])
            x = x_next
        if len(self.layers) == 1:
            hidden = hidden.index_select(0, inputs["atom_environment"])
        count = graph_atoms.sum(1, keepdim=True)
        total = graph_atoms @ hidden
        if self.mean:
            return layer.finish(total / count)
        return layer.finish.of_sum(total, count)

    def _wirings(self, inputs):
        first = Wiring(inputs["environment_source"], inputs["environment_bond"], inputs["environment_slots"], inputs["environment_kind"], inputs.get("kind_degree"))
        later = Wiring(inputs["atom_source"], inputs["atom_bond"], inputs["atom_slots"], None, None)
        return first, later
