"""``graphadapt export``: a trained run and compositions to an ONNX bundle."""

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
    from graphadapt.export.run_bundle import ExportOptions
    from graphadapt.freeze import Selection
    from graphadapt.run import Run

__all__ = ["export"]


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    "bundle",
    type=click.Path(path_type=Path),
    required=True,
    help="Bundle to write, or folder of the --sweep; one that is there already is replaced.",
)
@click.option("--tasks", metavar="A,B,C", help="Tasks to answer, in this order; default all.")
@click.option(
    "--composition",
    "compositions",
    metavar="TASK=WEIGHT,...",
    multiple=True,
    help="Mix of tasks that the backbone is frozen for; default all requested alike. The adapters "
    "form takes several, as NAME:TASK=WEIGHT,..., or `each`.",
)
@click.option("--mass", type=float, help="Keep the fewest adapters whose weights reach this sum.")
@click.option("--top-m", type=int, help="Keep this many adapters at each site.")
@click.option("--threshold", type=float, help="Keep adapters of at least this weight.")
@click.option(
    "--sweep", is_flag=True, help="Write no bundle, but what every selection keeps and costs."
)
@click.option(
    "--form",
    type=click.Choice(["merged", "adapters", "padded"]),
    default="merged",
    show_default=True,
    help="One plain network; one backbone and an adapter file a composition; or molecules padded "
    "to few shapes, for CUDA graphs and Triton.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="fp16 is for GPUs, int8 for CPUs; what it costs on validation is measured.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Accept what a lower precision costs, whatever it is and where it cannot be measured too; "
    "int8 needs the run's molecules all the same, which set its scales.",
)
@click.option(
    "--calibrate",
    type=click.Choice(["temperature", "isotonic", "none"]),
    show_default="temperature",
    help="Map from logits to probabilities, fitted on validation for each binary task: one number, "
    "or a rising table, which ties molecules beyond its ends and wants more cells.",
)
@click.option("--no-calibrate", is_flag=True, help="Another word for --calibrate none.")
@click.option(
    "--applicability/--no-applicability",
    default=True,
    help="Answer how typical each molecule is of the training data.",
)
@click.option(
    "--triton",
    type=click.Path(path_type=Path),
    help="Write a Triton model repository too, to this folder.",
)
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
    compositions: tuple[str, ...],
    sweep: bool,
    triton: Path | None,
    weights: str | None,
    repeats: int,
    as_json: bool,
    **rules: Any,
) -> None:
    """Freeze the trained RUN and write it as an ONNX bundle.

    By default everything is merged into plain weights, so that a bundle costs what its backbone
    costs. The file is compared with the model in float64 before anything is written.
    """
    from graphadapt.export.run_bundle import ExportOptions
    from graphadapt.freeze import Selection

    rules["calibrate"] = _calibration(rules["calibrate"], refused=rules.pop("no_calibrate"))
    names = ("form", "precision", "force", "calibrate", "applicability")
    options = ExportOptions(**{name: rules.pop(name) for name in names})
    selection = Selection(**rules)
    if sweep and selection != Selection():
        raise ConfigError("--sweep tries every selection; leave --mass, --top-m, --threshold out")
    if sweep and (triton is not None or options != ExportOptions()):
        raise ConfigError(
            "--sweep writes no bundle; leave --triton and the options of form and precision out"
        )
    asked = _asked(tasks)
    _check(bundle, triton, options, sweep=sweep)
    opened = open_trained(run, weights)
    if sweep:
        _sweep(opened, bundle, asked, compositions, as_json=as_json)
        return
    contract = _write(opened, bundle, asked, compositions, selection, options, repeats)
    if triton is not None:
        from graphadapt.export.triton import write_triton

        write_triton(bundle, triton)
    _say(bundle, contract, as_json=as_json)


def _calibration(word: str | None, *, refused: bool) -> str:
    """One word of two options, of which one may be given."""
    if refused and word is not None:
        raise ConfigError(f"--no-calibrate and --calibrate {word} exclude each other; give one")
    return word or ("none" if refused else "temperature")


def _asked(tasks: str | None) -> list[str]:
    """Names of the requested tasks; none where all are meant."""
    names = parse_names(tasks)
    if tasks is not None and not names:
        raise ConfigError(f"--tasks {tasks!r} names no task; name one or more, or leave it out")
    return names


