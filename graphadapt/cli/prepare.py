"""``graphadapt prepare``: molecules and labels to a graph store."""

import csv
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphadapt.errors import ConfigError

if TYPE_CHECKING:
    from graphadapt.molecules.features import FeatureBlock

__all__ = ["parse_features", "parse_names", "parse_pairs", "prepare"]

_FEATURES = ("counts", "descriptors")
_COLUMNS = "columns:"
_COLUMN_SPLIT = "column:"


@click.command()
@click.argument("source")
@click.option(
    "-o", "--output", "store", type=click.Path(path_type=Path), required=True, help="Store to make."
)
@click.option("--smiles", "smiles_column", metavar="COLUMN", help="SMILES column of a table.")
@click.option("--tasks", metavar="A,B", help="Tasks to keep; default all.")
@click.option(
    "--kind",
    "kinds",
    metavar="TASK=KIND",
    multiple=True,
    help="Say that a task is binary or regression. May be repeated.",
)
@click.option(
    "--units",
    metavar="TASK=UNITS",
    multiple=True,
    help="Units of a task's labels, kept for predictions. May be repeated.",
)
@click.option(
    "--split",
    metavar="SPLIT",
    help="official, scaffold, random or column:NAME; default official, else scaffold.",
)
@click.option(
    "--features",
    metavar="A,B",
    default="",
    help="Molecule-level features: counts, descriptors, columns:NAME,NAME.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random split."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dataset"),
    show_default=True,
    help="Folder of OGB sets, fetched on first use.",
)
@click.option("--processes", type=click.IntRange(min=1), help="Default one for each core.")
@click.option("--force", is_flag=True, help="Replace a store that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def prepare(
    source: str,
    store: Path,
    smiles_column: str | None,
    tasks: str | None,
    kinds: Sequence[str],
    units: Sequence[str],
    split: str | None,
    features: str,
    as_json: bool,
    force: bool,
    root: Path,
    **settings: Any,
) -> None:
    """Turn SOURCE into a graph store, which the other commands read.

    SOURCE is a table (.csv, .tsv, .smi, .parquet; - is standard input), a folder in OGB's layout,
    the name of an OGB molecule set such as ogbg-moltox21, or moleculeace, which comes with
    graphadapt. Rows that cannot be used are counted here and listed in STORE/rejected.csv.
    When it is interrupted, the same command goes on where it stopped.
    """
    from graphadapt.data.load import load_source
    from graphadapt.data.prepare import prepare as prepare_store
    from graphadapt.data.store_writer import check_replaceable

    check_replaceable(store, overwrite=force)
    feature_kinds, columns = parse_features(features)
    molecules = load_source(
        source,
        smiles_column=smiles_column,
        tasks=parse_names(tasks),
        kinds=parse_pairs(kinds, "--kind", ("binary", "regression")),
        units=parse_pairs(units, "--units"),
        columns=columns,
        split_column=_split_column(split),
        root=root,
    )
    report = prepare_store(
        molecules,
        store,
        _blocks(feature_kinds, columns),
        split=split,
        overwrite=force,
        **settings,
    )
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())


def parse_features(text: str) -> tuple[list[str], list[str]]:
    """Kinds of computed features and names of the table's own feature columns.

    Names after ``columns:`` belong to it until a computed kind is named; a name with a comma is
    written in double quotes.

    Example:
        >>> parse_features("counts,columns:pH,dose,descriptors")
        (['counts', 'descriptors'], ['pH', 'dose'])
    """
    kinds: list[str] = []
    columns: list[str] = []
    in_columns = False
    for name in parse_names(text):
        if name in _FEATURES:
            in_columns = False
            kinds.append(name)
        elif name.startswith(_COLUMNS) or in_columns:
            in_columns = True
            columns.append(name.removeprefix(_COLUMNS))
        else:
            raise ConfigError(
                f"--features {name!r} is unknown; use counts, descriptors or columns:NAME,NAME"
            )
    return kinds, columns


def parse_names(text: str | None) -> list[str]:
    """Names parted by commas; one that holds a comma stands in double quotes.

    Example:
        >>> parse_names('NR-AR, "Neoplasms benign, malignant"')
        ['NR-AR', 'Neoplasms benign, malignant']
    """
    cells = next(csv.reader([text or ""], skipinitialspace=True), [])
    return [cell.strip() for cell in cells if cell.strip()]


def parse_pairs(pairs: Sequence[str], option: str, allowed: Collection[str] = ()) -> dict[str, Any]:
    """``["y=binary"]`` to a mapping; the last equals sign parts name and value.

    Raises:
        ConfigError: for a pair without a name or a value, or a value that is not allowed.
    """
    settings = {}
    for pair in pairs:
        name, _, value = pair.rpartition("=")
        if not name or not value or (allowed and value not in allowed):
            choice = " or ".join(allowed) or "UNITS"
            raise ConfigError(f"{option} {pair!r} cannot be read; write it as TASK={choice}")
        settings[name] = value
    return settings


def _split_column(split: str | None) -> str | None:
    is_column = split is not None and split.startswith(_COLUMN_SPLIT)
    return split.removeprefix(_COLUMN_SPLIT) if split and is_column else None


def _blocks(kinds: Sequence[str], columns: Sequence[str]) -> list["FeatureBlock"]:
    from graphadapt.molecules.features import FeatureBlock

    blocks = [FeatureBlock.from_dict({"kind": kind}) for kind in kinds]
    if columns:
        blocks.append(FeatureBlock(kind="columns", columns=tuple(columns)))
    return blocks
