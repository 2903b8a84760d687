"""A run folder: settings, data, relations, model and checkpoints that belong together.

::

    config.json       every setting of the run, resolved
    inputs.json       tasks and molecule-level features that the model was built for
    relation/         the matrices of prior, sampler and regulariser
    metrics.jsonl     one line an epoch
    last.safetensors  where training stands    best.safetensors  best on validation

Shapes: G molecules, T tasks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphadapt.assemble import ModelInputs, assemble, feature_statistics
from graphadapt.backbone.checkpoints import set_trainable
from graphadapt.config import RelationConfig, RunConfig
from graphadapt.data.bundled import BUNDLED, open_store
from graphadapt.data.dataset import Dataset
from graphadapt.data.sampler import TaskSampler
from graphadapt.errors import CheckpointError, ConfigError
from graphadapt.graphs.batch import GraphTable
from graphadapt.model import ComposedModel
from graphadapt.objective.metrics import Evaluation
from graphadapt.objective.scoring import score_cells
from graphadapt.objective.total import Objective
from graphadapt.readout.scaling import TargetScaling
from graphadapt.relation.build import build_relation
from graphadapt.relation.matrix import Relation
from graphadapt.routing.composition import uniform_composition
from graphadapt.trainer.checkpoint import load_tensors, write_text
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.feed import Feed
from graphadapt.trainer.fine_tuning import FineTuning
from graphadapt.trainer.loop import Trainer, TrainerState
from graphadapt.trainer.precision import resolve_device, resolve_precision
from graphadapt.trainer.run_folder import BEST, LAST, METRICS, check_new_folder
from graphadapt.trainer.start_weights import model_tensors, start_backbone, whole_weights_path

__all__ = ["Run"]

CONSUMERS = ("prior", "sampler", "regulariser")


@dataclass
class Run:
    """One training run, new or opened from its folder."""

    folder: Path
    config: RunConfig
    inputs: ModelInputs
    relations: Mapping[str, Relation]
    model: ComposedModel

    @classmethod
    def create(cls, config: RunConfig, folder: Path, *, workers: Workers | None = None) -> "Run":
        """Estimate relations, build the model and write the folder's settings.

        Args:
            config: settings of the run.
            folder: new, empty, or of a run that was stopped before its first checkpoint.
            workers: the processes that train together; the first one writes.

        Raises:
            CheckpointError: if the folder holds a run already, or something else.
        """
        workers = workers or Workers()
        if workers.is_first:
            check_new_folder(folder, {"config.json", "inputs.json", "relation", METRICS, BEST})
        config = _with_precision(_with_whole_paths(config), workers)
        dataset = _open_dataset(config)
        relations = _build_relations(config, dataset)
        inputs = ModelInputs(dataset.tasks, dataset.feature_blocks(config.features.blocks))
        torch.manual_seed(config.trainer.seed)
        model = assemble(config, inputs, relations["prior"].weights)
        _fit_constants(model, dataset, inputs)
        _start_backbone(model, config)
        run = cls(folder, config, inputs, relations, model)
        run.__dict__["dataset"] = dataset
        if workers.is_first:
            run._write_settings()
        return run

    @staticmethod
    def settings(folder: str | Path) -> RunConfig:
        """Settings of the run in a folder, without loading anything else."""
        return _read_settings(Path(folder))[0]

    @classmethod
    def open(cls, folder: str | Path, weights: str | None = None) -> "Run":
        """Open a run folder and load its model.

        Args:
            folder: where a run was trained.
            weights: ``best``, ``last``, or ``none`` to resume training; default is what
                ``trainer.keep`` says.

        Raises:
            CheckpointError: if the folder holds no run, or no checkpoint of that name.
        """
        folder = Path(folder)
        config, inputs = _read_settings(folder)
        relations = {name: Relation.load(folder / "relation" / name) for name in CONSUMERS}
        weights = weights or config.trainer.keep
        if weights == "none":
            torch.manual_seed(config.trainer.seed)
        model = assemble(config, inputs, relations["prior"].weights)
        run = cls(folder, config, inputs, relations, model)
        if weights == "none":
            _fit_constants(model, run.dataset, inputs)
            if not (folder / LAST).exists():  # stopped before its first checkpoint
                _start_backbone(model, config)
        else:
            _load_model(model, folder, weights)
        model.eval()
        return run

    @classmethod
    def trained(cls, config: RunConfig, folder: Path, *, shown: bool = True) -> "Run":
        """The run of these settings in this folder, trained to its end.

        One that was stopped goes on, one that is finished is opened.

        Raises:
            CheckpointError: if the folder holds a run of other settings, or something else.
        """
        if not (folder / LAST).exists():
            cls.create(config, folder).train(shown=shown)
            return cls.open(folder)
        found = cls.settings(folder)
        decided = {"trainer.precision": found.trainer.precision}  # a run decides `auto`
        if found != _with_whole_paths(config).with_settings(decided):
            raise CheckpointError(
                f"{folder} holds a run of other settings; remove it or choose another folder"
            )
        if not load_tensors(folder / LAST)[1]["finished"]:
            cls.open(folder, "none").train(resume=True, shown=shown)
        return cls.open(folder)

    @cached_property
    def dataset(self) -> Dataset:
        """The molecules and labels that the run was configured with."""
        return _open_dataset(self.config)

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

    def train(
        self, *, resume: bool = False, workers: Workers | None = None, shown: bool = True
    ) -> TrainerState:
        """Train to the end, or go on from the last checkpoint.

        Raises:
            Interrupted: after Ctrl-C, once the last checkpoint is written.
        """
        if self.config.trainer.threads:
            torch.set_num_threads(self.config.trainer.threads)
        workers = workers or Workers()
        self._freeze_backbone()
        trainer = Trainer(
            self._learner(workers), self.config.trainer, self.folder, workers=workers, shown=shown
        )
        if resume:
            trainer.resume()
        limit = self.config.trainer.cache_gb * 1e9
        self.feed.remember_what_stays(self.model, limit, shown=shown and workers.is_first)
        return trainer.fit()

    def _learner(self, workers: Workers) -> FineTuning:
        config, data, feed = self.config, self.dataset, self.feed
        sampler = TaskSampler(
            data.cells("train"),
            self.relations["sampler"].weights,
            config.sampler,
            config.trainer.seed,
            workers.world,
        )
        objective = Objective(
            config.objective,
            torch.from_numpy(data.is_binary).to(feed.device),
            torch.from_numpy(self.relations["regulariser"].weights).to(feed.device),
            self.model.routing,
        )
        return FineTuning(self.model, feed, sampler, objective, lambda: self.evaluate("valid"))

    def _freeze_backbone(self) -> None:
        backbone, settings = self.model.backbone, self.config.backbone
        if backbone is None or settings.train == "all":
            return
        set_trainable(backbone, settings.train_layers)

    def _write_settings(self) -> None:
        for name, relation in self.relations.items():
            relation.save(self.folder / "relation" / name)
        write_text(self.folder / "inputs.json", json.dumps(self.inputs.to_dict(), indent=1))
        write_text(self.folder / "config.json", json.dumps(self.config.to_dict(), indent=1))


def _with_whole_paths(config: RunConfig) -> RunConfig:
    """Make paths absolute, so that a run opens from wherever it is asked for."""
    named = {
        "data.store": "" if config.data.store == BUNDLED else config.data.store,
        **{f"relation.{name}.file": getattr(config.relation, name).file for name in CONSUMERS},
    }
    whole = {name: str(Path(text).resolve()) for name, text in named.items() if text}
    return config.with_settings(
        {**whole, "backbone.weights": whole_weights_path(config.backbone.weights)}
    )


def _with_precision(config: RunConfig, workers: Workers) -> RunConfig:
    """Decide ``auto`` once, so that a resumed run computes as it began."""
    device = resolve_device(config.trainer.device)
    precision = workers.agree(resolve_precision(config.trainer.precision, device))
    return config.with_settings({"trainer.precision": precision})


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


def _load_model(model: ComposedModel, folder: Path, which: str) -> None:
    if which not in ("best", "last"):
        raise ConfigError(f"no checkpoint called {which!r}; use best or last")
    path = folder / (BEST if which == "best" else LAST)
    if not path.exists():
        other = folder / (LAST if which == "best" else BEST)
        hint = f"use its {other.name}" if other.exists() else "train the run first"
        raise CheckpointError(f"{folder} has no {path.name} yet; {hint}")
    try:
        model.load_state_dict(model_tensors(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own settings: {error}") from error


def _start_backbone(model: ComposedModel, config: RunConfig) -> None:
    """Start the backbone from the weights that are named, if any are."""
    settings = config.backbone
    if model.backbone is None and settings.weights:
        raise ConfigError("backbone.weights is set, but backbone.kind is 'none'")
    if model.backbone is None:
        return
    if settings.train == "frozen" and not settings.weights:
        raise ConfigError(
            "backbone.train='frozen' would keep random weights for good; set backbone.weights to "
            "the folder of a run that trained such a backbone (`graphadapt train full-graph`)"
        )
    if settings.weights:
        start_backbone(model.backbone, settings)


def _read_settings(folder: Path) -> tuple[RunConfig, ModelInputs]:
    try:
        config = _table(folder / "config.json")
        inputs = ModelInputs.from_dict(_table(folder / "inputs.json"))
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise CheckpointError(f"{folder} is no run folder: it has no {missing}") from error
    except KeyError as error:
        raise CheckpointError(f"{folder} is damaged: its inputs.json lacks {error}") from error
    except (OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} is damaged, or no run folder: {error}") from error
    return RunConfig.from_dict(config), inputs


def _table(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds."""
    held = json.loads(path.read_text("utf-8"))
    if not isinstance(held, dict):
        raise TypeError(f"{path.name} holds no object")
    return held
