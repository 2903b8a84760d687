"""``graphadapt train``: from a settings file or preset to a run folder."""

import json
import shlex
from pathlib import Path

import click

from graphadapt.cli.training import train_in_folder, training_options

__all__ = ["train"]


@click.command()
@click.argument("config", required=False)
@training_options("trainer.epochs=3")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(
    config: str | None, folder: Path, pairs: tuple[str, ...], resume: bool, as_json: bool
) -> None:
    """Train a composed model as CONFIG says: a TOML file or the name of a preset.

    With --resume the settings come from the run folder. Several processes train
    together under `torchrun --nproc-per-node N -m graphadapt train ...`.
    """
    from graphadapt.run import Run

    memory = "sampler.batch_size, backbone.width or adapters.count"
    state = train_in_folder(Run, config, pairs, folder, resume=resume, memory=memory)
    if state is not None:
        _print_result(folder, state.best_epoch, state.best_score, state.seconds, as_json)


def _print_result(
    folder: Path, epoch: int, score: float | None, seconds: float, as_json: bool
) -> None:
    result = {
        "run": str(folder),
        "best_epoch": epoch,
        "best_validation_score": score,
        "seconds": round(seconds, 1),
    }
    if as_json:
        click.echo(json.dumps(result))
        return
    shown = "no task could be scored on validation cells, so the last weights count as the best"
    if score is not None:
        shown = f"best validation score {score:.4f}"
    click.echo(f"Trained {folder} in {seconds:.0f} s; {shown}")
    click.echo(f"Next: graphadapt evaluate {shlex.quote(str(folder))}")
