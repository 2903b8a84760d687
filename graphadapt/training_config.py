"""What every settings file has that trains something: how it is trained."""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import ClassVar, Literal, Self

from graphadapt.presets import read_settings
from graphadapt.typed_tables import SettingsTable, require

__all__ = ["TrainerConfig", "TrainingSettings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerConfig:
    """Steps, optimiser, precision, saving."""

    epochs: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    """Share of all steps over which the learning rate rises; a cosine follows."""

    final_rate: float = 0.01
    """Learning rate at the end, as a share of ``learning_rate``."""

    clip: float = 1.0
    """Largest norm of the gradient; 0 leaves it alone."""

    average: float = 0.0
    """Decay of the moving average of weights that is evaluated and saved; 0 is none."""

    patience: int = 0
    """Epochs without a better validation metric before stopping; 0 never stops early."""

    keep: Literal["best", "last"] = "best"
    """Which checkpoint the run is judged by and exported from."""

    evaluate_every: int = 1
    """Epochs between validations."""

    checkpoint_seconds: float = 60.0
    """Least time between two saves of the last checkpoint inside an epoch."""

    cache_gb: float = 4.0
    """Most memory, in 10^9 bytes, for what frozen layers say of every molecule; what would need
    more is computed anew in every step."""

    capture: bool = True
    """Whether a GPU's training steps are captured as CUDA graphs and replayed: one for each of the
    few sizes that batches are padded to, at most 16, of those that come up in one step of 50 or
    more. Others, and all where a capture fails, run as they are."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice, within a container's limit."""

    seed: int = 0

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"trainer.epochs must be at least 1, got {self.epochs}")
        require(
            0 < self.learning_rate < inf,
            f"trainer.learning_rate={self.learning_rate} must be a number above 0",
        )
        for name in ("weight_decay", "final_rate", "clip", "checkpoint_seconds", "cache_gb"):
            value = getattr(self, name)
            require(0 <= value < inf, f"trainer.{name}={value} must be a number that is 0 or more")
        for name in ("patience", "threads"):
            value = getattr(self, name)
            require(value >= 0, f"trainer.{name}={value} must be 0 or more")
        require(0 <= self.seed < 2**63, f"trainer.seed={self.seed} is not in [0, 2^63)")
        require(0 <= self.warmup < 1, f"trainer.warmup={self.warmup} is not in [0, 1)")
        require(0 <= self.average < 1, f"trainer.average={self.average} is not in [0, 1)")
        require(self.evaluate_every >= 1, "trainer.evaluate_every must be at least 1")


class TrainingSettings(SettingsTable):
    """Settings of anything that a trainer trains."""

    __slots__ = ()

    presets: ClassVar[str] = ""
    """Folder of the presets that hold such settings."""

    trainer: TrainerConfig

    @classmethod
    def from_toml(cls, source: str | Path) -> Self:
        """Read a TOML file, or the preset of that name.

        Raises:
            ConfigError: if it is neither, is not TOML, or holds an unknown or unusable setting.
        """
        return cls.from_dict(read_settings(source, cls.presets))
