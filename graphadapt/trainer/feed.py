"""The molecules of a run on one device, and a model's answers for rows of them.

Shapes: G molecules of the store, P rows asked for, T tasks, D width of the graph embedding.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from graphadapt.backbone.layered import LayeredBackbone
from graphadapt.backbone.protocol import Backbone
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.model import Answer, ComposedModel
from graphadapt.progress import Progress
from graphadapt.trainer.frozen_layers import FrozenLayers
from graphadapt.trainer.precision import autocast

__all__ = ["Feed"]


class Feed:
    """Graphs, features and standardised targets, gathered by row.

    Args:
        table: the molecules' columns, on the device that computes.
        targets_GT: standardised labels, NaN where missing.
        precision: ``float32`` or ``bfloat16``, what matrix products are computed in.
    """

    def __init__(self, table: GraphTable, targets_GT: Tensor, precision: str = "float32") -> None:
        self.table = table
        self.targets = targets_GT.to(table.device)
        self.precision = precision
        self.graph_embeddings: Tensor | None = None
        self.frozen: FrozenLayers | None = None

    @property
    def device(self) -> torch.device:
        """Where answers are computed."""
        return self.table.device

    def answer(
        self,
        model: ComposedModel,
        rows_P: Tensor,
        composition_T: Tensor,
        gates: Mapping[str, Tensor] | None = None,
        *,
        bucket: BatchSize | None = None,
        measures: bool = False,
    ) -> Answer:
        """Run the model on some rows, from known graph embeddings where there are any.

        Args:
            model: on the same device.
            rows_P: which molecules, on the host or the device.
            composition_T: w.
            gates: routing weights of every site, if known.
            bucket: nodes and bonds to pad the batch to; rows on a device are then not waited for.
            measures: whether to measure how far apart the adapters of each site are.
        """
        gates = model.gates() if gates is None else gates
        with autocast(self.precision, self.device):
            if model.backbone is None or self.graph_embeddings is not None:
                embedding_PD, features_PM = self._embedding(rows_P), self._features(rows_P)
                return model.answer(embedding_PD, features_PM, gates, measures=measures)
            batch = self.table.gather(rows_P, bucket=bucket)
            below = None if self.frozen is None else self.frozen.state(rows_P, batch, bucket)
            embedding_PD, inner = model.encode(
                batch, composition_T, gates, below=below, measures=measures
            )
            answer = model.answer(embedding_PD, batch.features, gates, measures=measures)
            return Answer(answer.logits, gates, {**inner, **answer.distances})

    def remember_what_stays(
        self, model: ComposedModel, limit: float, *, shown: bool = True
    ) -> None:
        """Keep what the part of the backbone that does not move says of every molecule.

        That is the graph embedding if nothing in the backbone moves, else the states before the
        first layer that does. What would take more than the limit is computed anew in every step,
        without gradient.

        Args:
            model: as it is trained from now on.
            limit: most memory to take, in bytes.
            shown: whether progress is shown.
        """
        layer = model.first_moving_layer
        if model.backbone is None or not (layer or model.backbone_is_frozen):
            return
        if model.backbone_is_frozen and not model.sites:
            if len(self.table) * cast("Backbone", model.backbone).width * 4 <= limit:
                self._keep_embeddings(model.backbone, shown=shown)
        elif layer and isinstance(model.backbone, LayeredBackbone):
            self.frozen = FrozenLayers(model.backbone, layer, self.table, self.precision)
            if self.frozen.bytes_needed <= limit:
                self.frozen.keep(shown=shown)

    @torch.no_grad()
    def _keep_embeddings(
        self, backbone: nn.Module, batch_size: int = 512, *, shown: bool = True
    ) -> None:
        backbone.eval()
        parts = []
        with Progress(len(self.table), "Embedding molecules", shown=shown) as progress:
            for rows in self._chunks(torch.arange(len(self.table)), batch_size):
                with autocast(self.precision, self.device):
                    parts.append(backbone(self.table.gather(rows)).float())
                progress.update(len(rows))
        self.graph_embeddings = torch.cat(parts)

    @torch.no_grad()
    def predict(
        self,
        model: ComposedModel,
        rows_P: Tensor,
        composition_T: Tensor,
        gates: Mapping[str, Tensor] | None = None,
        batch_size: int = 512,
    ) -> Tensor:
        """Logits of binary tasks and values in original units of regression tasks, (P, T)."""
        was_training = model.training
        model.eval()
        gates = model.gates() if gates is None else gates
        parts = [
            model.scaling.restore(self.answer(model, rows, composition_T, gates).logits.float())
            for rows in self._chunks(rows_P, batch_size)
        ]
        model.train(was_training)
        return torch.cat(parts) if parts else self.targets.new_zeros((0, len(model.tasks)))

    def _chunks(self, rows_P: Tensor, size: int) -> Iterator[Tensor]:
        yield from torch.split(rows_P, size)

    def _embedding(self, rows_P: Tensor) -> Tensor | None:
        return None if self.graph_embeddings is None else self.graph_embeddings[rows_P]

    def _features(self, rows_P: Tensor) -> Tensor | None:
        features = self.table.features
        return None if features is None else features[rows_P].float()
