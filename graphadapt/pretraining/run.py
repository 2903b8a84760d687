"""A folder in which a backbone is pretrained.

::

    config.json       every setting of the run, resolved
    targets.json      feature blocks and tasks that the objectives predict
    metrics.jsonl     one line an epoch
    last.safetensors  where training stands    best.safetensors  best on held-out molecules
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from graphadapt.assemble import ModelInputs
from graphadapt.errors import CheckpointError, ConfigError
from graphadapt.pretraining.config import PretrainConfig
from graphadapt.pretraining.corpus import Corpus
from graphadapt.pretraining.learner import HeldOutScore, Pretraining
from graphadapt.pretraining.model import PretrainingModel, build_model
from graphadapt.pretraining.sampler import CorpusSampler
from graphadapt.trainer.checkpoint import load_tensors, write_text
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.loop import Trainer, TrainerState
from graphadapt.trainer.precision import resolve_device, resolve_precision
from graphadapt.trainer.run_folder import BEST, LAST, METRICS, check_new_folder
from graphadapt.trainer.start_weights import model_tensors, start_backbone, whole_weights_path

__all__ = ["PretrainRun"]

SETTINGS, TARGETS = "config.json", "targets.json"

FITTED_ON = 10_000
"""Molecules that scales and first biases are taken from."""


@dataclass
class PretrainRun:
    """One pretraining run, new or opened from its folder."""

    folder: Path
    config: PretrainConfig
    model: PretrainingModel

    @classmethod
    def create(
        cls, config: PretrainConfig, folder: Path, *, workers: Workers | None = None
    ) -> "PretrainRun":
        """Open the corpus, build and fit the model, and write the folder's settings.

        Args:
            config: settings of the run.
            folder: new, empty, or of a run that was stopped before its first checkpoint.
            workers: the processes that train together; the first one writes.

        Raises:
            CheckpointError: if the folder holds a run already, or something else.
            ConfigError: if a setting cannot work with this corpus.
            DataError: if a store lacks what an objective predicts.
        """
        workers = workers or Workers()
        if workers.is_first:
            check_new_folder(folder, {SETTINGS, TARGETS, METRICS, BEST})
        config = _with_precision(_with_whole_paths(config), workers)
        corpus = Corpus(config, resolve_device(config.trainer.device))
        torch.manual_seed(config.trainer.seed)
        run = cls(folder, config, build_model(config, corpus.blocks, corpus.tasks))
        run.__dict__["corpus"] = corpus
        run._begin(workers.world)
        if workers.is_first:
            inputs = ModelInputs(corpus.tasks, corpus.blocks)
            write_text(folder / TARGETS, json.dumps(inputs.to_dict(), indent=1))
            write_text(folder / SETTINGS, json.dumps(config.to_dict(), indent=1))
        return run

    @staticmethod
    def settings(folder: str | Path) -> PretrainConfig:
        """Settings of the run in a folder, without loading anything else."""
        return _read_settings(Path(folder))[0]

    @classmethod
    def open(cls, folder: str | Path, weights: str | None = None) -> "PretrainRun":
        """Open a run folder and load its model.

        Args:
            folder: where a run was trained.
            weights: ``best``, ``last``, or ``none`` to resume training; default is what
                ``trainer.keep`` says.

        Raises:
            CheckpointError: if the folder holds no such run, or no checkpoint of that name.
        """
        folder = Path(folder)
        config, inputs = _read_settings(folder)
        weights = weights or config.trainer.keep
        torch.manual_seed(config.trainer.seed)
        run = cls(folder, config, build_model(config, inputs.blocks, inputs.tasks))
        if weights != "none":
            run._load(weights)
        elif not (folder / LAST).exists():  # stopped before its first checkpoint
            run._begin(1)
        run.model.eval()
        return run

    @classmethod
    def trained(cls, config: PretrainConfig, folder: Path, *, shown: bool = True) -> "PretrainRun":
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
    def corpus(self) -> Corpus:
        """The molecules, on the run's device."""
        return Corpus(self.config, resolve_device(self.config.trainer.device))

    @property
    def is_finished(self) -> bool:
        """Whether the run was trained to its end."""
        path = self.folder / LAST
        return path.exists() and bool(load_tensors(path)[1]["finished"])

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
        trainer = Trainer(
            self.learner(workers.world),
            self.config.trainer,
            self.folder,
            workers=workers,
            shown=shown,
        )
        if resume:
            trainer.resume()
        return trainer.fit()

    def evaluate(self) -> HeldOutScore:
        """Judge the model as it is on the held-out molecules."""
        return self.learner().score()

    def learner(self, processes: int = 1) -> Pretraining:
        """The model with its corpus on the run's device; moves the model there."""
        device = self.corpus.parts[0].table.device
        return Pretraining(
            self.model.to(device),
            self.corpus,
            self.sampler(processes),
            self.config.objectives.weights(),
            resolve_precision(self.config.trainer.precision, device),
        )

    def sampler(self, processes: int = 1) -> CorpusSampler:
        """What each step reads."""
        corpus = self.config.corpus
        return CorpusSampler(
            self.corpus.training,
            corpus.shares,
            corpus.batch_size,
            self.config.trainer.seed,
            processes,
        )

    def _begin(self, processes: int) -> None:
        """First weights and constants, from the corpus and from elsewhere if so set."""
        molecules = self.corpus.sample(self.sampler(processes), FITTED_ON)
        self.model.to(molecules.batch.atoms.device)
        for _, objective in self.model.named_objectives():
            objective.fit(molecules)
        if self.config.backbone.weights:
            start_backbone(self.model.backbone, self.config.backbone)

    def _load(self, which: str) -> None:
        if which not in ("best", "last"):
            raise ConfigError(f"no checkpoint called {which!r}; use best or last")
        path = self.folder / (BEST if which == "best" else LAST)
        if not path.exists():
            raise CheckpointError(f"{self.folder} has no {path.name} yet; pretrain first")
        try:
            self.model.load_state_dict(model_tensors(path))
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit its own settings: {error}") from error


def _with_whole_paths(config: PretrainConfig) -> PretrainConfig:
    """Make paths absolute, so that a run opens from wherever it is asked for."""
    supervised = config.objectives.supervised.store
    changed: dict[str, Any] = {
        "corpus.stores": [str(Path(store).resolve()) for store in config.corpus.stores],
        "objectives.supervised.store": str(Path(supervised).resolve()) if supervised else "",
        "backbone.weights": whole_weights_path(config.backbone.weights),
    }
    return config.with_settings(changed)


def _with_precision(config: PretrainConfig, workers: Workers) -> PretrainConfig:
    """Decide ``auto`` once, so that a resumed run computes as it began."""
    device = resolve_device(config.trainer.device)
    precision = workers.agree(resolve_precision(config.trainer.precision, device))
    return config.with_settings({"trainer.precision": precision})


def _read_settings(folder: Path) -> tuple[PretrainConfig, ModelInputs]:
    try:
        config: Mapping[str, Any] = json.loads((folder / SETTINGS).read_text("utf-8"))
        inputs = ModelInputs.from_dict(json.loads((folder / TARGETS).read_text("utf-8")))
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise CheckpointError(f"{folder} is no pretraining run: it has no {missing}") from error
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{folder} is damaged, or no pretraining run: {error}") from error
    return PretrainConfig.from_dict(config), inputs
