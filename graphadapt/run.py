"""A run folder: settings, data, relations, model and checkpoints that belong together.

::

    config.json       every setting of the run, resolved
    inputs.json       tasks and molecule-level features that the model was built for
    relation/         the matrices of prior, sampler and regulariser
    metrics.jsonl     one line an epoch
    last.safetensors  where training stands    best.safetensors  best on validation

A backbone of your own is no part of the folder but its weights: whoever opens the run brings one.

Shapes: G molecules, T tasks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graphadapt.assemble import ModelInputs, assemble, feature_statistics
from graphadapt.backbone.checkpoints import load_backbone, set_trainable
from graphadapt.backbone.package import architecture, bundled_weights, check_architecture
from graphadapt.config import RelationConfig, RunConfig
from graphadapt.data.bundled import BUNDLED, open_store
from graphadapt.data.dataset import Dataset
from graphadapt.data.sampler import TaskSampler
from graphadapt.data.store_digest import store_digest
from graphadapt.errors import CheckpointError, ConfigError
from graphadapt.freeze import freeze, reestimate_norms
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.model import ComposedModel
from graphadapt.objective.metrics import Evaluation
from graphadapt.objective.scoring import score_cells
from graphadapt.objective.total import Objective
from graphadapt.own_backbone import check_own_backbone
from graphadapt.readout.scaling import TargetScaling
from graphadapt.relation.build import build_relation
from graphadapt.relation.matrix import Relation
from graphadapt.routing.composition import uniform_composition
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.feed import Feed
from graphadapt.trainer.fine_tuning import FineTuning
from graphadapt.trainer.loop import Trainer
from graphadapt.trainer.precision import resolve_device, resolve_precision
from graphadapt.trainer.run_folder import FINE_TUNING, LAST, RunKind, check_new_folder
from graphadapt.trainer.start_weights import start_backbone, whole_weights_path
from graphadapt.trainer.training_run import TrainingRun

__all__ = ["Run"]

CONSUMERS = ("prior", "sampler", "regulariser")
RELATIONS = "relation"

NORM_BATCHES = 64
"""Training batches that settle the norms' statistics."""


