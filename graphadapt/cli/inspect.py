"""``graphadapt inspect``: what a run, settings, a store or a bundle holds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from graphadapt.errors import ConfigError
from graphadapt.presets import preset_names

if TYPE_CHECKING:
    from graphadapt.report.summary import Summary

__all__ = ["Target", "inspect", "target_kind"]

Target = Literal["run", "settings", "store", "bundle"]

MARKS: dict[str, Target] = {"config.json": "run", "store.json": "store", "bundle.json": "bundle"}
"""The file that tells what a folder is."""


@click.command()
@click.argument("target")
@click.option(
    "--plot",
    "picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw a run's relation matrix and routing to FILE.png, .svg or .pdf.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(target: str, picture: Path | None, as_json: bool) -> None:
    """Show what TARGET holds.

    TARGET is a run folder, a settings file or preset, a graph store or an exported bundle: a run's
    settings, parameter counts, adapter sites, relation matrix and routing.
    """
    kind = target_kind(target)
    if picture is not None and kind != "run":
        what = "settings" if kind == "settings" else f"a {kind}"
        raise ConfigError(f"--plot draws a run's relations and routing; {target} is {what}")
    found = _summary(kind, target, picture)
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else found.to_text())
    if picture is not None:
        click.echo(f"Drew {picture}", err=True)


def target_kind(target: str) -> Target:
    """Tell what something is by looking at it.

    Raises:
        ConfigError: if it is nothing that can be inspected.
    """
    path = Path(target)
    if path.is_dir():
        for name, kind in MARKS.items():
            if (path / name).is_file():
                return kind
    if path.is_file() or target in preset_names():
        return "settings"
    if path.is_dir():
        raise ConfigError(
            f"{target} is a folder without {', '.join(MARKS)}: no run, no store, no bundle"
        )
    raise ConfigError(
        f"{target!r} does not exist; give a run folder, a settings file, a store, a bundle, or a "
        f"preset: {', '.join(preset_names())}"
    )


def _summary(kind: Target, target: str, picture: Path | None) -> "Summary":
    if kind == "run":
        from graphadapt.report.run_summary import inspect_run

        return inspect_run(Path(target), picture)
    if kind == "settings":
        from graphadapt.report.run_summary import inspect_settings

        return inspect_settings(target)
    if kind == "store":
        from graphadapt.report.store_summary import inspect_store

        return inspect_store(Path(target))
    from graphadapt.export.bundle_summary import inspect_bundle

    return inspect_bundle(Path(target))