def _say(bundle: Path, contract: "BundleContract", *, as_json: bool) -> None:
    from graphadapt.cli.export_summary import summary_of

    click.echo(contract.to_text() if as_json else summary_of(bundle, contract))


def _check(bundle: Path, triton: Path | None, options: "ExportOptions", *, sweep: bool) -> None:
    """Refuse what cannot be written before any work."""
    from graphadapt.export.bundle_folder import check_target

    if sweep:
        from graphadapt.export.sweep import check_sweep_target

        check_sweep_target(bundle)
        return
    check_target(bundle)
    if triton is not None:
        from graphadapt.export.triton import check_repository

        if options.form != "padded":
            raise ConfigError(
                "Triton batches only molecules of one shape: --triton goes with --form padded"
            )
        check_repository(triton, bundle)


def _sweep(
    run: "Run", folder: Path, tasks: list[str], compositions: tuple[str, ...], *, as_json: bool
) -> None:
    import json

    from graphadapt.export.sweep import sweep_run, write_sweep
    from graphadapt.progress import note
    from graphadapt.report.trade_off import trade_off_table

    names = [task.name for task in run.inputs.tasks]
    found = sweep_run(run, tasks=tasks, composition_T=_single(compositions, names))
    write_sweep(folder, found, f"{run.folder.resolve().name}: adapters kept")
    plain = [each.to_dict() for each in found]
    click.echo(json.dumps(plain, indent=1) if as_json else trade_off_table(found))
    note(f"every task's gap, a picture and the numbers are in {folder}")


def _write(
    run: "Run",
    bundle: Path,
    tasks: list[str],
    compositions: tuple[str, ...],
    selection: "Selection",
    options: "ExportOptions",
    repeats: int,
) -> "BundleContract":
    from graphadapt.export import run_bundle
    from graphadapt.export.repeated_runs import ParityPlan

    names = [task.name for task in run.inputs.tasks]
    settings: dict[str, Any] = {
        "tasks": tasks,
        "selection": selection,
        "options": options,
        "plan": ParityPlan(repeats=repeats),
    }
    if options.form == "adapters":
        several = _several(compositions, tasks or names, names)
        return run_bundle.export_compositions(run, bundle, several, **settings)
    single_T = _single(compositions, names)
    return run_bundle.export_run(run, bundle, composition_T=single_T, **settings)[0]


def _single(texts: tuple[str, ...], names: list[str]) -> "Tensor | None":
    if len(texts) > 1:
        raise ConfigError(f"{len(texts)} compositions are for --form adapters; give one")
    if not texts:
        return None
    found = parse_composition(texts[0], names)
    if isinstance(found, str):
        raise ConfigError(
            "--composition each is no single network; take --form adapters, or export the tasks "
            "one by one"
        )
    return found


def _several(texts: tuple[str, ...], asked: list[str], names: list[str]) -> "dict[str, Tensor]":
    """By name; without any, all requested tasks alike, and then each by itself."""
    from graphadapt.routing.composition import single_task, uniform_composition

    each = {task: single_task(task, names) for task in asked}
    if not texts:
        everything = "all requested" if "all" in asked else "all"
        return {everything: uniform_composition(asked, names)} | each
    found: dict[str, Tensor] = {}
    for text in texts:
        name, mix = _named(text, names)
        added = each if isinstance(mix, str) else {name: mix}
        twice = found.keys() & added.keys()
        if twice:
            raise ConfigError(f"two compositions are called {min(twice)!r}; name each once")
        found |= added
    return found


def _named(text: str, names: list[str]) -> "tuple[str, Tensor | str]":
    """``NAME:MIX`` in its two parts; a mix alone, whose tasks may have colons, is its own name."""
    name, colon, rest = (part.strip() for part in text.partition(":"))
    try:
        return text.strip(), parse_composition(text.strip(), names)
    except ConfigError:
        if not colon:
            raise
    mix = parse_composition(rest, names)
    if not name or isinstance(mix, str):
        raise ConfigError(
            f"composition {text!r} cannot be read; write NAME:TASK=WEIGHT,..., or `each` alone, "
            "which names every task's own"
        )
    return name, mix
