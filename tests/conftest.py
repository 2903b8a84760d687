"""Fixtures that every folder of tests shares."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Ctrl-C as it was: a command that was interrupted leaves it ignored, as its process ends."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets: the environment variable GRAPHADAPT_DATA."""
    folder = os.environ.get("GRAPHADAPT_DATA")
    if not folder:
        pytest.skip("needs real data; set GRAPHADAPT_DATA to its folder")
    if not Path(folder).is_dir():
        pytest.fail(f"GRAPHADAPT_DATA={folder} is no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a store of 63 molecules: two binary tasks, one regression, labels missing.

    Its split differs from task to task, some cells of ``potency`` are marked ``cliff``, and it
    holds ``counts`` (64 wide) and ``columns`` (``polar_area``) features.
    """
    from dataclasses import replace

    import numpy as np

    from graphadapt.data.load import load_source
    from graphadapt.data.prepare import prepare
    from graphadapt.molecules.features import FeatureBlock

    source = load_source(
        REPOSITORY / "tests" / "molecules.csv", columns=["polar_area"], split_column="part"
    )
    assert source.split is not None
    split = source.split.copy()
    split[::4, 2] = np.where(split[::4, 2] < 3, (split[::4, 2] + 1) % 3, split[::4, 2])
    cliff = np.zeros(split.shape, np.bool_)
    cliff[::2, 2] = True
    folder = tmp_path_factory.mktemp("tiny") / "store"
    prepare(
        replace(source, split=split, flags={"cliff": cliff}),
        folder,
        blocks=[
            FeatureBlock(kind="counts", size=64),
            FeatureBlock(kind="columns", columns=("polar_area",)),
        ],
        processes=1,
        shown=False,
    )
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_store: Path) -> Path:
    """Folder of a run trained for two epochs on ``tiny_store``.

    GIN with virtual node, 2 layers of 16; 4 adapters of rank 2 at ``convolutions.1.expand`` and at
    the readout; count features. In float32 on the CPU.
    """
    from graphadapt.config import RunConfig
    from graphadapt.run import Run

    config = RunConfig().with_settings(
        {
            "data.store": str(tiny_store),
            "features.blocks": ["counts"],
            "features.hidden": [16],
            "backbone.layers": 2,
            "backbone.width": 16,
            "adapters.count": 4,
            "adapters.rank": 2,
            "adapters.sites": ["convolutions.1.expand"],
            "prior.width": 8,
            "relation.prior.minimum_overlap": 4,
            "relation.sampler.minimum_overlap": 4,
            "sampler.batch_size": 16,
            "sampler.task_count": 2,
            "trainer.epochs": 2,
            "trainer.learning_rate": 0.02,
            "trainer.precision": "float32",
            "trainer.device": "cpu",
        }
    )
    folder = tiny_store.parent / "run"
    Run.create(config, folder).train(shown=False)
    return folder


@pytest.fixture(scope="session")
def write_backbone_package():
    """A function that writes untrained weights of a configuration as a package, card and all."""
    import json

    import torch

    from graphadapt.backbone.factory import build_backbone
    from graphadapt.backbone.package import CARD_FORMAT, architecture, card_path, file_digest
    from graphadapt.config import BackboneConfig
    from graphadapt.molecules.vocabulary import FEATURISATION_VERSION
    from graphadapt.trainer.checkpoint import save_tensors
    from graphadapt.trainer.start_weights import PACKAGE_MARK

    def write(config: BackboneConfig, path: Path) -> Path:
        torch.manual_seed(0)
        save_tensors(path, build_backbone(config).state_dict(), {PACKAGE_MARK: {}})
        card = {
            "format": CARD_FORMAT,
            "backbone": architecture(config),
            "featurisation_version": FEATURISATION_VERSION,
            "weights": {"sha256": file_digest(path)},
        }
        card_path(path).write_text(json.dumps(card))
        return path

    return write


@pytest.fixture(scope="module")
def small_start(write_backbone_package, tmp_path_factory):
    """A neural fingerprint of widths 8 in the place of the one that comes with the package."""
    from graphadapt.config import BackboneConfig
    from graphadapt.trainer import start_weights

    config = BackboneConfig(
        kind="neural-fingerprint", layers=3, width=8, fingerprint_width=8, embedding_width=8
    )
    folder = tmp_path_factory.mktemp("start")
    path = write_backbone_package(config, folder / "neural-fingerprint.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start_weights, "bundled_weights", lambda: {"neural-fingerprint": path})
        yield path
