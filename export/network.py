"""The frozen networks re-stated in plain tensors, over merged or padded rows, without scatter.

Shapes: G graphs, D width, F embedding width, M molecule features, T tasks. Rows lie as
:mod:`graphadapt.export.layouts` says.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.export.arrays import ANSWERS, APPLICABILITY
from graphadapt.export.layers import Affine, GCNLayer, GINLayer, NodeUpdate
from graphadapt.export.layouts import Layout, MergedLayout, Needs, PaddedLayout

__all__ = ["AtomTable", "CountingNetwork", "LayeredNetwork", "PlainModel"]

_NEVER = 10**9

Inputs = Mapping[str, Tensor]


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

    def forward(self, features_9: Tensor) -> Tensor:
        """Map ``(..., 9)`` to ``(..., D)``."""
        return functional.embedding(features_9 + self.starts, self.rows).sum(dim=-2)


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
    def needs(self) -> Needs:
        """What is asked of the layout."""
        deep = len(self.layers) > 1
        return Needs(
            later_layers=deep,
            degree=isinstance(self.layers[0], GCNLayer),
            sums=self._keeps_sums,
            spread=self.node is not None and deep,
        )

    @property
    def weights_per_row(self) -> int:
        """Weights that every row is multiplied by."""
        return _count_weights(self.layers)

    def forward(self, layout: Layout) -> Tensor:
        """Embed every graph, ``(G, D)``."""
        x, node = self.atoms(layout.features), self.node
        if node is not None:
            x = x + node
        sums = [layout.pool_first(x)] if self._keeps_sums else []
        hidden = self.layers[0].hidden(x, layout.wiring(0))
        for depth in range(1, len(self.layers)):
            x = self.layers[depth - 1].finish(hidden).relu()
            if depth == 1:
                x = layout.to_atoms(x)
            if node is not None:
                node = self.updates[depth - 1](sums[-1] + node)
                x = x + layout.spread(node)
            sums.append(layout.pool(x))
            hidden = self.layers[depth].hidden(x, layout.wiring(depth))
        return self._pool(hidden, sums, layout)

    @property
    def _keeps_sums(self) -> bool:
        return self.sums_layers or (self.node is not None and len(self.layers) > 1)

    def _pool(self, hidden: Tensor, sums: Sequence[Tensor], layout: Layout) -> Tensor:
        """Pool the last layer's hidden part, then finish it on the graphs."""
        if len(self.layers) == 1:
            hidden = layout.to_atoms(hidden)
        pooled, count_G1 = layout.pool(hidden), layout.atom_counts
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
        project: nn.Module,
    ) -> None:
        super().__init__()
        self.atoms = atoms
        self.layers = cast("Sequence[GINLayer]", nn.ModuleList(layers))
        self.readouts = cast("Sequence[Affine]", nn.ModuleList(readouts))
        self.project = project

    @property
    def needs(self) -> Needs:
        """What is asked of the layout."""
        return Needs(len(self.layers) > 1, degree=False, sums=False, spread=False)

    @property
    def weights_per_row(self) -> int:
        """Weights that every row is multiplied by."""
        return _count_weights(self.layers) + _count_weights(self.readouts)

    def forward(self, layout: Layout) -> Tensor:
        """Embed every graph, ``(G, F)``."""
        x = self.atoms(layout.features)
        counts = []
        for depth, (layer, readout) in enumerate(zip(self.layers, self.readouts, strict=True)):
            wiring = layout.wiring(depth)
            x = wiring.own(x) + layer.finish(layer.hidden(x, wiring)).relu()
            soft = readout(x).relu()
            if depth == 0:
                x, soft = layout.to_atoms(x), layout.to_atoms(soft)
            counts.append(layout.pool(soft))
        embedding: Tensor = self.project(torch.cat(counts, dim=1).log1p()).relu()
        return embedding


class PlainModel(nn.Module):
    """Everything from a batch's arrays to probabilities and values.

    Args:
        backbone: from graphs to embeddings, or None.
        features: from molecule-level features to embeddings, or None.
        head: from both, side by side, to the tasks.
        is_binary_T: which tasks are answered by a probability.
        calibration: from the head's answers to probabilities; None is the sigmoid.
        applicability: from both embeddings, side by side, to one figure a graph, or None.
        padded: whether it reads padded molecules.
    """

    is_binary: Tensor

    def __init__(
        self,
        backbone: LayeredNetwork | CountingNetwork | None,
        features: nn.Module | None,
        head: Affine,
        is_binary_T: Tensor,
        *,
        calibration: nn.Module | None = None,
        applicability: nn.Module | None = None,
        padded: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.features = features
        self.head = head
        self.calibration = calibration
        self.applicability = applicability
        self.padded = padded
        self.register_buffer("is_binary", is_binary_T)
        self.kinds = set(is_binary_T.tolist())

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the arrays that the model needs, in the order of the file's inputs."""
        layout = PaddedLayout if self.padded else MergedLayout
        graph = () if self.backbone is None else layout.reads(self.backbone.needs)
        return graph if self.features is None else (*graph, "features")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the model answers, in the order of the file's outputs."""
        names = (ANSWERS.name,)
        return names if self.applicability is None else (*names, APPLICABILITY.name)

    @property
    def merge_from(self) -> int:
        """Atoms of a batch from which on looking for equal ones costs less than it saves.

        About a fifth of the rows go; each costs its products at 100 GFLOP/s. Looking costs 130 µs
        and 0.3 µs an atom. Both are those of one core.
        """
        if self.backbone is None or self.padded:
            return _NEVER
        row_seconds = 2 * self.backbone.weights_per_row / 1e11
        gain = 0.2 * row_seconds - 0.3e-6
        return min(_NEVER, math.ceil(130e-6 / gain)) if gain > 0 else _NEVER

    def forward(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Every output: answers ``(G, T)``, and applicability ``(G,)`` where it is measured."""
        parts = []
        if self.backbone is not None:
            layout = PaddedLayout(inputs) if self.padded else MergedLayout(inputs)
            parts.append(self.backbone(layout))
        if self.features is not None:
            parts.append(self.features(inputs["features"]))
        embedding = torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
        answers = self._probabilities(self.head(embedding))
        if self.applicability is None:
            return (answers,)
        return answers, self.applicability(embedding)

    def _probabilities(self, answers: Tensor) -> Tensor:
        if self.kinds == {False}:
            return answers
        calibrated = torch.sigmoid if self.calibration is None else self.calibration
        probabilities: Tensor = calibrated(answers)
        if self.kinds == {True}:
            return probabilities
        return torch.where(self.is_binary, probabilities, answers)


def _count_weights(parts: Sequence[nn.Module]) -> int:
    """Weights of all linear maps."""
    modules = (module for part in parts for module in part.modules())
    return sum(module.weight.numel() for module in modules if isinstance(module, Affine))
