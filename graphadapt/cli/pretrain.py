"""``graphadapt pretrain``: a backbone from molecules without labels, and the file that ships it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphadapt.cli.settings import INTERRUPTED, memory_in_one_line, parse_settings
from graphadapt.errors import ConfigError
from graphadapt.pretraining.config import PretrainConfig

if TYPE_CHECKING:
    from graphadapt.trainer.loop import TrainerState

__all__ = ["pretrain"]


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
    help="Override one setting, such as objectives.atoms.weight=2; may be repeated.",
)
@click.option("--resume", is_flag=True, help="Go on from the run folder's last checkpoint.")
@click.option(
    "--package",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the backbone alone to this .safetensors file, and its card beside it.",
)
@click.option("--licence", default="", help="Of the package; default that of its data together.")
@click.option("--force", is_flag=True, help="Replace a package that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def pretrain(
    config: str | None,
    folder: Path,
    pairs: tuple[str, ...],
    resume: bool,
    package: Path | None,
    licence: str,
    force: bool,
    as_json: bool,
) -> None:
    """Pretrain a backbone as CONFIG says: a TOML file or the name of a pretraining preset.

    With --resume the settings come from the run folder; with --package and without CONFIG a
    finished run is packaged. Several processes train together under
    `torchrun --nproc-per-node N -m graphadapt pretrain ...`.
    """
    if resume and (config or pairs):
        raise ConfigError("--resume takes its settings from the run folder; leave CONFIG and --set")
    result: dict[str, Any] = {"run": str(folder)}
    if config or resume or not package:
        state = _trained(config, folder, pairs, resume)
        if state is None:
            return
        result |= {"held_out_score": state.best_score, "seconds": round(state.seconds, 1)}
    if package:
        result |= _packaged(folder, package, licence, force)
    if as_json:
        click.echo(json.dumps(result))
        return
    _print_result(folder, package, result)


def _trained(
    config: str | None, folder: Path, pairs: tuple[str, ...], resume: bool
) -> "TrainerState | None":
    """Train to the end; None in all processes but the first."""
    from graphadapt.pretraining.run import PretrainRun
    from graphadapt.trainer.distributed import process_group
    from graphadapt.trainer.interrupt import Interrupted
    from graphadapt.trainer.precision import resolve_device

    settings = PretrainRun.settings(folder) if resume else _new_settings(config, pairs)
    device = resolve_device(settings.trainer.device)
    with (
        memory_in_one_line("corpus.batch_size or backbone.width"),
        process_group(device) as workers,
    ):
        if resume:
            run = PretrainRun.open(folder, "none")
        else:
            run = PretrainRun.create(settings, folder, workers=workers)
        try:
            state = run.train(resume=resume, workers=workers)
        except Interrupted as stop:
            click.echo(f"{stop}; go on with `graphadapt pretrain --resume -o {folder}`", err=True)
            raise SystemExit(INTERRUPTED) from None
        return state if workers.is_first else None


def _new_settings(config: str | None, pairs: tuple[str, ...]) -> PretrainConfig:
    if config is None:
        raise ConfigError("give a settings file or a pretraining preset, --resume, or --package")
    return PretrainConfig.from_toml(config).with_settings(parse_settings(pairs))


def _packaged(folder: Path, package: Path, licence: str, force: bool) -> dict[str, Any]:
    from graphadapt.pretraining.package import write_package
    from graphadapt.pretraining.run import PretrainRun

    card = write_package(PretrainRun.open(folder), package, licence=licence, overwrite=force)
    return {"package": str(package), **card["weights"], "figures": card["figures"]}


def _print_result(folder: Path, package: Path | None, result: dict[str, Any]) -> None:
    if "seconds" in result:
        click.echo(
            f"Pretrained {folder} in {result['seconds']:.0f} s; "
            f"best held-out score {result['held_out_score']:.4f}"
        )
    if package is None:
        click.echo(f"Next: graphadapt pretrain -o {folder} --package backbone.safetensors")
        return
    for name, value in result["figures"].items():
        click.echo(f"{name:>40}  {value:.4f}")
    click.echo(f"Wrote {package}, {result['bytes'] / 1e6:.1f} MB, and its card")
    click.echo(f"Next: graphadapt train ogb --set backbone.weights={package} ...")
