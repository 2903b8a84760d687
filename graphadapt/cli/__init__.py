"""The ``graphadapt`` command: one file a subcommand, loaded when it is called.

A user's mistake is one line on standard error and exit code 1; results go to standard output,
progress to standard error.
"""

import errno
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from graphadapt import __version__
from graphadapt.environment.packages import extras_with
from graphadapt.errors import GraphAdaptError

__all__ = ["main"]

COMMANDS = {
    "corpus": "Gather structures to pretrain on, without labels.",
    "doctor": "Report versions, usable backends and conflicts.",
    "evaluate": "Score a trained run on its validation or test cells.",
    "export": "Freeze a trained run and write an ONNX bundle.",
    "inspect": "Show a run's settings, relation matrix and routing.",
    "predict": "Answer molecules with an exported bundle.",
    "prepare": "Turn molecules and labels into a graph store.",
    "pretrain": "Train a backbone on molecules without labels.",
    "quickstart": "Train, export and predict on bundled data.",
    "train": "Train a composed model from a settings file or preset.",
    "tune": "Measure how a bundle answers fastest on this machine.",
    "verify": "Check that a bundle is intact and answers right.",
}

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where there is no room left; it does not say in which file."""


class _LazyGroup(click.Group):
    """Import a subcommand's module only when it runs, so that ``--help`` needs no torch."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"graphadapt.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(context)])

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        with _one_line():
            return super().make_context(*given, **more)

    def invoke(self, context: click.Context) -> Any:
        try:
            with _one_line():
                return super().invoke(context)
        except KeyboardInterrupt:  # a second one would find Python half torn down
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what a user can cause into one line and exit code 1; faults of the program pass."""
    try:
        yield
    except GraphAdaptError as error:
        raise click.ClickException(" ".join(str(error).split("\n"))) from error
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        text = " ".join(error.format_message().split()).removesuffix(".")
        command = error.ctx.command_path if error.ctx else "graphadapt"
        raise click.ClickException(f"{text}; see `{command} --help`") from error
    except OSError as error:
        if error.filename is None and error.errno not in FULL:  # not the user's doing
            raise
        _drop_output()
        place = "writing" if error.filename is None else error.filename
        raise click.ClickException(f"{place}: {error.strerror}") from error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extras = extras_with(package)
        if not extras:
            raise
        raise click.ClickException(
            f"this command needs the package {package!r}; pip install 'graphadapt[{extras[0]}]'"
        ) from error


def _drop_output() -> None:
    """Forget results that cannot be written, or Python complains of them once more on leaving."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="graphadapt")
def main() -> None:
    """Low-rank adapters for graph networks, from training to serving."""
