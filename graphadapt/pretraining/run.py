"""A folder in which a backbone is pretrained.

::

    config.json       every setting of the run, resolved
    targets.json      feature blocks and tasks that the objectives predict
    metrics.jsonl     one line an epoch
    last.safetensors  where training stands    best.safetensors  best on held-out molecules
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import torch

from graphadapt.assemble import ModelInputs
from graphadapt.data.store_digest import store_digest
from graphadapt.pretraining.config import PretrainConfig
from graphadapt.pretraining.corpus import Corpus
from graphadapt.pretraining.learner import HeldOutScore, Pretraining
from graphadapt.pretraining.model import PretrainingModel, build_model
from graphadapt.pretraining.sampler import CorpusSampler
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.precision import resolve_device, resolve_precision
from graphadapt.trainer.run_folder import LAST, PRETRAINING, RunKind, check_new_folder
from graphadapt.trainer.start_weights import start_backbone, whole_weights_path
from graphadapt.trainer.training_run import TrainingRun

__all__ = ["PretrainRun"]

FITTED_ON: Final = 10_000
"""Molecules that scales and first biases are taken from."""


@dataclass
class PretrainRun(TrainingRun[PretrainConfig]):
    """One pretraining run, new or opened from its folder."""

    kind: ClassVar[RunKind] = PRETRAINING
    settings_class: ClassVar[type[Any]] = PretrainConfig

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
            check_new_folder(folder, cls.kind)
        config = cls._resolved(config, workers)
        corpus = Corpus(config, resolve_device(config.trainer.device))
        torch.manual_seed(config.trainer.seed)
        run = cls(folder, config, build_model(config, corpus.blocks, corpus.tasks))
        run.__dict__["corpus"] = corpus
        run._begin(workers.world)
        if workers.is_first:
            run._write_settings(ModelInputs(corpus.tasks, corpus.blocks))
        return run

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
        run = cls.untrained(folder)
        weights = weights or run.config.trainer.keep
        if weights != "none":
            run._load(weights)
        elif not (run.folder / LAST).exists():  # stopped before its first checkpoint
            run._begin(1)
        run.model.eval()
        return run

    @classmethod
    def untrained(cls, folder: str | Path) -> "PretrainRun":
        """The run as it is configured, at its random weights; needs no corpus."""
        config, inputs = cls._read_settings(Path(folder))
        torch.manual_seed(config.trainer.seed)
        return cls(Path(folder), config, build_model(config, inputs.blocks, inputs.tasks))

    @cached_property
    def corpus(self) -> Corpus:
        """The molecules, on the run's device."""
        return Corpus(self.config, resolve_device(self.config.trainer.device))

    @property
    def data_digest(self) -> str:
        """What tells the corpus's stores from others."""
        kinds = [block.kind for block in self.corpus.blocks]
        return " ".join(store_digest(part.store, kinds) for part in self.corpus.parts)

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

    @staticmethod
    def _with_whole_paths(config: PretrainConfig) -> PretrainConfig:
        supervised = config.objectives.supervised.store
        return config.with_settings(
            {
                "corpus.stores": [str(Path(store).resolve()) for store in config.corpus.stores],
                "objectives.supervised.store": str(Path(supervised).resolve())
                if supervised
                else "",
                "backbone.weights": whole_weights_path(config.backbone.weights),
            }
        )
