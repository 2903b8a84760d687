"""What runs of every kind share: settings and a model that are trained to their end in a folder.

A model's first weights may come from elsewhere; after that, a run is what its folder says.
"""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from torch import nn

from graphadapt.assemble import ModelInputs
from graphadapt.backbone.checkpoints import mismatch
from graphadapt.errors import CheckpointError
from graphadapt.trainer.checkpoint import load_state, write_text
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.learner import Learner
from graphadapt.trainer.loop import Trainer, TrainerState
from graphadapt.trainer.precision import resolve_device, resolve_precision
from graphadapt.trainer.run_folder import (
    LAST,
    SETTINGS,
    RunKind,
    check_same_data,
    checkpoint_path,
    read_table,
)
from graphadapt.trainer.start_weights import model_tensors
from graphadapt.trainer.threads import use_threads
from graphadapt.training_config import TrainingSettings

__all__ = ["TrainingRun"]

SettingsT = TypeVar("SettingsT", bound=TrainingSettings)


class TrainingRun(ABC, Generic[SettingsT]):
    """A configured model and the folder that its training fills.

    A kind of run says how one is made and opened, and what its trainer learns from.
    """

    kind: ClassVar[RunKind]
    settings_class: ClassVar[type[Any]]

    folder: Path
    config: SettingsT
    model: nn.Module

    @classmethod
    @abstractmethod
    def create(cls, config: SettingsT, folder: Path, *, workers: Workers | None = None) -> Self:
        """A new run, ready to be trained.

        Args:
            config: settings of the run.
            folder: new, empty, or of a run that was stopped before its first checkpoint.
            workers: the processes that train together; the first one writes.

        Raises:
            CheckpointError: if the folder holds a run already, or something else.
        """

    @classmethod
    @abstractmethod
    def open(cls, folder: str | Path, weights: str | None = None) -> Self:
        """The run in a folder, with its model loaded.

        Args:
            folder: where a run was trained.
            weights: ``best``, ``last``, or ``none`` to resume training; default is what
                ``trainer.keep`` says.

        Raises:
            CheckpointError: if the folder holds no such run, or no checkpoint of that name.
        """

    @classmethod
    def trained(cls, config: SettingsT, folder: Path, *, shown: bool = True) -> Self:
        """The run of these settings in this folder, trained to its end.

        One that was stopped goes on, one that is finished is opened.

        Raises:
            CheckpointError: if the folder holds a run of other settings, or something else.
        """
        return cls._trained(config, folder, shown=shown)

    @classmethod
    def _trained(cls, config: SettingsT, folder: Path, *, shown: bool, **network: Any) -> Self:
        """As :meth:`trained`; ``network`` goes to :meth:`create` and :meth:`open`."""
        if not (folder / LAST).exists():
            cls.create(config, folder, **network).train(shown=shown)
            return cls.open(folder, **network)
        found = cls.settings(folder)
        wanted = cls._with_whole_paths(config)
        if wanted.trainer.precision == "auto":  # which a run decides
            wanted = wanted.with_settings({"trainer.precision": found.trainer.precision})
        if found != wanted:
            raise CheckpointError(
                f"{folder} holds a run of other settings; remove it or choose another folder"
            )
        if not load_state(folder / LAST).get("finished"):
            cls.open(folder, "none", **network).train(resume=True, shown=shown)
        return cls.open(folder, **network)

    @classmethod
    def settings(cls, folder: str | Path) -> SettingsT:
        """Settings of the run in a folder, without loading anything else."""
        return cls._read_settings(Path(folder))[0]

    @property
    def is_finished(self) -> bool:
        """Whether the run was trained to its end."""
        path = self.folder / LAST
        return path.exists() and bool(load_state(path).get("finished"))

    @property
    @abstractmethod
    def data_digest(self) -> str:
        """What tells the data that it trains on from other data."""

    @abstractmethod
    def learner(self, processes: int = 1) -> Learner:
        """The model with what each step asks of it; moves the model to the run's device.

        Args:
            processes: how many share every batch.
        """

    def trainer(
        self, *, resume: bool = False, workers: Workers | None = None, shown: bool = True
    ) -> Trainer:
        """What trains the run, ready for its next step.

        Args:
            resume: stand where the last checkpoint does, if there is one.
            workers: the processes that train together.
            shown: whether progress goes to standard error.
        """
        use_threads(self.config.trainer.threads)
        workers = workers or Workers()
        trainer = Trainer(
            self.learner(workers.world),
            self.config.trainer,
            self.folder,
            workers=workers,
            shown=shown,
            data=self.data_digest,
        )
        if resume:
            trainer.resume()
        return trainer

    def train(
        self, *, resume: bool = False, workers: Workers | None = None, shown: bool = True
    ) -> TrainerState:
        """Train to the end, or go on from the last checkpoint.

        Raises:
            Interrupted: after Ctrl-C, once the last checkpoint is written.
        """
        return self.trainer(resume=resume, workers=workers, shown=shown).fit()

    @property
    def _model_origin(self) -> str:
        """What the model was made from, for an error."""
        return "its own settings"

    @staticmethod
    @abstractmethod
    def _with_whole_paths(config: SettingsT) -> SettingsT:
        """Make paths absolute, so that a run opens from wherever it is asked for."""

    @classmethod
    def _resolved(cls, config: SettingsT, workers: Workers) -> SettingsT:
        """Whole paths, and ``auto`` decided once, so that a resumed run computes as it began."""
        device = resolve_device(config.trainer.device)
        precision = workers.agree(resolve_precision(config.trainer.precision, device))
        return cls._with_whole_paths(config).with_settings({"trainer.precision": precision})

    def _check_trained_on(self, data: str) -> None:
        """Refuse data with this mark if the run was trained on other."""
        path = self.folder / LAST
        if path.exists():
            check_same_data(self.folder, load_state(path), data)

    def _load(self, which: str) -> None:
        """Give the model the weights of the ``best`` or ``last`` checkpoint."""
        path = checkpoint_path(self.folder, which)
        tensors = model_tensors(path)
        found = mismatch(self.model, tensors)
        if found:
            raise CheckpointError(f"{path} does not fit {self._model_origin}: {found}")
        self.model.load_state_dict(tensors)

    def _write_settings(self, inputs: ModelInputs) -> None:
        for name, table in (
            (self.kind.inputs, inputs.to_dict()),
            (SETTINGS, self.config.to_dict()),
        ):
            write_text(self.folder / name, json.dumps(table, indent=1))

    @classmethod
    def _read_settings(cls, folder: Path) -> tuple[SettingsT, ModelInputs]:
        config = read_table(folder, SETTINGS, cls.kind)
        inputs = read_table(folder, cls.kind.inputs, cls.kind)
        try:
            return cls.settings_class.from_dict(config), ModelInputs.from_dict(inputs)
        except KeyError as error:
            raise CheckpointError(
                f"{folder} is damaged: its {cls.kind.inputs} lacks {error}"
            ) from error
        except (AttributeError, TypeError) as error:
            raise CheckpointError(
                f"{folder} is damaged: its {cls.kind.inputs} cannot be read: {error}"
            ) from error
