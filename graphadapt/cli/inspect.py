"""``graphadapt inspect``: what a run, settings, a store or a bundle holds."""

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from graphadapt.backbone.package import bundled_weights, card_path
from graphadapt.config import RunConfig
from graphadapt.errors import ConfigError
from graphadapt.presets import preset_names, read_settings
from graphadapt.pretraining.config import PRESETS, PretrainConfig

if TYPE_CHECKING:
    from graphadapt.report.summary import Summary

__all__ = ["Target", "inspect", "target_kind"]

Target = Literal[
    "run", "pretraining", "settings", "pretraining settings", "store", "bundle", "weights"
]

MARKS: dict[str, Target] = {
    "targets.json": "pretraining",
    "config.json": "run",
    "store.json": "store",
    "bundle.json": "bundle",
}
"""The file that tells what a folder is; the first that is there."""

OWN_SECTIONS = {item.name for item in fields(PretrainConfig)} - {
    item.name for item in fields(RunConfig)
}
"""Sections that only settings of pretraining have."""


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

    TARGET is a run folder, a settings file or preset, a graph store, an exported bundle or a
    package of weights: a run's settings, parameter counts, adapter sites, relation matrix and
    routing; a pretraining run's settings, corpus, objectives and held-out figures; the card of
    weights, in a file or by the name of those that come with graphadapt. Presets of pretraining
    are called pretraining/NAME here.
    """
    kind = target_kind(target)
    if picture is not None and kind != "run":
        what = {"pretraining": "a pretraining run", "store": "a store", "bundle": "a bundle"}
        raise ConfigError(
            f"--plot draws a run's relations and routing; {target} is {what.get(kind, kind)}"
        )
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
    marks = [kind for name, kind in MARKS.items() if (path / name).is_file()]
    if marks:
        return marks[0]
    if path.is_file():
        return _file_kind(path)
    named: dict[str, Target] = {
        **{f"{PRESETS}/{name}": "pretraining settings" for name in preset_names(PRESETS)},
        **dict.fromkeys(preset_names(), "settings"),
        **dict.fromkeys(bundled_weights(), "weights"),
    }
    if target in named:
        return named[target]
    if path.is_dir():
        raise ConfigError(
            f"{target} is a folder without {', '.join(MARKS)}: no run, no store, no bundle"
        )
    raise ConfigError(
        f"{target!r} does not exist; give a run folder, a settings file, a store, a bundle, or the "
        f"name of a preset or of weights: {', '.join(sorted(named))}"
    )


def _file_kind(path: Path) -> Target:
    if path.suffix != ".safetensors":
        return "pretraining settings" if OWN_SECTIONS & {*read_settings(path)} else "settings"
    if not card_path(path).is_file():
        raise ConfigError(
            f"{path} is a file of weights without a card {path.stem}.json beside it; give the run "
            "folder it is in"
        )
    return "weights"


def _summary(kind: Target, target: str, picture: Path | None) -> "Summary":
    if kind == "run":
        from graphadapt.report.run_summary import inspect_run

        return inspect_run(Path(target), picture)
    if kind == "pretraining":
        from graphadapt.report.pretraining_summary import inspect_pretraining

        return inspect_pretraining(Path(target))
    if kind == "pretraining settings":
        from graphadapt.report.pretraining_summary import inspect_pretraining_settings

        named = not Path(target).is_file()
        return inspect_pretraining_settings(target.removeprefix(f"{PRESETS}/") if named else target)
    if kind == "settings":
        from graphadapt.report.run_summary import inspect_settings

        return inspect_settings(target)
    if kind == "store":
        from graphadapt.report.store_summary import inspect_store

        return inspect_store(Path(target))
    if kind == "weights":
        from graphadapt.report.weights_summary import inspect_weights

        return inspect_weights(target)
    from graphadapt.export.bundle_summary import inspect_bundle

    return inspect_bundle(Path(target))
