"""``graphadapt quickstart``: the whole path on bundled data, in minutes."""

import json
from pathlib import Path

import click

from graphadapt.cli.settings import INTERRUPTED, parse_settings

__all__ = ["quickstart"]


@click.command()
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("quickstart"),
    show_default=True,
    help="Folder for runs and bundles; a stopped quickstart goes on from it.",
)
@click.option("--graph-only", is_flag=True, help="Leave count fingerprints out.")
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override one setting of both stages, such as trainer.epochs=1; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def quickstart(folder: Path, graph_only: bool, pairs: tuple[str, ...], as_json: bool) -> None:
    """Train on the bundled MoleculeACE matrix, test, export, and answer with ONNX Runtime.

    30 targets, 35,633 molecules, no network; under 10 minutes on two CPU cores.
    """
    from graphadapt.quickstart import Quickstart
    from graphadapt.trainer.interrupt import Interrupted

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    stages = Quickstart(folder, graph_only=graph_only, settings=parse_settings(pairs), say=say)
    try:
        figures = stages.run()
    except Interrupted as stop:
        click.echo(f"{stop}; go on with the same command", err=True)
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        click.echo(json.dumps(figures))
