"""The networks of ``pretrain-gnns``, and the weights that it publishes.

Shapes: N nodes, E directed edges, D width, C bond codes.

Its vocabulary is smaller than ours: an atom is its element and chirality, a bond its type and the
direction it was drawn in. Directions are not kept by our featuriser (it keeps the stereo of the
double bond instead), so every bond counts as undirected; bonds of other types count as single, and
chirality other than clockwise or counterclockwise as none.
"""

import pickle
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.backbone.checkpoints import load_backbone
from graphadapt.backbone.dropout import Dropout
from graphadapt.backbone.layered import LayeredBackbone, LayerState, layer_in_name
from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.backbone.protocol import LinearCall
from graphadapt.errors import CheckpointError
from graphadapt.graphs.batch import GraphBatch
from graphadapt.graphs.message_passing import KernelName, MessageKernels, message_kernels
from graphadapt.molecules.vocabulary import ATOM_FEATURES, BOND_CODES, BOND_FEATURES

__all__ = ["PretrainGnnsConvolution", "PretrainGnnsNetwork", "load_pretrain_gnns"]

Convolution = Literal["gcn", "graphsage"]

ELEMENTS, CHIRALITIES, BOND_TYPES, DIRECTIONS = 120, 3, 6, 3
"""Rows of its tables; the last element and bond type are its mask."""

SELF_LOOP: Final = 4
"""Bond type of an atom with itself."""