@dataclass
class Run(TrainingRun[RunConfig]):
    """One training run, new or opened from its folder."""

    kind: ClassVar[RunKind] = FINE_TUNING
    settings_class: ClassVar[type[Any]] = RunConfig

    folder: Path
    config: RunConfig
    inputs: ModelInputs
    relations: Mapping[str, Relation]
    model: ComposedModel

    @classmethod
    def create(
        cls,
        config: RunConfig,
        folder: Path,
        *,
        workers: Workers | None = None,
        own_backbone: nn.Module | None = None,
    ) -> "Run":
        """Estimate relations, build the model and write the folder's settings.

        Args:
            config: settings of the run.
            folder: new, empty, or of a run that was stopped before its first checkpoint.
            workers: the processes that train together; the first one writes.
            own_backbone: a :class:`~graphadapt.backbone.protocol.Backbone` with its first weights,
                the same in all processes, instead of the network that ``config.backbone``
                describes. It is trained in place; ``train`` and ``train_layers`` there decide which
                of its weights move, whatever their ``requires_grad`` was.

        Raises:
            CheckpointError: if the folder holds a run already, or something else.
            ConfigError: if ``own_backbone`` cannot be one, or is to start from named weights.
        """
        if own_backbone is not None:
            _check_weights_are_its_own(config)
            check_own_backbone(own_backbone, config.adapters.sites)
        workers = workers or Workers()
        if workers.is_first:
            check_new_folder(folder, cls.kind, {RELATIONS})
        config = cls._resolved(config, workers)
        dataset = _open_dataset(config)
        relations = _build_relations(config, dataset)
        inputs = ModelInputs(
            dataset.tasks,
            dataset.feature_blocks(config.features.blocks),
            "" if own_backbone is None else type(own_backbone).__name__,
        )
        torch.manual_seed(config.trainer.seed)
        model = assemble(config, inputs, relations["prior"].weights, own_backbone)
        _fit_constants(model, dataset, inputs)
        if own_backbone is None:
            _start_backbone(model, config)
        run = cls(folder, config, inputs, relations, model)
        run.__dict__["_named_dataset"] = dataset
        if workers.is_first:
            for name, relation in relations.items():
                relation.save(folder / RELATIONS / name)
            run._write_settings(inputs)
        return run

    @classmethod
    def open(
        cls,
        folder: str | Path,
        weights: str | None = None,
        *,
        own_backbone: nn.Module | None = None,
    ) -> "Run":
        """Open a run folder and load its model.

        Args:
            folder: where a run was trained.
            weights: ``best``, ``last``, or ``none`` to resume training; default is what
                ``trainer.keep`` says.
            own_backbone: for a run that was created with one, a network of the same class, which is
                given the run's weights.

        Raises:
            CheckpointError: if the folder holds no run, no checkpoint of that name, or a run of
                another backbone.
            ConfigError: if ``own_backbone`` cannot be one.
        """
        folder = Path(folder)
        config, inputs = cls._read_settings(folder)
        _check_same_backbone(own_backbone, inputs, folder)
        if own_backbone is not None:
            check_own_backbone(own_backbone, config.adapters.sites)
            if weights == "none" and not (folder / LAST).exists():
                raise CheckpointError(
                    f"{folder} has no checkpoint to go on from; create the run again"
                )
        relations = {name: Relation.load(folder / RELATIONS / name) for name in CONSUMERS}
        weights = weights or config.trainer.keep
        if weights == "none":
            torch.manual_seed(config.trainer.seed)
        model = assemble(config, inputs, relations["prior"].weights, own_backbone)
        run = cls(folder, config, inputs, relations, model)
        if weights == "none":
            _fit_constants(model, run.dataset, inputs)
            if not (folder / LAST).exists():  # stopped before its first checkpoint
                _start_backbone(model, config)
        else:
            run._load(weights)
        model.eval()
        return run

    @classmethod
    def trained(
        cls,
        config: RunConfig,
        folder: Path,
        *,
        shown: bool = True,
        own_backbone: nn.Module | None = None,
    ) -> "Run":
        """As for every kind of run, with a backbone of your own if one is given."""
        return cls._trained(config, folder, shown=shown, own_backbone=own_backbone)

    @cached_property
    def dataset(self) -> Dataset:
        """The molecules and labels that the run was configured with.

        Raises:
            CheckpointError: if the run was trained on others, which lay in the same place.
        """
        self._check_trained_on(self.data_digest)
        return self._named_dataset

    @cached_property
    def data_digest(self) -> str:
        """What tells the store from one that was prepared otherwise."""
        kinds = [block.kind for block in self.inputs.blocks]
        return store_digest(self._named_dataset.store, kinds)

    @cached_property
    def feed(self) -> Feed:
        """The molecules on the run's device; moves the model there."""
        device = resolve_device(self.config.trainer.device)
        self.model.to(device)
        labels = torch.from_numpy(self.dataset.labels_of("train")).to(device)
        feed = Feed(
            GraphTable.from_store(self.dataset.store, self.inputs.blocks, device),
            self.model.scaling.standardise(labels),
            resolve_precision(self.config.trainer.precision, device),
        )
        return feed

    @property
    def everyone(self) -> Tensor:
        """The composition that weighs all tasks alike, which metrics use by default."""
        names = [task.name for task in self.inputs.tasks]
        return uniform_composition(names, names).to(self.feed.device)

    def evaluate(self, part: str, composition_T: Tensor | None = None) -> Evaluation:
        """Metrics of the model on the labelled cells of one part of the split.

        Args:
            part: ``train``, ``valid`` or ``test``.
            composition_T: w; default is uniform over all tasks.
        """
        rows = self.dataset.rows(part)
        w = self.everyone if composition_T is None else composition_T
        answers = self.feed.predict(self.model, torch.from_numpy(rows), w)
        cells = self.dataset.cells(part)[rows]
        return score_cells(self.dataset, answers.cpu().numpy(), rows, cells)

    def training_batches(self) -> Iterator[GraphBatch]:
        """Seeded random batches of the training molecules for norms, all if they are few."""
        random = np.random.default_rng(self.config.trainer.seed)
        rows = torch.from_numpy(random.permutation(self.dataset.rows("train")))
        for batch in torch.split(rows, self.config.sampler.batch_size)[:NORM_BATCHES]:
            if len(batch) > 1:  # one molecule has no variance
                yield self.feed.table.gather(batch)

    def learner(self, processes: int = 1) -> FineTuning:
        """The model with its molecules on the run's device; moves the model there."""
        config, data, feed = self.config, self.dataset, self.feed
        sampler = TaskSampler(
            data.cells("train"),
            self.relations["sampler"].weights,
            config.sampler,
            config.trainer.seed,
            processes,
        )
        objective = Objective(
            config.objective,
            torch.from_numpy(data.is_binary).to(feed.device),
            torch.from_numpy(self.relations["regulariser"].weights).to(feed.device),
            self.model.routing,
        )
        return FineTuning(self.model, feed, sampler, objective, lambda: self.evaluate("valid"))

    def trainer(
        self, *, resume: bool = False, workers: Workers | None = None, shown: bool = True
    ) -> Trainer:
        """As of every run; what frozen layers say of the molecules is remembered already."""
        backbone, settings = self.model.backbone, self.config.backbone
        if backbone is not None:
            set_trainable(backbone, ["*"] if settings.train == "all" else settings.train_layers)
        trainer = super().trainer(resume=resume, workers=workers, shown=shown)
        limit = self.config.trainer.cache_gb * 1e9
        self.feed.remember_what_stays(self.model, limit, shown=trainer.shown)
        return trainer

    @cached_property
    def _named_dataset(self) -> Dataset:
        """What lies where the settings say, whether or not the run was trained on it."""
        return _open_dataset(self.config)

    @property
    def _model_origin(self) -> str:
        if self.inputs.own_backbone:
            return "the own_backbone that was given, which is of other sizes"
        return super()._model_origin

    @staticmethod
    def _with_whole_paths(config: RunConfig) -> RunConfig:
        named = {
            "data.store": "" if config.data.store == BUNDLED else config.data.store,
            **{f"relation.{name}.file": getattr(config.relation, name).file for name in CONSUMERS},
        }
        whole = {name: str(Path(text).resolve()) for name, text in named.items() if text}
        return config.with_settings(
            {**whole, "backbone.weights": whole_weights_path(config.backbone.weights)}
        )


