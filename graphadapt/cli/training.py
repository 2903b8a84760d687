"""What `train` and `pretrain` share: their options, and a run trained to its end or to Ctrl-C."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graphadapt.cli.settings import INTERRUPTED, parse_settings
from graphadapt.errors import ConfigError
from graphadapt.presets import preset_names

if TYPE_CHECKING:
    from graphadapt.trainer.loop import TrainerState
    from graphadapt.trainer.training_run import TrainingRun

__all__ = ["train_in_folder", "training_options"]

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
        click.option("--resume", is_flag=True, help="Go on from the run folder's last checkpoint."),
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
        pairs: settings to override in it.
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

    if resume and (config or pairs):
        raise ConfigError("--resume takes its settings from the run folder; leave CONFIG and --set")
    if config is not None:
        settings = kind.settings_class.from_toml(config).with_settings(parse_settings(pairs))
    elif resume:
        settings = kind.settings(folder)
    else:
        presets = ", ".join(preset_names(kind.settings_class.presets))
        raise ConfigError(f"give a settings file, a preset ({presets}) or --resume")
    device = resolve_device(settings.trainer.device)
    with _memory_in_one_line(memory), process_group(device) as workers:
        run = (
            kind.open(folder, "none") if resume else kind.create(settings, folder, workers=workers)
        )
        try:
            state = run.train(resume=resume, workers=workers)
        except Interrupted as stop:
            again = f"graphadapt {kind.kind.command} --resume -o {shlex.quote(str(folder))}"
            click.echo(f"{stop}; go on with `{again}`", err=True)
            raise SystemExit(INTERRUPTED) from None
        return state if workers.is_first else None


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
