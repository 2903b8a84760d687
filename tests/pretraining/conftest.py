"""Two small corpora and a run trained on them."""

from pathlib import Path

import numpy as np
import pytest

from graphadapt.data.load import load_source
from graphadapt.data.prepare import prepare
from graphadapt.data.source import MoleculeSource
from graphadapt.molecules.features import FeatureBlock
from graphadapt.pretraining.config import PretrainConfig
from graphadapt.pretraining.run import PretrainRun

BLOCKS = (FeatureBlock(kind="counts", size=64), FeatureBlock(kind="descriptors"))

PLAIN = (
    *("C" * n for n in range(1, 12)),
    *("C" * n + "O" for n in range(1, 12)),
    *("C" * n + "C=C" for n in range(1, 10)),
    *("c1ccccc1" + "C" * n for n in range(9)),
)
"""Molecules without stereo, charge or halogen, unlike those of tests/molecules.csv."""


@pytest.fixture(scope="session")
def plain_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 structures without labels."""
    folder = tmp_path_factory.mktemp("plain") / "store"
    source = MoleculeSource(
        name="plain",
        smiles=list(PLAIN),
        labels=np.zeros((len(PLAIN), 0), np.float32),
        tasks=(),
        row_numbers=np.arange(1, len(PLAIN) + 1),
        curated=True,
    )
    prepare(source, folder, BLOCKS, split="random", processes=1, shown=False)
    return folder


@pytest.fixture(scope="session")
def labelled_store(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """63 molecules with two binary tasks and a regression, split by its column."""
    folder = tmp_path_factory.mktemp("labelled") / "store"
    source = load_source(repository / "tests" / "molecules.csv", split_column="part")
    prepare(source, folder, BLOCKS, split="column:part", processes=1, shown=False)
    return folder


@pytest.fixture(scope="session")
def settings(plain_store: Path, labelled_store: Path) -> PretrainConfig:
    """Every objective but the contrastive one, on both stores, at a size for tests."""
    return PretrainConfig().with_settings(
        {
            "corpus.stores": [str(plain_store), str(labelled_store)],
            "corpus.held_out": 0.1,
            "corpus.batch_size": 16,
            "backbone.layers": 2,
            "backbone.width": 8,
            "objectives.supervised.weight": 0.5,
            "objectives.supervised.store": str(labelled_store),
            "objectives.supervised.tasks": ["aromatic", "potency"],
            "trainer.epochs": 2,
            "trainer.learning_rate": 0.01,
            "trainer.average": 0.5,
            "trainer.checkpoint_seconds": 0.0,
            "trainer.precision": "float32",
            "trainer.device": "cpu",
        }
    )


@pytest.fixture(scope="session")
def pretrained(settings: PretrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that was trained to its end without a stop."""
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    PretrainRun.create(settings, folder).train(shown=False)
    return folder
