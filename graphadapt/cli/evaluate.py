"""``graphadapt evaluate``: a trained run's metrics on one part of its split."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphadapt.cli.composition import parse_composition
from graphadapt.cli.trained import open_trained
from graphadapt.errors import ConfigError

if TYPE_CHECKING:
    from graphadapt.report.evaluation import PartReport
    from graphadapt.run import Run

__all__ = ["evaluate"]


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--part",
    type=click.Choice(["test", "valid", "train"]),
    default="test",
    show_default=True,
    help="Cells to score.",
)
@click.option(
    "--composition",
    default="all",
    show_default=True,
    metavar="all|each|TASK=WEIGHT,...",
    help="Tasks that are asked together: all alike, each by itself, or a weighted mix.",
)
@click.option(
    "--without-shared-molecules",
    "unshared",
    is_flag=True,
    help="Show the tasks without molecules that train another task.",
)
@click.option("--awa", is_flag=True, help="Measure adapter weight allocation on validation cells.")
@click.option(
    "--weights", type=click.Choice(["best", "last"]), help="Checkpoint; default is what it keeps."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the result to this JSON file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def evaluate(
    run: Path,
    part: str,
    composition: str,
    unshared: bool,
    awa: bool,
    weights: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Score the trained RUN on its test cells, task by task.

    Means are given with and without the molecules that train another task. The composition
    matters only to a model with adapters inside its backbone.
    """
    from graphadapt.report.allocation import allocation_table, measure_allocation
    from graphadapt.report.evaluation import evaluate_part
    from graphadapt.report.routing import describe_routing, routing_table

    if output is not None:
        _check_place(output)
    opened = open_trained(run, weights)
    if awa and opened.model.routing is None:
        raise ConfigError(f"{run} has no adapters, so there is no allocation to measure with --awa")
    names = [task.name for task in opened.inputs.tasks]
    scores = evaluate_part(opened, part, parse_composition(composition, names))
    routing = describe_routing(opened.model)
    reports = measure_allocation(opened) if awa else {}
    result = {
        "run": str(run),
        "weights": weights or opened.config.trainer.keep,
        "composition_matters": bool(opened.model.sites),
        **scores.to_dict(),
        "routing": {site: found.to_dict() for site, found in routing.items()},
        "awa": {kind: report.to_dict() for kind, report in reports.items()},
    }
    if output is not None:
        _write(output, result)
    if as_json:
        click.echo(json.dumps(result, indent=1))
        return
    click.echo("\n".join(_lines(opened, scores, unshared=unshared)))
    if routing:
        click.echo(f"\n{routing_table(routing)}")
    if reports:
        click.echo(f"\nadapter weight allocation on validation cells\n{allocation_table(reports)}")


def _check_place(path: Path) -> None:
    """Say before minutes of work that the result could not be written, or over what."""
    if path.exists() and not _is_replaceable(path):
        raise ConfigError(
            f"{path} exists and is not a result of `graphadapt evaluate`; choose another file"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written: {path.parent} is read-only for this user")


def _is_replaceable(path: Path) -> bool:
    """Whether a file holds an earlier result, or nothing."""
    if not path.is_file():
        return False
    try:
        held = json.loads(path.read_text("utf-8") or "null")
    except ValueError:
        return False
    return held is None or (isinstance(held, dict) and {"run", "part", "everything"} <= held.keys())


def _write(path: Path, result: dict[str, Any]) -> None:
    from graphadapt.trainer.checkpoint import write_text

    write_text(path, json.dumps(result, indent=1) + "\n")


def _lines(run: "Run", scores: "PartReport", *, unshared: bool) -> list[str]:
    from graphadapt.report.evaluation import task_table

    shown = scores.unshared if unshared else scores.everything
    lines = [_heading(run, scores), "", task_table(shown), ""]
    lines += [f"skipped {task}: {reason}" for task, reason in shown.skipped.items()]
    lines.append(f"mean over all cells: {_means(scores.everything.mean)}")
    if not scores.shared:
        return [*lines, "no cell is of a molecule that trains another task"]
    lines.append(
        f"mean without the {scores.shared:,} cells ({scores.shared / scores.cells:.1%}) of "
        f"molecules that train another task: {_means(scores.unshared.mean)}"
    )
    return lines


def _heading(run: "Run", scores: "PartReport") -> str:
    text = f"{run.folder}: {scores.cells:,} {scores.part} cells"
    if not run.model.sites:
        return f"{text}, every task by its own routes (no adapters inside the backbone)"
    if isinstance(scores.composition, str):
        return f"{text}, each task asked by itself"
    weights = list(scores.composition.values())
    if len(weights) == 1:
        return f"{text}, asked for task {next(iter(scores.composition))} alone"
    if len(weights) == len(run.inputs.tasks) and max(weights) - min(weights) < 1e-6:
        return f"{text}, all {len(weights)} tasks asked together, weighed alike"
    mix = ", ".join(f"{name}={weight:.3g}" for name, weight in scores.composition.items())
    return f"{text}, composition {mix}"


def _means(mean: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in mean.items()) or "none"
