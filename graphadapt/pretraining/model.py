"""The backbone that is pretrained, with the heads that pretrain it.

Shapes: N nodes, G graphs, D width of the nodes, F width of the graph embedding.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.layered import LayeredBackbone
from graphadapt.backbone.protocol import call_linear
from graphadapt.data.store import TaskInfo
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphBatch
from graphadapt.molecules.features import FeatureBlock
from graphadapt.pretraining.config import MaskingConfig, PretrainConfig
from graphadapt.pretraining.contrastive import Contrastive
from graphadapt.pretraining.corpus import Molecules
from graphadapt.pretraining.fingerprint import Fingerprint
from graphadapt.pretraining.labels import TrainingLabels
from graphadapt.pretraining.masked_atoms import MaskedAtoms
from graphadapt.pretraining.masked_bonds import MaskedBonds
from graphadapt.pretraining.masking import choose_hidden, hide
from graphadapt.pretraining.molecule_descriptors import MoleculeDescriptors
from graphadapt.pretraining.objective import PretrainingObjective, View

__all__ = ["PretrainingModel", "build_model"]

SEES_MASKS = ("atoms", "bonds", "contrastive")
"""Objectives that need parts hidden."""


class PretrainingModel(nn.Module):
    """One pass of the backbone over partly hidden molecules, for all objectives at once.

    Args:
        backbone: runs layer by layer, so that the same pass gives nodes' states and embeddings.
        objectives: by name.
        masking: what is hidden, if an objective asks for it.

    Raises:
        ConfigError: if the backbone has no states of nodes to give.
    """

    def __init__(
        self,
        backbone: nn.Module,
        objectives: dict[str, PretrainingObjective],
        masking: MaskingConfig,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, LayeredBackbone):
            raise ConfigError(
                f"a {type(backbone).__name__} gives no states of its nodes, which pretraining "
                "reads; make it a LayeredBackbone"
            )
        self.backbone = backbone
        self.objectives = nn.ModuleDict(objectives)
        self.masking = masking

    @property
    def hides(self) -> bool:
        """Whether an objective asks for parts to be hidden."""
        return any(name in self.objectives for name in SEES_MASKS)

    def named_objectives(self) -> Iterator[tuple[str, PretrainingObjective]]:
        """Objectives by name."""
        for name, objective in self.objectives.items():
            yield name, cast("PretrainingObjective", objective)

    def forward(self, molecules: Molecules, generator: torch.Generator | None = None) -> View:
        """Hide parts, run the backbone, twice where views are compared.

        Args:
            molecules: whole.
            generator: of what is hidden; torch's own by default.
        """
        batch = molecules.batch
        if not self.hides:
            return View(molecules, None, *self._pass(batch))
        hidden = choose_hidden(batch, self.masking, generator)
        nodes_ND, graphs_GF = self._pass(hide(batch, hidden))
        others_GF = None
        if "contrastive" in self.objectives:
            others_GF = self._pass(hide(batch, choose_hidden(batch, self.masking, generator)))[1]
        return View(molecules, hidden, nodes_ND, graphs_GF, others_GF)

    def _pass(self, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Nodes' last states ``(N, D)`` and embeddings ``(G, F)``."""
        backbone = self.backbone
        state = backbone.run(backbone.start(batch), backbone.num_layers, batch)
        return state.nodes, backbone.finish(state, batch, call_linear)


def build_model(
    config: PretrainConfig, blocks: Sequence[FeatureBlock], tasks: Sequence[TaskInfo]
) -> PretrainingModel:
    """The model of a run at random weights, its objectives not yet fitted.

    Args:
        config: settings of the run.
        blocks: feature blocks that objectives predict.
        tasks: tasks of the supervised objective.
    """
    backbone = build_backbone(config.backbone)
    nodes, graphs = config.backbone.width, backbone.width
    wanted, sizes = config.objectives, {str(block.kind): block.width for block in blocks}
    objectives: dict[str, PretrainingObjective] = {}
    for name in wanted.weights():
        if name == "atoms":
            objectives[name] = MaskedAtoms(nodes, wanted.atoms)
        elif name == "bonds":
            objectives[name] = MaskedBonds(nodes, wanted.bonds)
        elif name == "descriptors":
            objectives[name] = MoleculeDescriptors(graphs, wanted.descriptors, sizes[name])
        elif name == "fingerprint":
            objectives[name] = Fingerprint(graphs, wanted.fingerprint, sizes["counts"])
        elif name == "supervised":
            objectives[name] = TrainingLabels(graphs, tasks)
        else:
            objectives[name] = Contrastive(graphs, wanted.contrastive, config.corpus.batch_size)
    return PretrainingModel(backbone, objectives, config.masking)
