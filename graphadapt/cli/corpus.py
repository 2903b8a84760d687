"""``graphadapt corpus``: structures to pretrain on, from sets whose labels are left alone."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphadapt.cli.prepare import parse_features
from graphadapt.errors import ConfigError

if TYPE_CHECKING:
    from graphadapt.molecules.features import FeatureBlock

__all__ = ["corpus"]


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "-o", "--output", "store", type=click.Path(path_type=Path), required=True, help="Store to make."
)
@click.option(
    "--apart-from",
    multiple=True,
    metavar="SOURCE",
    help="Take nothing that SOURCE validates or tests on, or holds if it has no split; repeatable.",
)
@click.option("--most", type=click.IntRange(min=1), help="Molecules; default all.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice."
)
@click.option(
    "--features",
    metavar="A,B",
    default="counts,descriptors",
    show_default=True,
    help="Blocks that objectives will predict: counts, descriptors, both, or none.",
)
@click.option("--licence", default="", help="Of sources whose licence is not known here.")
@click.option("--processes", type=click.IntRange(min=1), help="Default one for each core.")
@click.option("--force", "overwrite", is_flag=True, help="Replace a store that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def corpus(
    sources: tuple[str, ...],
    store: Path,
    apart_from: tuple[str, ...],
    most: int | None,
    features: str,
    licence: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Gather the structures of SOURCES, without their labels, for `graphadapt pretrain`.

    A source is a wheel of molsets (MOSES), a store, or whatever `graphadapt prepare` takes.
    Every molecule is taken once, and none that a source's own split validates or tests on.
    """
    from graphadapt.pretraining.config import OBJECTIVE_BLOCKS
    from graphadapt.pretraining.structures import build_structures, read_structures

    blocks = _blocks(features)
    record = build_structures(
        [read_structures(source, licence) for source in sources],
        store,
        blocks,
        apart_from=[read_structures(source) for source in apart_from],
        most=most or 0,
        **settings,
    )
    if as_json:
        click.echo(json.dumps({"store": str(store), **record}))
        return
    for source in record["sources"]:
        left_out = {k: n for k, n in source.items() if k not in ("name", "licence", "molecules")}
        counts = ", ".join(f"{number:,} {fate}" for fate, number in left_out.items())
        click.echo(f"{source['name']}: {source['molecules']:,} molecules, {counts}")
    stores = shlex.quote(f'corpus.stores=["{store}"]')
    held = {block.kind for block in blocks}
    idle = [name for name, kind in OBJECTIVE_BLOCKS.items() if kind not in held]
    off = [f"--set objectives.{name}.weight=0" for name in idle]
    settings_text = " ".join([f"--set {stores}", *off])
    click.echo(f"Next: graphadapt pretrain gin-virtual-node -o RUN {settings_text}")


def _blocks(text: str) -> list["FeatureBlock"]:
    from graphadapt.molecules.features import FeatureBlock

    if text.strip() == "none":
        return []
    kinds, columns = parse_features(text)
    if columns:
        raise ConfigError(
            "a corpus has no columns of its own; use counts, descriptors, both or none"
        )
    return [FeatureBlock.from_dict({"kind": kind}) for kind in kinds]
