"""How commands open a trained run: with a word on standard error if training is not finished."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from graphadapt.run import Run

__all__ = ["open_trained"]


def open_trained(folder: Path, weights: str | None) -> "Run":
    """Open a run with its trained model.

    Raises:
        CheckpointError: if the folder holds no run, or none that has got to a checkpoint.
    """
    from graphadapt.run import Run
    from graphadapt.trainer.run_folder import LAST, read_metrics

    run = Run.open(folder, weights)
    if (folder / LAST).exists() and not run.is_finished:
        done, planned = len(read_metrics(folder)), run.config.trainer.epochs
        click.echo(
            f"note: {folder} is trained for {done} of {planned} epochs; finish it with "
            f"`graphadapt train --resume -o {shlex.quote(str(folder))}`",
            err=True,
        )
    return run
