"""What a bundle says of how exactly it answers, and the bound that it was held to. No torch."""

from dataclasses import dataclass
from typing import Final

__all__ = ["TOLERANCE", "Parity"]

TOLERANCE: Final = 1e-5
"""Largest error of an answer that is exported, as a share of the answers' scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far the exported file was from a float64 reference when it was written."""

    largest_error: float
    """Largest error of any answer, as a share of the largest answer in the same units; of an
    ordinary molecule, of the largest over ordinary molecules."""

    tolerance: float
    """Largest error allowed, or twice ``float32_error`` where that is more."""

    float32_error: float = 0.0
    """The frozen model's own error in float32, in PyTorch, over several numberings of the atoms:
    what no float32 file can be held to."""

    repeats: int
    """Runs of each batch at each number of threads."""

    batch_sizes: tuple[int, ...]
    threads: tuple[int, ...]
    """Of ONNX Runtime within one run."""

    molecules: int
    """Different molecules in the batches, from a single atom to 200."""

    provider: str

    @property
    def allowed(self) -> float:
        """The largest error that the file may show."""
        return max(self.tolerance, 2 * self.float32_error)

    @property
    def bound(self) -> str:
        """``allowed`` in words."""
        if self.allowed > self.tolerance:
            return f"{self.allowed:.1e}, twice what PyTorch itself is off by in float32"
        return f"{self.tolerance:g}"

    @property
    def holds(self) -> bool:
        """Whether the file kept to it; one of lower precision may have been forced."""
        return self.largest_error <= self.allowed
