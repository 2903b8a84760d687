"""The frozen networks re-stated in plain tensors, over merged rows and without scatter.

Shapes: K atom kinds, V environments, R rows, G graphs, D width, M molecule features, T tasks.

The arrays that a network reads are those of :func:`graphadapt.export.collate.collate`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.export.layers import Affine, GCNLayer, GINLayer, NodeUpdate, Wiring

__all__ = ["AtomTable", "CountingNetwork", "LayeredNetwork", "PlainModel"]

_NEVER = 10**9

Inputs = Mapping[str, Tensor]

_FIRST_LAYER = (
    "kind_features",
    "environment_kind",
    "environment_source",
    "environment_bond",
    "environment_slots",
    "atom_environment",
    "graph_atoms",
)
_LATER_LAYERS = ("atom_source", "atom_bond", "atom_slots")


class AtomTable(nn.Module):
    """Embed atom kinds by the sum of one row a feature.

    Args:
        rows: the vocabularies' embeddings, one below the other.
        starts_9: first row of each vocabulary.
    """

    rows: Tensor
    starts: Tensor

    def __init__(self, rows: Tensor, starts_9: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("starts", starts_9)

    def forward(self, features_K9: Tensor) -> Tensor:
        """Map ``(K, 9)`` to ``(K, D)``."""
        return functional.embedding(features_K9 + self.starts, self.rows).sum(dim=1)


class LayeredNetwork(nn.Module):
    """GIN or GCN, with or without a virtual node, pooled to one embedding per graph.

    Args:
        atoms: embedding of atom kinds.
        layers: at least one.
        node_D: first virtual node; None without one.
        updates: of the virtual node, one fewer than layers; empty without one.
        mean: whether each graph's sum is divided by its atoms.
        sums_layers: whether the states before the last count too.
    """

    node: Tensor | None

    def __init__(
        self,
        atoms: AtomTable,
        layers: Sequence[GINLayer | GCNLayer],
        *,
        node_D: Tensor | None,
        updates: Sequence[NodeUpdate],
        mean: bool,
        sums_layers: bool,
    ) -> None:
        super().__init__()
        self.atoms = atoms
        self.layers = cast("Sequence[GINLayer | GCNLayer]", nn.ModuleList(layers))
        self.register_buffer("node", node_D)
        self.updates = cast("Sequence[NodeUpdate]", nn.ModuleList(updates))
        self.mean = mean
        self.sums_layers = sums_layers

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the arrays that the network needs."""
        optional = {
            "kind_degree": isinstance(self.layers[0], GCNLayer),
            "graph_kinds": self._keeps_sums,
            "atom_graph": self.node is not None and len(self.layers) > 1,
        }
        later = _LATER_LAYERS if len(self.layers) > 1 else ()
        return (*_FIRST_LAYER, *later, *(name for name, needed in optional.items() if needed))

    @property
    def weights_per_row(self) -> int:
        """Weights that every row is multiplied by."""
        return _count_weights(self.layers)

    def forward(self, inputs: Inputs) -> Tensor:
        """Embed every graph, ``(G, D)``."""
        x, node = self.atoms(inputs["kind_features"]), self.node
        if node is not None:
            x = x + node
        sums = [inputs["graph_kinds"] @ x] if self._keeps_sums else []
        hidden = self.layers[0].hidden(x, _first_wiring(inputs))
        for depth in range(1, len(self.layers)):
            x = self.layers[depth - 1].finish(hidden).relu()
            if depth == 1:
                x = x.index_select(0, inputs["atom_environment"])
            if node is not None:
                node = self.updates[depth - 1](sums[-1] + node)
                x = x + node.index_select(0, inputs["atom_graph"])
            sums.append(inputs["graph_atoms"] @ x)
            hidden = self.layers[depth].hidden(x, _later_wiring(inputs))
        return self._pool(hidden, sums, inputs)

    @property
    def _keeps_sums(self) -> bool:
        return self.sums_layers or (self.node is not None and len(self.layers) > 1)

    def _pool(self, hidden: Tensor, sums: Sequence[Tensor], inputs: Inputs) -> Tensor:
        """Pool the last layer's hidden part, then finish it on the graphs."""
        if len(self.layers) == 1:
            hidden = hidden.index_select(0, inputs["atom_environment"])
        pooled = inputs["graph_atoms"] @ hidden
        count_G1 = inputs["graph_atoms"].sum(dim=1, keepdim=True)
        finish = self.layers[-1].finish
        if self.mean and not self.sums_layers:
            return finish(pooled / count_G1)
        total = finish.of_sum(pooled, count_G1)
        if self.sums_layers:
            total = total + torch.stack(list(sums)).sum(dim=0)
        return total / count_G1 if self.mean else total


