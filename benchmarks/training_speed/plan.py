"""What the training benchmarks time, how often and at which size."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings of one benchmark; the network is OGB's GIN with a virtual node."""

    data: Path | None = None
    """Folder with ``ogb/``; None takes MoleculeACE."""

    threads: int
    peers: tuple[str, ...]
    precisions: tuple[str, ...]
    molecules: int = 8192
    layers: int = 5
    width: int = 300
    batches: tuple[int, ...] = (256, 32)
    """Batch sizes of the comparison with peers; everything else takes the first."""

    blocks: int = 9
    repeats: int = 3
    """Timed calls of every way in a block, after one that is not timed."""

    cycle: int = 16
    """Batches of the first size before the first one comes again."""

    fitted: int = 48
    """Steps of full fine-tuning before its backbone is frozen for adapters. At random weights the
    norms' running statistics are of nothing, answers leave the range of a sigmoid, and gradients
    too small for a normal float take products fifteen times as long."""

    epochs: int = 10
    """Over which the time of remembering what is frozen is spread."""

    sizes: tuple[int, ...] = (1_000, 4_000, 16_000, 64_000, 256_000, 437_929)
    """Numbers of molecules."""

    rounds: int = 3
    steps: int = 12
    """Steps that are timed at each number of molecules."""

    seed: int = 0

    def smaller(self) -> "Plan":
        """The same at sizes that a test can wait for."""
        return replace(
            self,
            data=None,
            molecules=96,
            layers=3,
            width=8,
            batches=(8, 4),
            blocks=1,
            repeats=1,
            cycle=2,
            fitted=2,
            sizes=(40, 80),
            rounds=1,
            steps=2,
        )

    def settings(self, batch: int, precision: str) -> dict[str, Any]:
        """Of our own run, over the preset ``ogb``."""
        return {
            "backbone.layers": self.layers,
            "backbone.width": self.width,
            "sampler.batch_size": batch,
            "trainer.precision": precision,
            "trainer.seed": self.seed,
        }