class PretrainGnnsConvolution(nn.Module):
    r"""Average what neighbours and the atom itself say.

    .. math::

        h = W x, \qquad y_v = \sum_{u \to v,\ u = v} w_{uv} (h_u + b_{uv})

    where :math:`w_{uv}` is :math:`1 / \sqrt{d_u d_v}` for ``gcn`` and :math:`1 / d_v` for
    ``graphsage``, with degrees d that count the atom itself, and :math:`b_{vv}` the row of a
    self-loop. ``graphsage`` then scales every row to length 1. ``update`` is W, with a bias, and
    can be an adapter site.

    Args:
        width: D.
        convolution: ``gcn`` or ``graphsage``.

    References:
        Hu et al., Strategies for Pre-training Graph Neural Networks, 2020: ``GCNConv`` and
        ``GraphSAGEConv`` of its code for molecules.
    """

    type_of_code: Tensor

    def __init__(self, width: int, convolution: Convolution) -> None:
        super().__init__()
        self.convolution = convolution
        self.update = nn.Linear(width, width)
        self.bond_types = nn.Embedding(BOND_TYPES, width)
        self.bond_directions = nn.Embedding(DIRECTIONS, width)
        self.register_buffer("type_of_code", _bond_types(), persistent=False)

    def forward(
        self, x_ND: Tensor, batch: GraphBatch, kernels: MessageKernels, linear: LinearCall
    ) -> Tensor:
        """Update node states ``(N, D)``."""
        h_ND = linear(self.update, x_ND)
        rows = (self.bond_types.weight + self.bond_directions.weight[0]).to(h_ND.dtype)
        own_N, weight_E = self._weights(batch, h_ND)
        heard_ND = kernels.weighted_sum(
            h_ND, batch.source, batch.target, weight_E, batch.num_nodes
        ) + kernels.weighted_sum(
            rows[self.type_of_code], batch.bond_codes, batch.target, weight_E, batch.num_nodes
        )
        y_ND = heard_ND + own_N.to(h_ND.dtype).unsqueeze(1) * (h_ND + rows[SELF_LOOP])
        return y_ND if self.convolution == "gcn" else functional.normalize(y_ND, dim=-1)

    def _weights(self, batch: GraphBatch, like: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the self-loops ``(N,)`` and of the edges ``(E,)``; at least float32."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        ones_E = torch.ones(len(batch.source), dtype=dtype, device=like.device)
        degree_N = ones_E.new_ones(batch.num_nodes).index_add(0, batch.target, ones_E)
        if self.convolution == "graphsage":
            return degree_N.reciprocal(), degree_N.reciprocal()[batch.target]
        root_N = degree_N.rsqrt()
        return degree_N.reciprocal(), root_N[batch.source] * root_N[batch.target]


class PretrainGnnsNetwork(LayeredBackbone):
    r"""Convolutions with norms between an element table and the mean over atoms.

    .. math:: x^{l+1} = \mathrm{drop}(\mathrm{relu}(\mathrm{norm}(\mathrm{conv}(x^l))))

    where the last layer has no relu. A graph's embedding is the mean of its nodes' last states.

    Args:
        convolution: ``gcn`` or ``graphsage``.
        width: D.
        layers: at least 1.
        dropout: chance to drop an entry of a layer's result, in ``[0, 1)``.
        message_passing: name of the kernels, chosen anew for the device of every batch.

    References:
        Hu et al., Strategies for Pre-training Graph Neural Networks, 2020: ``GNN`` of its code for
        molecules, with ``JK="last"`` and mean pooling.
    """

    chirality_of: Tensor

    def __init__(
        self,
        *,
        convolution: Convolution,
        width: int = 300,
        layers: int = 5,
        dropout: float = 0.0,
        message_passing: KernelName = "auto",
    ) -> None:
        super().__init__()
        self.width = width
        self.num_layers = layers
        self.message_passing: KernelName = message_passing
        self.elements = nn.Embedding(ELEMENTS, width)
        self.chiralities = nn.Embedding(CHIRALITIES, width)
        self.convolutions = nn.ModuleList(
            PretrainGnnsConvolution(width, convolution) for _ in range(layers)
        )
        self.norms = nn.ModuleList(NodeNorm(width) for _ in range(layers))
        self.dropout = Dropout(dropout)
        self.register_buffer("chirality_of", _chiralities(), persistent=False)

    def start(self, batch: GraphBatch) -> LayerState:
        """Rows of element and chirality, added up."""
        element_N, chirality_N = batch.atoms[:, 0], self.chirality_of[batch.atoms[:, 1]]
        return LayerState(0, self.elements(element_N) + self.chiralities(chirality_N))

    def advance(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> LayerState:
        """Hear the neighbours."""
        layer = state.layer
        kernels = message_kernels(self.message_passing, batch.atoms.device)
        heard_ND = self.convolutions[layer](state.nodes, batch, kernels, linear)
        y_ND = self.norms[layer](heard_ND, batch, kernels)
        y_ND = self.dropout(y_ND if layer == self.num_layers - 1 else torch.relu(y_ND))
        return LayerState(layer + 1, y_ND)

    def finish(self, state: LayerState, batch: GraphBatch, linear: LinearCall) -> Tensor:
        """Average nodes in float32 at least, ``(G, width)``."""
        kernels = message_kernels(self.message_passing, batch.atoms.device)
        x_ND = state.nodes.to(torch.promote_types(state.nodes.dtype, torch.float32))
        summed_GD = kernels.segment_sum(
            x_ND, batch.graph_of_node, batch.num_graphs, offsets=batch.node_offsets
        )
        return summed_GD / batch.nodes_per_graph.unsqueeze(1)

    def layer_of(self, name: str) -> int:
        """By the number in the name; the tables of atoms are layer 0's."""
        return layer_in_name(name, 0)


def load_pretrain_gnns(path: str | Path, convolution: Convolution) -> PretrainGnnsNetwork:
    """The network of a published checkpoint, such as ``gcn_contextpred.pth``.

    Args:
        path: a state dictionary of ``pretrain-gnns``; nothing in it is executed.
        convolution: which network it is of; the files do not say, and both have the same shapes.

    Raises:
        CheckpointError: if the file is missing, no such dictionary, or of another network.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise CheckpointError(f"{path} is no readable checkpoint: {reason}") from error
    if not isinstance(found, dict) or "x_embedding1.weight" not in found:
        raise CheckpointError(
            f"{path} is no network of pretrain-gnns: it has no x_embedding1.weight"
        )
    tensors = {_renamed(name): tensor for name, tensor in found.items()}
    layers = 1 + max(layer_in_name(name, 0) for name in tensors)
    network = PretrainGnnsNetwork(
        convolution=convolution, width=tensors["elements.weight"].shape[1], layers=layers
    )
    load_backbone(network, tensors, path)
    return network.eval()


_NAMES: Final = {
    "x_embedding1": "elements",
    "x_embedding2": "chiralities",
    "gnns": "convolutions",
    "batch_norms": "norms",
    "linear": "update",
    "edge_embedding1": "bond_types",
    "edge_embedding2": "bond_directions",
}


def _renamed(name: str) -> str:
    return ".".join(_NAMES.get(part, part) for part in name.split("."))


def _bond_types() -> Tensor:
    """Their bond type of each of our bond codes, ``(C,)``."""
    types = BOND_FEATURES["bond_type"]
    known = torch.tensor([0 if value == "misc" else index for index, value in enumerate(types)])
    return known.repeat_interleave(BOND_CODES // len(types))


def _chiralities() -> Tensor:
    """Their chirality of each of ours."""
    values = len(ATOM_FEATURES["chirality"])
    return torch.tensor([index if index < CHIRALITIES else 0 for index in range(values)])
