"""From settings and a description of the data to an untrained model.

Shapes: T tasks, M molecule features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.sites import SiteBanks, find_sites
from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.protocol import Backbone
from graphadapt.config import RunConfig
from graphadapt.data.store import TaskInfo
from graphadapt.model import READOUT, ComposedModel
from graphadapt.molecules.features import FeatureBlock
from graphadapt.prior.adapter_graph import AdapterGraph
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.readout.features import FeatureEmbedding
from graphadapt.readout.head import TaskReadout
from graphadapt.readout.scaling import TargetScaling
from graphadapt.routing.router import Router
from graphadapt.routing.task_routing import TaskRouting

__all__ = ["ModelInputs", "assemble", "feature_statistics"]


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What a model's shape depends on beside its settings; saved in every run folder."""

    tasks: tuple[TaskInfo, ...]
    blocks: tuple[FeatureBlock, ...] = ()

    own_backbone: str = ""
    """Class of a network that stands in for the one of the settings; empty without."""

    def to_dict(self) -> dict[str, Any]:
        """Plain tables for JSON."""
        return {
            "tasks": [task.to_dict() for task in self.tasks],
            "feature_blocks": [block.to_dict() for block in self.blocks],
            "own_backbone": self.own_backbone,
        }

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "ModelInputs":
        """Read what :meth:`to_dict` gave."""
        return cls(
            tuple(TaskInfo(**task) for task in table["tasks"]),
            tuple(FeatureBlock.from_dict(block) for block in table["feature_blocks"]),
            table.get("own_backbone", ""),
        )


def assemble(
    config: RunConfig,
    inputs: ModelInputs,
    relation_TT: NDArray[np.float32],
    own_backbone: nn.Module | None = None,
) -> ComposedModel:
    """Build the model a run trains, with fresh weights, identity scaling and identity transform.

    Args:
        config: settings of the run.
        inputs: tasks and feature blocks.
        relation_TT: the relation that the prior propagates over.
        own_backbone: a :class:`~graphadapt.backbone.protocol.Backbone` to take instead of the one
            that ``config.backbone`` describes.
    """
    backbone = own_backbone
    if backbone is None and config.backbone.kind != "none":
        backbone = build_backbone(config.backbone)
    features = _feature_embedding(config, inputs.blocks)
    graph_width = 0 if backbone is None else cast("Backbone", backbone).width
    width = graph_width + (0 if features is None else features.width)
    settings = config.adapters
    readout_bank, banks = None, None
    if settings.count and settings.readout:
        readout_bank = AdapterBank(settings.count, width, width, settings.rank, settings.scale)
    if settings.count and settings.sites and backbone is not None:
        sites = find_sites(backbone, settings.sites)
        banks = SiteBanks(sites, settings.count, settings.rank, settings.scale)
    names = [*([] if banks is None else banks.names), *([READOUT] if readout_bank else [])]
    return ComposedModel(
        tasks=inputs.tasks,
        backbone=backbone,
        features=features,
        readout=TaskReadout(width, len(inputs.tasks), readout_bank),
        banks=banks,
        routing=_routing(config, names, relation_TT) if names else None,
        scaling=TargetScaling(torch.zeros(len(inputs.tasks)), torch.ones(len(inputs.tasks))),
        graph_share=config.features.graph_share,
    )


def feature_statistics(
    blocks: Sequence[FeatureBlock], features_GM: NDArray[np.generic], rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every feature over some molecules; counts keep 0 and 1.

    A feature that never varies keeps deviation 1.
    """
    width = sum(block.width for block in blocks)
    center, scale = np.zeros(width, np.float32), np.ones(width, np.float32)
    for block, start in zip(blocks, _starts(blocks), strict=True):
        if block.kind != "counts":
            columns = slice(start, start + block.width)
            values = features_GM[rows, columns].astype(np.float64)
            center[columns] = values.mean(axis=0)
            deviation = values.std(axis=0)
            scale[columns] = np.where(deviation > 0, deviation, 1.0)
    return torch.from_numpy(center), torch.from_numpy(scale)


def _starts(blocks: Sequence[FeatureBlock]) -> list[int]:
    return [sum(block.width for block in blocks[:index]) for index in range(len(blocks))]


def _feature_embedding(
    config: RunConfig, blocks: Sequence[FeatureBlock]
) -> FeatureEmbedding | None:
    if not blocks:
        return None
    is_count_M = torch.cat([torch.full((b.width,), b.kind == "counts") for b in blocks])
    return FeatureEmbedding(
        is_count_M,
        torch.zeros(len(is_count_M)),
        torch.ones(len(is_count_M)),
        hidden=config.features.hidden,
        dropout=config.features.dropout,
        input_dropout=config.features.input_dropout,
    )


def _routing(
    config: RunConfig, sites: Sequence[str], relation_TT: NDArray[np.float32]
) -> TaskRouting:
    prior, backend = config.prior, config.backbone.message_passing
    exchanges = {}
    if prior.adapter_graph:
        exchanges = {site: AdapterGraph(prior.width, message_passing=backend) for site in sites}
    return TaskRouting(
        TaskPropagation(
            torch.from_numpy(relation_TT),
            prior.width,
            prior.layers,
            start=prior.start,
            free=prior.free,
            message_passing=backend,
        ),
        {site: Router(config.adapters.count, prior.width) for site in sites},
        exchanges,
        temperature=config.routing.temperature,
        threshold=config.routing.threshold,
    )
