"""The molecules of a run on one device, and a model's answers for rows of them.

Shapes: G molecules of the store, P rows asked for, T tasks, D width of the graph embedding.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from graphadapt.graphs.batch import GraphTable
from graphadapt.model import Answer, ComposedModel
from graphadapt.progress import Progress
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
        measures: bool = False,
    ) -> Answer:
        """Run the model on some rows, from known graph embeddings where there are any."""
        gates = model.gates() if gates is None else gates
        with autocast(self.precision, self.device):
            if model.backbone is None or self.graph_embeddings is not None:
                embedding_PD, features_PM = self._embedding(rows_P), self._features(rows_P)
                return model.answer(embedding_PD, features_PM, gates, measures=measures)
            batch = self.table.gather(rows_P)
            embedding_PD, inner = model.encode(batch, composition_T, gates, measures=measures)
            answer = model.answer(embedding_PD, batch.features, gates, measures=measures)
            return Answer(answer.logits, gates, {**inner, **answer.distances})

    @torch.no_grad()
    def cache_embeddings(
        self, model: ComposedModel, batch_size: int = 512, *, shown: bool = True
    ) -> None:
        """Compute every molecule's graph embedding once; right while the backbone is fixed."""
        if model.backbone is None:
            return
        model.backbone.eval()
        parts = []
        with Progress(len(self.table), "Embedding molecules", shown=shown) as progress:
            for rows in self._chunks(torch.arange(len(self.table)), batch_size):
                with autocast(self.precision, self.device):
                    parts.append(model.backbone(self.table.gather(rows)).float())
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
