"""The ``graphadapt`` command: one file a subcommand, loaded when it is called.

A user's mistake is one line on standard error and exit code 1; results go to standard output,
progress to standard error.
"""

import importlib
from typing import Any

import click

from graphadapt import __version__
from graphadapt.environment.packages import extras_with
from graphadapt.errors import GraphAdaptError

__all__ = ["main"]

COMMANDS = {
    "doctor": "Report versions, usable backends and conflicts.",
    "evaluate": "Score a trained run on its validation or test cells.",
    "export": "Freeze a trained run and write an ONNX bundle.",
    "inspect": "Show a run's settings, relation matrix and routing.",
    "predict": "Answer molecules with an exported bundle.",
    "prepare": "Turn molecules and labels into a graph store.",
    "quickstart": "Train, export and predict on bundled data.",
    "train": "Train a composed model from a settings file or preset.",
}


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

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except GraphAdaptError as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            extras = extras_with(package)
            if not extras:
                raise
            raise click.ClickException(
                f"this command needs the package {package!r}; pip install 'graphadapt[{extras[0]}]'"
            ) from error


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="graphadapt")
def main() -> None:
    """Low-rank adapters for graph networks, from training to serving."""
