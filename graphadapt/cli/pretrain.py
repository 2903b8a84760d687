"""``graphadapt pretrain``: a backbone from molecules without labels, and the file that ships it."""

import json
import shlex
from pathlib import Path
from typing import Any

import click

from graphadapt.cli.training import train_in_folder, training_options
from graphadapt.config import RunConfig
from graphadapt.errors import ConfigError

__all__ = ["pretrain"]


@click.command()
@click.argument("config", required=False)
@training_options("objectives.atoms.weight=2")
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
    from graphadapt.pretraining.package import check_place
    from graphadapt.pretraining.run import PretrainRun

    if package is not None:
        check_place(package, overwrite=force)
    elif licence or force:
        raise ConfigError("--licence and --force are of a package; give its file with --package")
    result: dict[str, Any] = {"run": str(folder)}
    if config or pairs or resume or not package:
        memory = "corpus.batch_size or backbone.width"
        state = train_in_folder(PretrainRun, config, pairs, folder, resume=resume, memory=memory)
        if state is None:
            return
        result |= {"held_out_score": state.best_score, "seconds": round(state.seconds, 1)}
    if package:
        result |= _packaged(folder, package, licence, force)
    if as_json:
        click.echo(json.dumps(result))
        return
    _print_result(folder, package, result)


def _packaged(folder: Path, package: Path, licence: str, force: bool) -> dict[str, Any]:
    from graphadapt.pretraining.package import write_package
    from graphadapt.pretraining.run import PretrainRun

    card = write_package(PretrainRun.open(folder), package, licence=licence, overwrite=force)
    return {
        "package": str(package),
        **card["weights"],
        "figures": card["figures"],
        "backbone": card["backbone"],
    }


def _print_result(folder: Path, package: Path | None, result: dict[str, Any]) -> None:
    if "seconds" in result:
        score = result["held_out_score"]
        shown = "no epoch could be scored; lower trainer.learning_rate"
        if score is not None:
            shown = f"best held-out score {score:.4f}"
        click.echo(f"Pretrained {folder} in {result['seconds']:.0f} s; {shown}")
    if package is None:
        place = shlex.quote(str(folder))
        click.echo(f"Next: graphadapt pretrain -o {place} --package backbone.safetensors")
        return
    for name, value in result["figures"].items():
        click.echo(f"{name:>40}  {value:.4f}")
    click.echo(f"Wrote {package}, {result['bytes'] / 1e6:.1f} MB, and its card")
    click.echo(f"Next: {_use(package, result['backbone'])}")


def _use(package: Path, architecture: dict[str, Any]) -> str:
    """A command that trains on from the package."""
    usual = RunConfig.from_toml("ogb").backbone
    settings = {"data.store": "STORE", "backbone.weights": str(package)} | {
        f"backbone.{name}": value
        for name, value in architecture.items()
        if getattr(usual, name) != value
    }
    pairs = " ".join(f"--set {shlex.quote(f'{k}={v}')}" for k, v in settings.items())
    return f"graphadapt train ogb -o RUN {pairs}"
