"""Frozen models of every kind at random weights, and molecules of every size."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphadapt.backbone.factory import build_backbone
from graphadapt.config import BackboneConfig
from graphadapt.data.store import TaskInfo
from graphadapt.export.collate import collate
from graphadapt.export.network import PlainModel
from graphadapt.export.onnx_file import write_onnx
from graphadapt.export.probes import Probes
from graphadapt.export.restate import restate
from graphadapt.freeze import FrozenModel
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.readout.features import FeatureEmbedding

SMILES = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "C",
    "[Na+].[Cl-]",
    "c1ccc2ccccc2c1",
    "F/C=C/F",
    "CC(C)(C)c1cc(O)cc(C(C)(C)C)c1",
    "N[C@@H](C)C(=O)O",
    "FS(F)(F)(F)(F)F",
    "O=C(O)CCCCCCCCCCCCCCC(=O)O",
    "C" * 40,
    "[He]",
    "CN1CCC[C@H]1c1cccnc1.OC(=O)C(O)C(O)C(=O)O",
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def molecules() -> list[MoleculeArrays]:
    return [featurise_smiles(text) for text in SMILES]


@pytest.fixture(scope="session")
def make_backbone() -> Callable[..., nn.Module]:
    """``make_backbone(kind, **settings)`` at random weights, with the norms' own statistics."""
    probes = GraphTable.from_molecules(Probes().molecules)

    def make(kind: str, **settings: object) -> nn.Module:
        settings = {"width": 16, "layers": 3, "message_passing": "tensor", **settings}
        backbone = build_backbone(BackboneConfig(kind=kind, **settings))
        for norm in backbone.modules():
            if isinstance(norm, nn.BatchNorm1d):
                norm.momentum = None
                nn.init.uniform_(norm.weight, -1.5, 1.5)
                nn.init.normal_(norm.bias, 0, 0.3)
        for name, parameter in backbone.named_parameters():
            if name.endswith(("epsilon", "virtual_node.first")):
                nn.init.normal_(parameter, 0, 0.3)
        with torch.no_grad():
            backbone(probes.gather(torch.arange(len(probes))))
        return backbone

    return make


@pytest.fixture
def feature_embedding() -> FeatureEmbedding:
    """Of three counts and four other numbers."""
    return embedding_of(torch.arange(7) < 3)


@pytest.fixture(scope="session")
def make_embedding() -> Callable[[Sequence[bool]], FeatureEmbedding]:
    """``make_embedding(is_count)`` at random weights."""
    return lambda is_count: embedding_of(torch.tensor(is_count))


def embedding_of(is_count: Tensor) -> FeatureEmbedding:
    center, scale = torch.randn(len(is_count)), torch.rand(len(is_count)) + 0.5
    return FeatureEmbedding(is_count, center, scale, hidden=(12, 8), dropout=0.2)


class Exported(NamedTuple):
    """A model and the file made from it."""

    frozen: FrozenModel
    plain: PlainModel
    blocks: tuple[FeatureBlock, ...]
    model: bytes


COUNTS = FeatureBlock(kind="counts", size=32)
COLUMNS = FeatureBlock(kind="columns", columns=("pH", "dose"))

EXPORTS = {
    "gin-virtual-node": ({}, (COUNTS, COLUMNS)),
    "gcn-virtual-node": ({"jumping_knowledge": "sum", "pooling": "sum"}, ()),
    "neural-fingerprint": ({"fingerprint_width": 20, "embedding_width": 24}, ()),
    "none": ({}, (COUNTS,)),
}


@pytest.fixture(scope="session")
def export_of(make_backbone, make_frozen) -> Callable[[str], Exported]:
    """``export_of(kind)``: a model of that kind, exported once a session."""

    @cache
    def make(kind: str) -> Exported:
        torch.manual_seed(0)
        settings, blocks = EXPORTS[kind]
        backbone = None if kind == "none" else make_backbone(kind, **settings)
        is_count = [block.kind == "counts" for block in blocks for _ in range(block.width)]
        frozen = make_frozen(backbone, embedding_of(torch.tensor(is_count)) if blocks else None)
        plain = restate(frozen)
        example = collate(*Probes(blocks).take(np.arange(24)))
        return Exported(frozen, plain, blocks, write_onnx(plain, example))

    return make


@pytest.fixture(params=EXPORTS)
def exported(request: pytest.FixtureRequest, export_of) -> Exported:
    """One exported model of each kind."""
    return export_of(request.param)


@pytest.fixture(scope="session")
def make_frozen() -> Callable[..., FrozenModel]:
    """``make_frozen(backbone, features, kinds)`` with one task of each kind."""

    def make(
        backbone: nn.Module | None,
        features: FeatureEmbedding | None = None,
        kinds: Sequence[str] = ("binary", "regression"),
    ) -> FrozenModel:
        width = sum(part.width for part in (backbone, features) if part is not None)
        tasks = tuple(
            TaskInfo(f"task{index}", kind, "" if kind == "binary" else "log10(mol/L)")
            for index, kind in enumerate(kinds)
        )
        return FrozenModel(
            backbone,
            features,
            nn.Linear(width, len(kinds)),
            tasks=tasks,
            composition={task.name: 1 / len(tasks) for task in tasks},
            kept={"readout": {task.name: [0] for task in tasks}},
        )

    return make
