"""``graphadapt predict``: answers of an exported bundle for a file or standard input.

The rows of the table stream through: while some are answered, the next are read and those before
are written, and only a few parts of the table are in memory at a time.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphadapt.errors import ConfigError

if TYPE_CHECKING:
    from graphadapt.data.tables import Table
    from graphadapt.serve.part import Predictions
    from graphadapt.serve.predictor import Predictor

    Answers = tuple[Table, Predictions]
    """A part of the table, and what was answered."""

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
    "--composition", metavar="NAME", help="Mix to answer by, in the adapters form; default first."
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Rows that are read and written together.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="That answer side by side; default as tuned, else one for each core.",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="cpu (default), cuda, tensorrt, gpu (cuda, else cpu), or ONNX Runtime's own name; give "
    "several to fall back from each to the next.",
)
@click.option("--strict", is_flag=True, help="Fail where the first provider does not start.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of CSV.")
def predict(
    bundle: Path,
    source: str,
    output: Path | None,
    batch_size: int,
    as_json: bool,
    smiles_column: str | None,
    composition: str | None,
    **settings: Any,
) -> None:
    """Answer every molecule of FILE with an exported BUNDLE.

    FILE is a table (.csv, .tsv, .smi, .parquet) or standard input: CSV with a SMILES column, or
    one SMILES a line. Rows keep their order; one that cannot be answered says why in the column
    "error". Binary tasks are answered by probabilities, others in the task's own units.
    """
    from graphadapt.data.tables import table_parts
    from graphadapt.progress import Progress, note

    if as_json and output is not None:
        raise ConfigError(f"--json is for standard output; {output} is written as its ending says")
    if output is not None:
        _check_apart(source, output)
    predictor = _opened(bundle, **settings)
    for remark in predictor.remarks:
        note(remark)
    mix = predictor.composition(composition) or None
    own = predictor.contract.own_columns
    parts = table_parts(source, smiles_column=smiles_column, columns=own, size=batch_size)
    rows = failed = 0
    with (
        predictor,
        closing(_answered(predictor, _begun(parts), mix)) as answered,
        _written_to(output, predictor, as_json=as_json) as write,
        Progress(None, "predict") as progress,
    ):
        for table, found in answered:
            write((table, found))
            rows, failed = rows + len(table), failed + len(found.failures)
            progress.update(len(table), f"{failed} failed" if failed else "")
    if failed:
        click.echo(f"{failed} of {rows} rows could not be answered", err=True)


def _check_apart(source: str, output: Path) -> None:
    """Refuse to put the answers where the table is that they are of, by whatever name."""
    same = False
    with suppress(OSError):  # one of the two is no file, or not there yet
        same = os.path.samefile(sys.stdin.fileno() if source == "-" else source, output)
    if same:
        table = "standard input" if source == "-" else source
        raise ConfigError(
            f"{output} is the same file as {table}, which the answers would replace; write them to "
            "another file"
        )


def _opened(
    bundle: Path, threads: int | None, providers: tuple[str, ...], strict: bool
) -> "Predictor":
    from graphadapt.serve.predictor import Predictor

    return Predictor(bundle, providers or None, threads, strict=strict)


def _begun(parts: "Iterator[Table]") -> "Iterator[Table]":
    """The same parts, the first of them read: what is wrong with the source shows before output."""
    first = next(parts, None)

    def every() -> "Iterator[Table]":
        if first is not None:
            yield first
            yield from parts

    return every()


def _answered(
    predictor: "Predictor", parts: "Iterator[Table]", mix: str | None
) -> "Generator[Answers, None, None]":
    """Parts of the table with their answers, in order."""
    from graphadapt.molecules.chunk import Chunk
    from graphadapt.molecules.parallel import featurise_chunks

    waiting: deque[Table] = deque()

    def chunks() -> Iterator[Chunk]:
        for table in parts:
            waiting.append(table)
            columns = {name: column.tolist() for name, column in table.columns.items()}
            yield Chunk(table.smiles, predictor.contract.feature_blocks, columns)

    featurised = featurise_chunks(chunks())
    outcomes = (packed.unpack() for packed in featurised)
    for found in predictor.predict_parts(outcomes, composition=mix):
        yield waiting.popleft(), found


@contextmanager
def _written_to(
    output: Path | None, predictor: "Predictor", *, as_json: bool
) -> "Iterator[Callable[[Answers], object]]":
    """What takes answers to the file, or to standard output.

    A file is written by a thread of its own. Standard output is not: what reads it may be slow, and
    Ctrl-C has to reach whoever waits for it.
    """
    from graphadapt.serve.answer_table import answer_table, write_answers
    from graphadapt.serve.background import in_background

    tasks, outputs = predictor.contract.task_names, predictor.contract.outputs
    figure = "applicability" in outputs

    def write(answers: "Answers") -> None:
        part, found = answers
        table.write(part.row_numbers.tolist(), part.smiles, found)

    if output is None:
        table = write_answers(sys.stdout, tasks, as_json=as_json, applicability=figure)
        yield write
        sys.stdout.flush()  # a full disk shows here, not when Python is gone
        return
    with answer_table(output, tasks, applicability=figure) as table, in_background(write) as behind:
        yield behind.put
