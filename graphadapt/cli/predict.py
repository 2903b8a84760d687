"""``graphadapt predict``: answers of a bundle for molecules from a file or standard input."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphadapt.errors import ConfigError

if TYPE_CHECKING:
    from graphadapt.data.tables import Table
    from graphadapt.molecules.outcome import Outcome
    from graphadapt.serve.answer_table import AnswerTable
    from graphadapt.serve.predictor import Predictor

__all__ = ["predict"]


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("source", default="-", metavar="[FILE|-]")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write .csv, .csv.gz, .jsonl or .parquet; default is CSV on standard output.",
)
@click.option("--smiles", "smiles_column", metavar="COLUMN", help="SMILES column of a table.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Molecules whose answers are written together.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Of ONNX Runtime; default one for each core."
)
@click.option(
    "--provider", "providers", multiple=True, help="ONNX Runtime provider; default is the CPU."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of CSV.")
def predict(
    bundle: Path,
    source: str,
    output: Path | None,
    smiles_column: str | None,
    batch_size: int,
    threads: int | None,
    providers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Answer every molecule of FILE with an exported BUNDLE.

    FILE is a table (.csv, .tsv, .smi, .parquet) or standard input: CSV with a SMILES column, or
    one SMILES a line. Rows keep their order; one that cannot be answered says why in the column
    "error". Binary tasks are answered by probabilities, others in the task's own units.
    """
    from graphadapt.data.tables import read_table
    from graphadapt.progress import Progress
    from graphadapt.serve.predictor import Predictor

    if as_json and output is not None:
        raise ConfigError(f"--json is for standard output; {output} is written as its ending says")
    predictor = Predictor(bundle, providers or None, threads)
    own = predictor.contract.own_columns
    table = read_table(source, smiles_column=smiles_column, columns=own)
    failed, start = 0, 0
    with (
        _answers_to(output, predictor, as_json=as_json) as answers,
        Progress(len(table), "predict") as progress,
    ):
        for outcomes in _batches(table, predictor, batch_size):
            rows = slice(start, start + len(outcomes))
            start += len(outcomes)
            found = predictor.predict_outcomes(outcomes)
            answers.write(table.row_numbers[rows].tolist(), table.smiles[rows], found)
            failed += len(found.failures)
            progress.update(len(outcomes), f"{failed} failed" if failed else "")
    if failed:
        click.echo(f"{failed} of {len(table)} rows could not be answered", err=True)


def _batches(table: "Table", predictor: "Predictor", size: int) -> Iterator[list["Outcome"]]:
    """Featurised molecules of the table, so many at a time."""
    from graphadapt.molecules.parallel import featurise_many

    blocks = predictor.contract.feature_blocks
    columns = {name: column.tolist() for name, column in table.columns.items()}
    outcomes = featurise_many(table.smiles, blocks, columns=columns)
    while batch := list(islice(outcomes, size)):
        yield batch


@contextmanager
def _answers_to(
    output: Path | None, predictor: "Predictor", *, as_json: bool
) -> Iterator["AnswerTable"]:
    """The file, or standard output."""
    from graphadapt.serve.answer_table import answer_table, write_answers

    tasks = predictor.contract.task_names
    if output is None:
        yield write_answers(sys.stdout, tasks, as_json=as_json)
        sys.stdout.flush()  # a full disk shows here, not when Python is gone
        return
    with answer_table(output, tasks) as answers:
        yield answers
