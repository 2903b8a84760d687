"""``graphadapt predict``: answers of a bundle for molecules from a file or standard input."""

import sys
from contextlib import ExitStack
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from graphadapt.serve.answer_table import AnswerTable

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
