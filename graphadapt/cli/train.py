"""``graphadapt train``: from a settings file or preset to a run folder."""

import json
import shlex
from pathlib import Path

import click

from graphadapt.cli.settings import INTERRUPTED, memory_in_one_line, parse_settings
from graphadapt.config import RunConfig
from graphadapt.errors import ConfigError

__all__ = ["train"]


@click.command()
@click.argument("config", required=False)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Run folder to write, or to go on with.",
)
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override one setting, such as trainer.epochs=3; may be repeated.",
)
@click.option("--resume", is_flag=True, help="Go on from the run folder's last checkpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(
    config: str | None, folder: Path, pairs: tuple[str, ...], resume: bool, as_json: bool
) -> None:
    """Train a composed model as CONFIG says: a TOML file or the name of a preset.

    With --resume the settings come from the run folder. Several processes train
    together under `torchrun --nproc-per-node N -m graphadapt train ...`.
    """
    from graphadapt.run import Run
    from graphadapt.trainer.distributed import process_group
    from graphadapt.trainer.interrupt import Interrupted
    from graphadapt.trainer.precision import resolve_device

    if resume and (config or pairs):
        raise ConfigError("--resume takes its settings from the run folder; leave CONFIG and --set")
    settings = Run.settings(folder) if resume else _new_settings(config, pairs)
    device = resolve_device(settings.trainer.device)
    with (
        memory_in_one_line("sampler.batch_size, backbone.width or adapters.count"),
        process_group(device) as workers,
    ):
        run = Run.open(folder, "none") if resume else Run.create(settings, folder, workers=workers)
        try:
            state = run.train(resume=resume, workers=workers)
        except Interrupted as stop:
            place = shlex.quote(str(folder))
            click.echo(f"{stop}; go on with `graphadapt train --resume -o {place}`", err=True)
            raise SystemExit(INTERRUPTED) from None
        if workers.is_first:
            _print_result(folder, state.best_epoch, state.best_score, state.seconds, as_json)


def _new_settings(config: str | None, pairs: tuple[str, ...]) -> RunConfig:
    if config is None:
        raise ConfigError("give a settings file or a preset, or --resume")
    return RunConfig.from_toml(config).with_settings(parse_settings(pairs))


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
