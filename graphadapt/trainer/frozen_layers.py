"""The layers of a backbone below the first that moves: run without gradient, or remembered.

Shapes: N nodes of a batch, P rows asked for, G molecules of the table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from graphadapt.backbone.layered import LayeredBackbone, LayerState
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.progress import Progress
from graphadapt.trainer.precision import autocast

__all__ = ["FrozenLayers"]


class FrozenLayers:
    """States before layer ``layer`` of a backbone, of which nothing below moves.

    Below, norms use their running statistics and nothing is dropped, so a molecule's states are
    the same in every step. They may be kept: about ``4 N D`` bytes for a molecule of N atoms in a
    network of width D, twice that where layers are summed.

    Args:
        backbone: any layered network.
        layer: the first layer that moves, in ``[0, num_layers]``.
        table: the molecules.
        precision: of matrix products.
    """

    def __init__(
        self, backbone: LayeredBackbone, layer: int, table: GraphTable, precision: str
    ) -> None:
        self.backbone, self.layer = backbone, layer
        self.table, self.precision = table, precision
        self.kept: LayerState | None = None

    @property
    def bytes_needed(self) -> int:
        """Memory that :meth:`keep` would take."""
        probe = self.state(torch.arange(min(len(self.table), 8)))
        nodes, graphs = self.table.num_atoms, len(self.table)
        per_node = [_row_bytes(t) for t in (probe.nodes, probe.summed) if t is not None]
        per_graph = 0 if probe.graphs is None else _row_bytes(probe.graphs)
        return nodes * sum(per_node) + graphs * per_graph

    @torch.no_grad()
    def keep(self, batch_size: int = 512, *, shown: bool = True) -> None:
        """Compute every molecule's states once, each into its place."""
        kept: LayerState | None = None
        atom = molecule = 0
        with Progress(len(self.table), "Embedding molecules", shown=shown) as progress:
            for rows in torch.split(torch.arange(len(self.table)), batch_size):
                state = self.state(rows)
                kept = self._room(state) if kept is None else kept
                _fill(kept, state, atom, molecule)
                atom, molecule = atom + len(state.nodes), molecule + len(rows)
                progress.update(len(rows))
        self.kept = kept

    def state(
        self, rows_P: Tensor, batch: GraphBatch | None = None, bucket: BatchSize | None = None
    ) -> LayerState:
        """States of some molecules before the first layer that moves.

        Args:
            rows_P: which.
            batch: their graphs, where the caller has them.
            bucket: what the batch is padded to; padding gets some molecule's states.
        """
        if self.kept is not None:
            return self._recall(self.kept, rows_P, bucket)
        batch = self.table.gather(rows_P, bucket=bucket) if batch is None else batch
        with torch.no_grad(), self._evaluating(), autocast(self.precision, self.table.device):
            return self.backbone.run(self.backbone.start(batch), self.layer, batch)

    def _room(self, like: LayerState) -> LayerState:
        """Places for all molecules' states."""
        atoms, molecules = self.table.num_atoms, len(self.table)
        return LayerState(
            self.layer,
            like.nodes.new_empty(atoms, like.nodes.shape[1]),
            None if like.graphs is None else like.graphs.new_empty(molecules, like.graphs.shape[1]),
            None if like.summed is None else like.summed.new_empty(atoms, like.summed.shape[1]),
        )

    def _recall(self, kept: LayerState, rows_P: Tensor, bucket: BatchSize | None) -> LayerState:
        nodes_N = self.table.atom_positions(rows_P, bucket=bucket)
        graphs_P = rows_P.to(self.table.device)
        return replace(
            kept,
            nodes=kept.nodes[nodes_N],
            graphs=None if kept.graphs is None else kept.graphs[graphs_P],
            summed=None if kept.summed is None else kept.summed[nodes_N],
        )

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = [module for module in self.backbone.modules() if module.training]
        self.backbone.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True


def _row_bytes(rows: Tensor) -> int:
    return rows.shape[1] * rows.element_size()


def _fill(kept: LayerState, state: LayerState, atom: int, molecule: int) -> None:
    """Put consecutive molecules' states in their places, from the first one's on."""
    for whole, part, start in (
        (kept.nodes, state.nodes, atom),
        (kept.graphs, state.graphs, molecule),
        (kept.summed, state.summed, atom),
    ):
        if whole is not None and part is not None:
            whole[start : start + len(part)] = part
