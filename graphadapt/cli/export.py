"""``graphadapt export``: a trained run and a composition to an ONNX bundle."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphadapt.cli.composition import parse_composition
from graphadapt.cli.prepare import parse_names
from graphadapt.cli.trained import open_trained
from graphadapt.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from graphadapt.export.contract import BundleContract

__all__ = ["export"]


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    "bundle",
    type=click.Path(path_type=Path),
    required=True,
    help="Bundle to write; one that is there already is replaced.",
)
@click.option("--tasks", metavar="A,B,C", help="Tasks to answer, in this order; default all.")
@click.option(
    "--composition",
    metavar="TASK=WEIGHT,...",
    help="Mix of tasks that the backbone is frozen for; default all requested alike.",
)
@click.option("--mass", type=float, help="Keep the fewest adapters whose weights reach this sum.")
@click.option("--top-m", type=int, help="Keep this many adapters at each site.")
@click.option("--threshold", type=float, help="Keep adapters of at least this weight.")
@click.option(
    "--weights", type=click.Choice(["best", "last"]), help="Checkpoint; default is what it keeps."
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Runs of each batch size and number of threads that are compared with the model.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the bundle's contract as JSON.")
def export(
    run: Path,
    bundle: Path,
    tasks: str | None,
    composition: str | None,
    weights: str | None,
    repeats: int,
    as_json: bool,
    **rules: Any,
) -> None:
    """Freeze the trained RUN and write it as an ONNX bundle.

    Everything is merged into plain weights, so that a bundle costs what its backbone costs. The
    file is compared with the model in float64 before anything is written.
    """
    from graphadapt.export.bundle import check_target
    from graphadapt.export.parity import ParityPlan
    from graphadapt.export.run_bundle import export_run
    from graphadapt.freeze import Selection

    check_target(bundle)
    selection = Selection(**rules)
    opened = open_trained(run, weights)
    contract, _ = export_run(
        opened,
        bundle,
        tasks=parse_names(tasks),
        composition_T=_composition(composition, [task.name for task in opened.inputs.tasks]),
        selection=selection,
        plan=ParityPlan(repeats=repeats),
    )
    click.echo(contract.to_text() if as_json else _summary(bundle, contract))


def _composition(text: str | None, names: list[str]) -> "Tensor | None":
    if text is None:
        return None
    found = parse_composition(text, names)
    if isinstance(found, str):
        raise ConfigError("--composition each is no single network; export the tasks one by one")
    return found


def _summary(bundle: Path, contract: "BundleContract") -> str:
    parity, gap = contract.parity, contract.metrics["freeze_gap"]
    size = sum(info.size for info in contract.files.values()) / 1e6
    sizes, threads = (", ".join(map(str, each)) for each in (parity.batch_sizes, parity.threads))
    means = ", ".join(f"{metric} {value:+.4f}" for metric, value in gap.get("gap", {}).items())
    return "\n".join(
        [
            f"{bundle}: {_counted(len(contract.tasks), 'task')}, {size:.1f} MB",
            f"largest error {parity.largest_error:.1e} of the answers' scale against float64, "
            f"{parity.repeats} runs at each of batch {sizes} on {threads} threads",
            f"freeze gap on validation: {means or gap.get('missing', 'no metric')}",
            f"next: {_trial(bundle, contract)}",
        ]
    )


def _trial(bundle: Path, contract: "BundleContract") -> str:
    """A command that answers something."""
    place = shlex.quote(str(bundle))
    if contract.own_columns:
        columns = ", ".join(contract.own_columns)
        return f"graphadapt predict {place} TABLE, with SMILES and the columns {columns}"
    return f'echo "CCO" | graphadapt predict {place}'


def _counted(count: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
