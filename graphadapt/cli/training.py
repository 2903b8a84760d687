"""What `train` and `pretrain` share: their options, and a run trained to its end or to Ctrl-C."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from graphadapt.cli.settings import INTERRUPTED, parse_settings
from graphadapt.errors import ConfigError
from graphadapt.presets import preset_names

if TYPE_CHECKING:
    from graphadapt.trainer.loop import TrainerState
    from graphadapt.trainer.training_run import TrainingRun

__all__ = ["train_in_folder", "training_options"]

CHANGEABLE: Final = ("trainer.capture", "trainer.checkpoint_seconds")
"""Settings of how a run computes, which may differ from sitting to sitting."""

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def training_options(example: str) -> Callable[[CommandT], CommandT]:
    """The options ``-o``, ``--set`` and ``--resume``, as ``folder``, ``pairs`` and ``resume``.

    Args:
        example: a setting that help shows being overridden.
    """
    options = (
        click.option(
            "-o",
            "--output",
            "folder",
            type=click.Path(path_type=Path),
            required=True,
            help="Run folder to write, or to go on with.",
        ),
        click.option(
            "--set",
            "pairs",
            multiple=True,
            metavar="NAME=VALUE",
            help=f"Override one setting, such as {example}; may be repeated.",
        ),
        click.option(
            "--resume",
            is_flag=True,
            help="Go on from the run folder's last checkpoint; of its settings, --set changes "
            "trainer.capture and trainer.checkpoint_seconds.",
        ),
    )

    def add(command: CommandT) -> CommandT:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def train_in_folder(
    kind: "type[TrainingRun[Any]]",
    config: str | None,
    pairs: Sequence[str],
    folder: Path,
    *,
    resume: bool,
    memory: str,
) -> "TrainerState | None":
    """Train a new run, or go on with the folder's, to the end; Ctrl-C leaves with its exit code.

    Args:
        kind: of the run.
        config: a settings file or preset of this kind.
        pairs: settings to override in it; where a run goes on, only those of how it computes.
        folder: of the run.
        resume: whether the folder holds the run and its settings.
        memory: names of the settings to lower where memory runs out.

    Returns:
        Where training ended; None in all processes but the first.

    Raises:
        ConfigError: if settings are given twice or not at all, or memory runs out.
        CheckpointError: if the folder holds what it should not, or not what it should.
    """
    from graphadapt.trainer.distributed import process_group
    from graphadapt.trainer.interrupt import Interrupted
    from graphadapt.trainer.precision import resolve_device

    changes = parse_settings(pairs)
    if resume:
        _check_changes(config, changes)
        settings = kind.settings(folder)
    elif config is not None:
        settings = kind.settings_class.from_toml(config).with_settings(changes)
    else:
        presets = ", ".join(preset_names(kind.settings_class.presets))
        raise ConfigError(f"give a settings file, a preset ({presets}) or --resume")
    device = resolve_device(settings.trainer.device)
    with _memory_in_one_line(memory), process_group(device) as workers:
        run = (
            kind.open(folder, "none") if resume else kind.create(settings, folder, workers=workers)
        )
        if resume:
            run.config = run.config.with_settings(changes)
        try:
            state = run.train(resume=resume, workers=workers)
        except Interrupted as stop:
            again = f"graphadapt {kind.kind.command} --resume -o {shlex.quote(str(folder))}"
            click.echo(f"{stop}; go on with `{again}`", err=True)
            raise SystemExit(INTERRUPTED) from None
        return state if workers.is_first else None


def _check_changes(config: str | None, changes: Mapping[str, Any]) -> None:
    """Refuse settings for a run that goes on, but those that change nothing of what it computes."""
    if config is not None:
        raise ConfigError("--resume takes its settings from the run folder; leave CONFIG out")
    for name in changes:
        if name not in CHANGEABLE:
            raise ConfigError(
                f"--resume cannot change {name}: the run goes on with its folder's settings; "
                f"--set takes {' and '.join(CHANGEABLE)} here"
            )


@contextmanager
def _memory_in_one_line(settings: str) -> Iterator[None]:
    """Turn torch's failed allocation, a plain RuntimeError on a CPU, into advice."""
    try:
        yield
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise ConfigError(
            f"out of memory ({str(error).splitlines()[0]}); lower {settings}, and go on with "
            "--resume where training had begun"
        ) from error
