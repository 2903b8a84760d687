"""Settings of a pretraining run: one TOML file, read once, every key checked."""

from dataclasses import dataclass, field, fields
from typing import ClassVar, Final, Literal

from graphadapt.config import BackboneConfig
from graphadapt.training_config import TrainerConfig, TrainingSettings
from graphadapt.typed_tables import require

__all__ = [
    "OBJECTIVE_BLOCKS",
    "PRESETS",
    "AtomsConfig",
    "BondsConfig",
    "ContrastiveConfig",
    "CorpusConfig",
    "DescriptorsConfig",
    "FingerprintConfig",
    "MaskingConfig",
    "ObjectivesConfig",
    "PretrainConfig",
    "SupervisedConfig",
    "feature_weights",
]

PRESETS: Final = "pretraining"
"""Folder of the presets that pretrain."""

OBJECTIVE_BLOCKS: Final = {"descriptors": "descriptors", "fingerprint": "counts"}
"""Feature block that an objective predicts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusConfig:
    """Which molecules, and how they are mixed."""

    stores: tuple[str, ...] = ()
    """Folders of prepared stores; their labels are not read, unless ``supervised`` names one."""

    shares: tuple[float, ...] = ()
    """Share of every batch that each store gives; empty is by its size."""

    held_out: float = 0.01
    """Share of each store's molecules that are never trained on; the same ones in every run."""

    batch_size: int = 256

    def __post_init__(self) -> None:
        require(
            not self.shares or len(self.shares) == len(self.stores),
            f"corpus.shares has {len(self.shares)} values for {len(self.stores)} stores; give one "
            "a store, or none to draw by size",
        )
        require(
            all(share > 0 for share in self.shares),
            f"corpus.shares={list(self.shares)} must all be above 0; leave a store out of "
            "corpus.stores instead",
        )
        require(len(set(self.stores)) == len(self.stores), "corpus.stores names a store twice")
        require(0 < self.held_out < 1, f"corpus.held_out={self.held_out} is not in (0, 1)")
        require(self.batch_size >= 2, f"corpus.batch_size={self.batch_size}: use at least 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskingConfig:
    """What is hidden from the backbone."""

    graphs: float = 0.5
    """Share of molecules of which parts are hidden; the others are seen whole, as they are in use.
    """

    atoms: float = 0.15
    """Share of such a molecule's atoms that are hidden, at least one; all bonds at them are too."""

    bonds: float = 0.05
    """Share of its other bonds that are hidden."""

    def __post_init__(self) -> None:
        require(0 < self.graphs <= 1, f"masking.graphs={self.graphs} is not in (0, 1]")
        require(0 < self.atoms < 1, f"masking.atoms={self.atoms} is not in (0, 1)")
        require(0 <= self.bonds < 1, f"masking.bonds={self.bonds} is not in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class AtomsConfig:
    """Features of hidden atoms: the weight of the whole, and of each feature in it."""

    weight: float = 1.0
    atomic_number: float = 1.0
    chirality: float = 1.0
    total_degree: float = 0.0
    formal_charge: float = 1.0
    hydrogens: float = 0.0
    radical_electrons: float = 0.0
    hybridisation: float = 1.0
    aromatic: float = 1.0
    in_ring: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BondsConfig:
    """Features of hidden bonds: the weight of the whole, and of each feature in it."""

    weight: float = 0.5
    bond_type: float = 1.0
    stereo: float = 1.0
    conjugated: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DescriptorsConfig:
    """RDKit's descriptors from the graph embedding."""

    weight: float = 1.0
    clip: float = 5.0
    """Largest standardised value; farther ones are taken for this."""

    hidden: int = 0
    """Width of a hidden layer before the answer; 0 answers by one linear map."""

    def __post_init__(self) -> None:
        require(self.clip > 0, f"objectives.descriptors.clip={self.clip} must be above 0")
        require(self.hidden >= 0, f"objectives.descriptors.hidden={self.hidden} is negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class FingerprintConfig:
    """ECFP places from the graph embedding."""

    weight: float = 1.0
    target: Literal["bits", "counts"] = "bits"
    """Whether a substructure occurs, or how often."""

    hidden: int = 0
    """Width of a hidden layer before the answer; 0 answers by one linear map."""

    def __post_init__(self) -> None:
        require(self.hidden >= 0, f"objectives.fingerprint.hidden={self.hidden} is negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisedConfig:
    """Labels of one of the corpus's stores: training cells of its split, nothing else."""

    weight: float = 0.0
    store: str = ""
    """Which of ``corpus.stores``."""

    tasks: tuple[str, ...] = ()
    """Its tasks; empty means all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastiveConfig:
    """Two views of a molecule, hidden differently, find each other; costs a second pass."""

    weight: float = 0.0
    temperature: float = 0.1
    width: int = 128
    """Of the space in which views are compared."""

    def __post_init__(self) -> None:
        require(
            self.temperature > 0,
            f"objectives.contrastive.temperature={self.temperature} must be above 0",
        )
        require(self.width >= 1, f"objectives.contrastive.width={self.width}: use at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectivesConfig:
    """What is predicted; an objective of weight 0 is left out."""

    atoms: AtomsConfig = field(default_factory=AtomsConfig)
    bonds: BondsConfig = field(default_factory=BondsConfig)
    descriptors: DescriptorsConfig = field(default_factory=DescriptorsConfig)
    fingerprint: FingerprintConfig = field(default_factory=FingerprintConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)

    def __post_init__(self) -> None:
        for name, weight in self.all_weights().items():
            require(weight >= 0, f"objectives.{name}.weight={weight} is negative")
        require(
            bool(self.weights()),
            "the weights of all objectives are 0, so there is nothing to learn; raise one of "
            + ", ".join(f"objectives.{name}.weight" for name in self.all_weights()),
        )
        for name, sizes in (
            ("atoms", feature_weights(self.atoms)),
            ("bonds", feature_weights(self.bonds)),
        ):
            for feature, weight in sizes.items():
                require(weight >= 0, f"objectives.{name}.{feature}={weight} is negative")
            require(
                getattr(self, name).weight == 0 or sum(sizes.values()) > 0,
                f"objectives.{name} predicts no feature: raise one of {', '.join(sizes)}, or set "
                f"objectives.{name}.weight to 0",
            )

    def all_weights(self) -> dict[str, float]:
        """Every objective's weight."""
        return {item.name: getattr(self, item.name).weight for item in fields(self)}

    def weights(self) -> dict[str, float]:
        """Weights of the objectives that take part."""
        return {name: weight for name, weight in self.all_weights().items() if weight > 0}


def feature_weights(config: AtomsConfig | BondsConfig) -> dict[str, float]:
    """Weight of every predicted feature by its name in the vocabulary."""
    return {
        item.name: getattr(config, item.name) for item in fields(config) if item.name != "weight"
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig(TrainingSettings):
    """Everything one pretraining run depends on."""

    presets: ClassVar[str] = PRESETS

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(dropout=0.0))
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        supervised = self.objectives.supervised
        require(
            supervised.weight == 0 or supervised.store in self.corpus.stores,
            f"objectives.supervised.store={supervised.store!r} is none of corpus.stores "
            f"{list(self.corpus.stores)}; name one whose training labels are to be learned",
        )
        require(
            self.backbone.kind != "none", "backbone.kind='none' leaves nothing to pretrain; use gin"
        )
        require(
            self.backbone.train == "all",
            f"backbone.train={self.backbone.train!r}: pretraining moves all of a backbone's "
            "weights; leave the setting out",
        )