class CountingNetwork(nn.Module):
    """The neural fingerprint: convolutions with residuals, each read out by soft counts.

    Args:
        atoms: embedding of atom kinds.
        layers: at least one.
        readouts: of each layer's rows.
        project: from all counts on a log scale to the embedding; the counts' norm is folded in.
    """

    def __init__(
        self,
        atoms: AtomTable,
        layers: Sequence[GINLayer],
        readouts: Sequence[Affine],
        project: Affine,
    ) -> None:
        super().__init__()
        self.atoms = atoms
        self.layers = cast("Sequence[GINLayer]", nn.ModuleList(layers))
        self.readouts = cast("Sequence[Affine]", nn.ModuleList(readouts))
        self.project = project

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the arrays that the network needs."""
        return _FIRST_LAYER + (_LATER_LAYERS if len(self.layers) > 1 else ())

    @property
    def weights_per_row(self) -> int:
        """Weights that every row is multiplied by."""
        return _count_weights(self.layers) + _count_weights(self.readouts)

    def forward(self, inputs: Inputs) -> Tensor:
        """Embed every graph, ``(G, F)``."""
        x, wiring = self.atoms(inputs["kind_features"]), _first_wiring(inputs)
        counts = []
        for depth, (layer, readout) in enumerate(zip(self.layers, self.readouts, strict=True)):
            x = wiring.own(x) + layer.finish(layer.hidden(x, wiring)).relu()
            soft = readout(x).relu()
            if depth == 0:
                x = x.index_select(0, inputs["atom_environment"])
                soft = soft.index_select(0, inputs["atom_environment"])
            if depth == 0 and len(self.layers) > 1:
                wiring = _later_wiring(inputs)
            counts.append(inputs["graph_atoms"] @ soft)
        return self.project(torch.cat(counts, dim=1).log1p()).relu()


class PlainModel(nn.Module):
    """Everything from a batch's arrays to probabilities and values.

    Args:
        backbone: from graphs to embeddings, or None.
        features: from molecule-level features to embeddings, or None.
        head: from both, side by side, to the tasks.
        is_binary_T: which tasks are answered by a probability.
    """

    is_binary: Tensor

    def __init__(
        self,
        backbone: LayeredNetwork | CountingNetwork | None,
        features: nn.Module | None,
        head: Affine,
        is_binary_T: Tensor,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.features = features
        self.head = head
        self.register_buffer("is_binary", is_binary_T)
        self.kinds = set(is_binary_T.tolist())

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the arrays that the model needs, in the order of the file's inputs."""
        graph = () if self.backbone is None else self.backbone.reads
        return graph if self.features is None else (*graph, "features")

    @property
    def merge_from(self) -> int:
        """Atoms of a batch from which on looking for equal ones costs less than it saves.

        About a fifth of the rows go; each costs its products at 100 GFLOP/s. Looking costs 130 µs
        and 0.3 µs an atom. Both are those of one core.
        """
        if self.backbone is None:
            return _NEVER
        row_seconds = 2 * self.backbone.weights_per_row / 1e11
        gain = 0.2 * row_seconds - 0.3e-6
        return min(_NEVER, math.ceil(130e-6 / gain)) if gain > 0 else _NEVER

    def forward(self, inputs: Inputs) -> Tensor:
        """Answer every task for every graph, ``(G, T)``."""
        parts = [] if self.backbone is None else [self.backbone(inputs)]
        if self.features is not None:
            parts.append(self.features(inputs["features"]))
        answers: Tensor = self.head(torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0])
        if self.kinds == {True}:
            return answers.sigmoid()
        if self.kinds == {False}:
            return answers
        return torch.where(self.is_binary, answers.sigmoid(), answers)


def _count_weights(parts: Sequence[nn.Module]) -> int:
    """Weights of all linear maps."""
    modules = (module for part in parts for module in part.modules())
    return sum(module.weight.numel() for module in modules if isinstance(module, Affine))


def _first_wiring(inputs: Inputs) -> Wiring:
    return Wiring(
        inputs["environment_source"],
        inputs["environment_bond"],
        inputs["environment_slots"],
        inputs["environment_kind"],
        inputs.get("kind_degree"),
    )


def _later_wiring(inputs: Inputs) -> Wiring:
    degree = inputs.get("kind_degree")
    if degree is not None:
        kind_R = inputs["environment_kind"].index_select(0, inputs["atom_environment"])
        degree = degree.index_select(0, kind_R)
    return Wiring(inputs["atom_source"], inputs["atom_bond"], inputs["atom_slots"], degree=degree)
