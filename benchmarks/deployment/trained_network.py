"""A network of OGB's size with real molecules, trained for a few steps, to export and to time.

Shapes: G molecules, M molecule features, T tasks.

Random weights would not do: they lose more to float32 than trained ones, and norms whose statistics
are of nothing send answers out of range.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphadapt.backbone.factory import build_backbone
from graphadapt.config import BackboneConfig
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.export.collate import Inputs, inputs_for
from graphadapt.export.network import PlainModel
from graphadapt.freeze import FrozenModel
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import FeaturisedMolecule
from graphadapt.molecules.parallel import featurise_many
from graphadapt.readout.features import FeatureEmbedding

__all__ = [
    "KINDS",
    "Sample",
    "featurised",
    "fit",
    "network",
    "plain_model",
    "sample",
    "train",
    "whole_inputs",
]

KINDS = ("gin", "gin-virtual-node", "gcn", "gcn-virtual-node", "neural-fingerprint")


@dataclass(frozen=True)
class Sample:
    """Molecules in every form that a stage starts from."""

    smiles: list[str]
    molecules: list[Any]
    features: Any

    def batches(self, size: int) -> list[slice]:
        return [slice(start, start + size) for start in range(0, len(self.smiles), size)]


def sample(count: int, blocks: Sequence[FeatureBlock], seed: int) -> Sample:
    """Molecules of MoleculeACE, all different."""
    every = moleculeace_source().smiles
    picked = np.random.default_rng(seed).choice(len(every), count, replace=False)
    smiles = [every[row] for row in picked]
    return Sample(smiles, *featurised(smiles, blocks))


def featurised(smiles: Sequence[str], blocks: Sequence[FeatureBlock]) -> tuple[list[Any], Any]:
    """Arrays of every molecule, and features ``(G, M)`` where there are blocks."""
    found = featurise_many(smiles, blocks, processes=1)
    rows = [each for each in found if isinstance(each, FeaturisedMolecule)]
    features = np.stack([np.concatenate(each.features) for each in rows]) if blocks else None
    return [each.arrays for each in rows], features


def whole_inputs(plain: PlainModel, molecules: Sequence[Any], features: Any = None) -> Inputs:
    """One batch as a predictor arranges it that runs it as one."""
    merge = sum(len(each.atoms) for each in molecules) >= plain.merge_from
    return inputs_for(plain.reads, molecules, features, merge=merge)


def network(kind: str, blocks: Sequence[FeatureBlock], *, small: bool) -> FrozenModel:
    """OGB's 5 layers of 300 (the neural fingerprint at its own sizes), MoleculeACE's tasks."""
    sizes: dict[str, Any] = {"layers": 2, "width": 16} if small else {"layers": 5, "width": 300}
    if kind == "neural-fingerprint" and not small:
        sizes = {"layers": 3, "width": 128}
    backbone = build_backbone(BackboneConfig(kind=kind, message_passing="tensor", **sizes))
    features, width = None, backbone.width
    if blocks:
        total = sum(block.width for block in blocks)
        hidden = (32, 16) if small else (1024, 512)
        ones = torch.ones(total)
        features = FeatureEmbedding(ones.bool(), ones * 0, ones, hidden=hidden)
        width += hidden[-1]
    return plain_model(backbone, features, nn.Linear(width, len(moleculeace_source().tasks)))


def plain_model(
    backbone: nn.Module, features: FeatureEmbedding | None, head: nn.Linear
) -> FrozenModel:
    """A network without adapters that answers MoleculeACE's tasks."""
    tasks = moleculeace_source().tasks
    composition = {task.name: 1 / len(tasks) for task in tasks}
    return FrozenModel(backbone, features, head, tasks=tasks, composition=composition, kept={})


def train(frozen: FrozenModel, blocks: Sequence[FeatureBlock], *, steps: int, seed: int) -> None:
    """Fit labels, centred, for a while."""
    frozen.requires_grad_(True).train()
    fit(frozen, list(frozen.parameters()), blocks, steps=steps, seed=seed)
    frozen.requires_grad_(False).eval()


def fit(
    answer: Callable[[GraphBatch], Tensor],
    moving: Sequence[nn.Parameter],
    blocks: Sequence[FeatureBlock],
    *,
    steps: int,
    seed: int,
) -> None:
    """Move parameters so that answers come nearer to MoleculeACE's labels, centred."""
    source = moleculeace_source()
    rows = np.random.default_rng(seed).choice(len(source.smiles), 64 * steps, replace=False)
    table = GraphTable.from_molecules(*featurised([source.smiles[row] for row in rows], blocks))
    labels = torch.from_numpy(np.asarray(source.labels[rows], np.float32))
    labels = labels - torch.nanmean(labels, dim=0).nan_to_num()
    optimiser = torch.optim.AdamW(moving, 1e-3)
    for picked in torch.arange(len(rows)).split(64):
        wanted = labels[picked]
        error = torch.where(wanted.isnan(), 0.0, answer(table.gather(picked)) - wanted.nan_to_num())
        optimiser.zero_grad()
        (error**2).sum().div((~wanted.isnan()).sum()).backward()
        optimiser.step()
