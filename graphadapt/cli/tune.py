"""``graphadapt tune``: the fastest settings for a bundle on this machine, by measurement."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from graphadapt.serve.tune import Trial

__all__ = ["tune"]


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("source", required=False, metavar="[FILE]")
@click.option("--smiles", "smiles_column", metavar="COLUMN", help="SMILES column of FILE.")
@click.option(
    "--blocks",
    type=click.IntRange(min=1),
    default=7,
    show_default=True,
    help="Turns in which every value is timed.",
)
@click.option(
    "--molecules",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Molecules that are answered together in a turn.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON.")
def tune(
    bundle: Path,
    source: str | None,
    smiles_column: str | None,
    blocks: int,
    molecules: int,
    as_json: bool,
) -> None:
    """Measure how BUNDLE answers fastest on this machine's CPU.

    Threads, memory arena, graph optimisation and batch size are tried one after the other, on the
    molecules of FILE (.csv, .tsv, .smi, .parquet), or on the bundle's own probes. The fastest are
    kept in tuning.json beside the bundle, where `graphadapt predict` and every Predictor finds
    them; on another machine, or with another model, the file is left aside.
    """
    from graphadapt.serve.bundle_reader import read_bundle
    from graphadapt.serve.tune import TuningPlan, sample_of
    from graphadapt.serve.tune import tune as measured
    from graphadapt.serve.tuning import check_keepable, machine, write_tuning

    read = read_bundle(bundle)
    check_keepable(read)
    plan = TuningPlan(blocks=blocks, singles=min(24, molecules), together=molecules)
    sample = sample_of(read.contract, _texts(source, smiles_column), molecules)
    tuning, trials = measured(read, sample, plan, shown=True)
    tried = [asdict(trial) for trial in trials]
    path = write_tuning(read, tuning, tried)
    if as_json:
        click.echo(json.dumps({"tuning": asdict(tuning), "machine": machine(), "tried": tried}))
        return
    click.echo(f"{_table(trials)}\n\nthe values marked * are kept in {path}")


def _texts(source: str | None, smiles_column: str | None) -> Sequence[str]:
    """Molecules of the file, or the probes that every bundle is tried on."""
    from graphadapt.data.tables import read_table
    from graphadapt.export.probes import PROBES

    if source is None:
        return PROBES
    return read_table(source, smiles_column=smiles_column, columns=[]).smiles


def _table(trials: "list[Trial]") -> str:
    from graphadapt.report.table import Cell, format_table

    rows: list[list[Cell]] = [
        [
            trial.answers,
            trial.setting.replace("_", " "),
            trial.value,
            trial.milliseconds,
            trial.difference,
            "*" if trial.taken else "",
        ]
        for trial in trials
    ]
    header = ["answers", "setting", "value", "ms a molecule", "differs by", ""]
    return format_table(header, rows)
