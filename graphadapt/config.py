"""Frozen run settings: one TOML file a run, read once, every key checked.

Each section of the file is one dataclass here. Unknown keys fail and name the nearest known one.
"""

from dataclasses import dataclass, field
from typing import Literal

from graphadapt.training_config import TrainerConfig, TrainingSettings
from graphadapt.typed_tables import require

__all__ = [
    "AdapterConfig",
    "BackboneConfig",
    "DataConfig",
    "FeatureConfig",
    "ObjectiveConfig",
    "PriorConfig",
    "RelationConfig",
    "RelationsConfig",
    "RoutingConfig",
    "RunConfig",
    "SamplerConfig",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which prepared molecules and which of their tasks."""

    store: str = "moleculeace"
    """Folder of a prepared store, or ``moleculeace`` for the bundled matrix."""

    tasks: tuple[str, ...] = ()
    """Task names to train on; empty means all."""

    validation_fraction: float = 0.1
    """Share of training molecules whose cells become validation where the split has none."""

    def __post_init__(self) -> None:
        require(
            0 < self.validation_fraction < 1,
            f"data.validation_fraction={self.validation_fraction} is not between 0 and 1",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureConfig:
    """Molecule-level features beside the graph embedding at the readout."""

    blocks: tuple[str, ...] = ()
    """Feature blocks of the store to join: ``counts``, ``descriptors``, ``columns``."""

    hidden: tuple[int, ...] = (1024, 512)
    """Widths of the embedding network, input side first."""

    dropout: float = 0.3
    """Chance to drop a hidden unit while training."""

    input_dropout: float = 0.0
    """Chance to drop an input feature while training."""

    graph_share: float = 0.0
    """Chance that a training molecule keeps the graph embedding alone, else the feature embedding
    alone; 0 keeps both always."""

    def __post_init__(self) -> None:
        require(
            len(self.hidden) > 0 and all(width > 0 for width in self.hidden),
            f"features.hidden={list(self.hidden)} needs at least one positive width",
        )
        require(
            len(set(self.blocks)) == len(self.blocks),
            f"features.blocks={list(self.blocks)} names one twice; a block is joined once",
        )
        for name in ("dropout", "input_dropout", "graph_share"):
            value = getattr(self, name)
            require(0 <= value < 1, f"features.{name}={value} is not in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneConfig:
    """The message-passing network."""

    kind: Literal[
        "gin", "gin-virtual-node", "gcn", "gcn-virtual-node", "neural-fingerprint", "none"
    ] = "gin-virtual-node"
    """Architecture: OGB's four reference networks, or soft counts of substructures at every
    layer; ``none`` leaves only molecule-level features."""

    layers: int = 5
    width: int = 300
    dropout: float = 0.5
    pooling: Literal["mean", "sum"] = "mean"
    """How node embeddings become one graph embedding."""

    jumping_knowledge: Literal["last", "sum"] = "last"
    """Which layers' node embeddings are pooled."""

    fingerprint_width: int = 256
    """W, soft counts a layer of ``neural-fingerprint``."""

    embedding_width: int = 512
    """Width of the graph embedding of ``neural-fingerprint``."""

    weights: str = ""
    """What to start from: weights that come with graphadapt, by name; a run folder or one of its
    checkpoints, of a run with adapters inside its network the network frozen for all its tasks
    alike; a package of ``graphadapt pretrain``. Empty starts at random."""

    train: Literal["all", "frozen", "partly"] = "all"
    """Which of the backbone's own weights move."""

    train_layers: tuple[str, ...] = ()
    """Name patterns of the parameters that move when ``train`` is ``partly``."""

    message_passing: Literal["auto", "dgl", "tensor", "triton"] = "auto"
    """Kernels: DGL's, plain tensors', Triton's, or the first of DGL, Triton and tensors that the
    installation can run on the device."""

    def __post_init__(self) -> None:
        require(self.layers >= 1, f"backbone.layers must be at least 1, got {self.layers}")
        require(self.width >= 1, f"backbone.width must be at least 1, got {self.width}")
        require(0 <= self.dropout < 1, f"backbone.dropout={self.dropout} is not in [0, 1)")
        require(
            (self.train == "partly") == bool(self.train_layers),
            "backbone.train_layers and backbone.train='partly' go together: give both or neither",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """Size and placement of the low-rank adapters."""

    count: int = 12
    """K, adapters at every site; 0 trains plain heads without adapters."""

    rank: int = 8
    """R, the width of the bottleneck."""

    scale: float = 1.0
    """γ, what the correction is multiplied by."""

    sites: tuple[str, ...] = ()
    """Name patterns of the backbone's linear layers that receive a bank."""

    readout: bool = True
    """Whether the readout is a site, where every task keeps its own weights."""

    def __post_init__(self) -> None:
        require(self.count >= 0, f"adapters.count must be at least 0, got {self.count}")
        require(self.rank >= 1, f"adapters.rank must be at least 1, got {self.rank}")
        require(
            self.count == 0 or self.readout or bool(self.sites),
            "adapters.count > 0 needs somewhere to sit: set adapters.sites or adapters.readout",
        )
        require(
            self.count > 0 or not self.sites,
            f"adapters.count=0 leaves nothing to put at adapters.sites={list(self.sites)}: raise "
            "the one or empty the other",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RelationConfig:
    """How one task relation matrix is made."""

    kind: Literal["labels", "file", "identity", "uniform", "shuffled"] = "labels"
    file: str = ""
    """CSV with a header of task names and one row a task, for ``kind='file'``."""

    shrinkage: float = 20.0
    """n0: a correlation over n cells is multiplied by n / (n + n0)."""

    minimum_overlap: int = 10
    """Fewest co-measured molecules that make an edge."""

    neighbours: int = 8
    """m, edges kept per task before symmetrising."""

    def __post_init__(self) -> None:
        require(self.shrinkage >= 0, f"relation shrinkage={self.shrinkage} is negative")
        require(
            self.minimum_overlap >= 2,
            f"relation minimum_overlap={self.minimum_overlap}: a correlation needs at least 2",
        )
        require(self.neighbours >= 1, f"relation neighbours={self.neighbours}: use at least 1")
        require(
            (self.kind == "file") == bool(self.file),
            "relation kind='file' and the setting 'file' go together: give both or neither",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RelationsConfig:
    """One relation for each consumer, so that an ablation changes one thing."""

    prior: RelationConfig = field(default_factory=RelationConfig)
    sampler: RelationConfig = field(default_factory=RelationConfig)
    regulariser: RelationConfig = field(default_factory=RelationConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorConfig:
    """Message passing over tasks and adapters."""

    width: int = 32
    """p, width of task and adapter embeddings."""

    layers: int = 2
    """Rounds of propagation over the task graph; 0 leaves embeddings as learned."""

    start: Literal["random", "spectral"] = "random"
    """Where task embeddings start: anywhere, or with related tasks close together."""

    free: float = 1.0
    """φ, how far the labels may pull task embeddings from their start; 0 not at all."""

    adapter_graph: bool = True
    """Whether tasks and adapters exchange messages before routing."""

    def __post_init__(self) -> None:
        require(self.width >= 1, f"prior.width must be at least 1, got {self.width}")
        require(self.layers >= 0, f"prior.layers must be at least 0, got {self.layers}")
        require(self.free >= 0, f"prior.free={self.free} is negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingConfig:
    """From logits to adapter weights."""

    temperature: float = 1.0
    """τ of the softmax over adapters."""

    threshold: float = 0.0
    """θ: smaller weights become zero, the largest always stays."""

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"routing.temperature={self.temperature} must be above 0")
        require(0 <= self.threshold < 1, f"routing.threshold={self.threshold} is not in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveConfig:
    """What is minimised beside the task loss."""

    consistency: float = 0.0
    """λ of the structural regulariser."""

    balance: float = 0.0
    """Weight of the load-balance term."""

    entropy: float = 0.0
    """Weight of the routing entropy term."""

    reduction: Literal["task", "cell"] = "task"
    """Mean over tasks of each task's mean, or mean over labelled cells."""

    def __post_init__(self) -> None:
        for name in ("consistency", "balance", "entropy"):
            value = getattr(self, name)
            require(value >= 0, f"objective.{name}={value} is negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """Which tasks and which molecules make a step."""

    batch_size: int = 256
    task_count: int = 8
    """Size of a sampled task set S, at most T."""

    neighbourhood: float = 0.5
    """Share of steps whose S is a neighbourhood of the relation graph."""

    random: float = 0.25
    """Share of steps whose S is a uniform random set; the rest take all tasks."""

    def __post_init__(self) -> None:
        require(self.batch_size >= 2, f"sampler.batch_size={self.batch_size}: use at least 2")
        require(self.task_count >= 1, f"sampler.task_count={self.task_count}: use at least 1")
        require(
            min(self.neighbourhood, self.random) >= 0 and self.neighbourhood + self.random <= 1,
            f"sampler.neighbourhood={self.neighbourhood} and sampler.random={self.random} "
            "must be shares that add up to at most 1",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(TrainingSettings):
    """Everything one training run depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    adapters: AdapterConfig = field(default_factory=AdapterConfig)
    relation: RelationsConfig = field(default_factory=RelationsConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        require(
            self.backbone.kind != "none" or bool(self.features.blocks),
            "backbone.kind='none' leaves nothing to read: set features.blocks",
        )
        require(
            self.backbone.kind != "none" or not self.adapters.sites,
            "adapters.sites name backbone layers, but backbone.kind is 'none'",
        )