def _open_dataset(config: RunConfig) -> Dataset:
    store = open_store(config.data.store, config.features.blocks)
    return Dataset.select(store, config.data, config.trainer.seed)


def _build_relations(config: RunConfig, dataset: Dataset) -> dict[str, Relation]:
    names = [task.name for task in dataset.tasks]
    labels_GT, mask_GT = dataset.labels, dataset.cells("train")
    made: dict[RelationConfig, Relation] = {}
    relations = {}
    for consumer in CONSUMERS:
        settings = getattr(config.relation, consumer)
        if settings not in made:
            made[settings] = build_relation(
                settings, labels_GT, mask_GT, names, config.trainer.seed
            )
        relations[consumer] = made[settings]
    return relations


@torch.no_grad()
def _fit_constants(model: ComposedModel, dataset: Dataset, inputs: ModelInputs) -> None:
    """Target scaling and feature statistics, from training cells only."""
    scaling = TargetScaling.fit(dataset.labels_of("train"), dataset.is_binary)
    model.scaling.load_state_dict(scaling.state_dict())
    if model.features is not None:
        features_GM = dataset.store.features(inputs.blocks)
        center_M, scale_M = feature_statistics(inputs.blocks, features_GM, dataset.rows("train"))
        model.features.center.copy_(center_M)
        model.features.scale.copy_(scale_M)


def _check_weights_are_its_own(config: RunConfig) -> None:
    if config.backbone.weights:
        raise ConfigError(
            f"backbone.weights={config.backbone.weights!r} is for networks of graphadapt; load "
            "your own_backbone's weights before the run, and set backbone.weights=''"
        )


def _check_same_backbone(own_backbone: nn.Module | None, inputs: ModelInputs, folder: Path) -> None:
    given = "" if own_backbone is None else type(own_backbone).__name__
    if given == inputs.own_backbone:
        return
    if not inputs.own_backbone:
        raise CheckpointError(
            f"{folder} was trained with the backbone of its settings, not with {given}; open it "
            "without own_backbone"
        )
    what_would = (
        f"give one of that class as own_backbone, not {given}"
        if given
        else "only Python opens it, by Run.open(folder, own_backbone=...)"
    )
    raise CheckpointError(
        f"{folder} was trained with a backbone of your own, {inputs.own_backbone}; {what_would}"
    )


def _start_backbone(model: ComposedModel, config: RunConfig) -> None:
    """Start the backbone from the weights that are named, if any are."""
    settings = config.backbone
    if model.backbone is None and settings.weights:
        raise ConfigError(
            f"backbone.kind='none' has no use for backbone.weights={settings.weights!r}; set "
            "backbone.weights='' or another kind"
        )
    if model.backbone is None:
        return
    if settings.train == "frozen" and not settings.weights:
        raise ConfigError(
            "backbone.train='frozen' would keep random weights for good; set backbone.weights to "
            "weights that come with graphadapt or the folder of a run that trained such a backbone"
        )
    if not settings.weights:
        return
    source = _run_with_adapters_inside(settings.weights)
    if source is None:
        start_backbone(model.backbone, settings)
        return
    check_architecture(architecture(source.config.backbone), settings.weights, settings)
    load_backbone(model.backbone, _frozen_network(source).state_dict(), settings.weights)


def _run_with_adapters_inside(weights: str) -> Run | None:
    path = Path(weights)
    folder, which = (path, None) if path.is_dir() else (path.parent, path.stem)
    if weights in bundled_weights() or which not in (None, "best", "last"):
        return None
    if not (folder / FINE_TUNING.inputs).exists():
        return None
    config, inputs = Run._read_settings(folder)
    if inputs.own_backbone or not config.adapters.sites:
        return None
    return Run.open(folder, which)


def _frozen_network(run: Run) -> nn.Module:
    """The network with the adapters of all tasks alike folded in, its norms those of that mix."""
    frozen = freeze(run.model)
    if run.config.backbone.train != "frozen":
        reestimate_norms(frozen, run.training_batches())
    assert frozen.backbone is not None
    return frozen.backbone
