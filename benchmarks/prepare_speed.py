"""How fast is preparation beside RDKit's bare parser, how does it grow, and does it go on?

    python benchmarks/prepare_speed.py --data FOLDER
    python benchmarks/prepare_speed.py --small

FOLDER holds ``ogb/ogbg_mol{tox21,toxcast,muv,sider}`` in OGB's layout. Three parts:

- rate: molecules with labels and split in memory to a store on disk, in one process, beside
  ``Chem.MolFromSmiles`` of the same molecules; CPU time, in alternating blocks. As a published set,
  and as a user's table, where molecules are told apart as well.
- growth: time and peak memory of 1,000 to 437,929 molecules (those of the four sets, drawn with
  replacement) with 128 tasks, each in a process of its own; a straight line through both.
- resume: a preparation that is killed half way, the same again, and whether the bytes are those of
  one that was not.
"""

import argparse
import csv
import gzip
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from evidence.checks import spread
from evidence.results import save_results
from evidence.tables import markdown_table
from evidence.timing import alternate, ratio, timing_options
from graphadapt.data.prepare import prepare
from graphadapt.data.source import MoleculeSource
from graphadapt.molecules.process_map import available_cores
from graphadapt.progress import track
from preparation.checks import PUBLISHED, TABLE
from prepare_growth import Growth, growth_tables, labelled_source

SETS = ("tox21", "toxcast", "muv", "sider")
PARSE = "RDKit parse only"

MOLPCBA = 437_929
"""Molecules of ogbg-molpcba."""

SMALL = {
    "small": tuple(
        f"{head}C1CC{ring}CC1{tail}"
        for head in ("CC(=O)Oc1ccccc1", "OC", "[O-]C(=O)", "C[C@H](N)", "F/C=C/")
        for ring in ("C", "N", "O", "S", "CC", "C(C)", "N(C)", "C(=O)", "C(F)(F)", "[Si](C)(C)")
        for tail in ("C", "CC", "O", "OC", "N", "Cl", "C#N", "C(F)(F)F", "c1ccncc1", "S(C)(=O)=O")
    )
}


def main() -> None:
    options = parsed_options()
    sets = SMALL if options.small else {name: molecules(options.data, name) for name in SETS}
    with rdBase.BlockLogs(), tempfile.TemporaryDirectory(dir=options.work) as folder:
        workplace = Path(folder)
        rows = list(rates(sets, options, workplace))
        work = Growth.of(chain.from_iterable(sets.values()), workplace, options.seed)
        rows += work.rows(sizes(options.largest), options.processes, options.repeats)
        rows.append(work.resumed(min(20_000, options.largest)))
    print(table(rows))
    save_results(options.output, rows, seeds=[options.seed])


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAPHADAPT_DATA"))
    parser.add_argument("--sample", type=int, default=4000, help="molecules timed in each set")
    parser.add_argument("--largest", type=int, default=MOLPCBA, help="molecules of the growth")
    parser.add_argument("--repeats", type=int, default=3, help="of each size of the growth")
    parser.add_argument("--processes", type=int, default=available_cores(), help="of the growth")
    parser.add_argument("--work", type=Path, help="where stores are made; default the system's")
    timing_options(
        parser,
        blocks=11,
        output=Path("benchmarks/results/prepare_speed.json"),
        small="built-in molecules, one block",
    )
    options = parser.parse_args()
    if options.small:
        options.blocks, options.repeats, options.largest, options.processes = 1, 1, 4000, 1
    elif options.data is None:
        parser.error("give --data or set GRAPHADAPT_DATA, or use --small")
    return options


def sizes(largest: int) -> list[int]:
    return [*(size for size in (1_000, 10_000, 100_000) if size < largest), largest]


def molecules(data: Path, name: str) -> tuple[str, ...]:
    path = data / "ogb" / f"ogbg_mol{name}" / "mapping" / "mol.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return tuple(row["smiles"] for row in csv.DictReader(file))


def rates(
    sets: Mapping[str, Sequence[str]], options: argparse.Namespace, workplace: Path
) -> Iterator[dict[str, Any]]:
    """Rates and shares of the parse rate for each set, and for a sample of all of them pooled."""
    pooled = {"pooled": list(chain.from_iterable(sets.values()))} if len(sets) > 1 else {}
    groups = {**pooled, **sets}
    for name in track(groups, len(groups), "rates"):
        count = min(options.sample, len(groups[name]))
        picked = random.Random(options.seed).sample(groups[name], count)
        texts = [text for text in picked if Chem.MolFromSmiles(text) is not None]
        work = {
            PARSE: lambda texts=texts: parse(texts),
            PUBLISHED: store_of(labelled_source(texts, options.seed), workplace / "rate"),
            TABLE: store_of(
                labelled_source(texts, options.seed, curated=False), workplace / "rate"
            ),
        }
        timings = alternate(work, blocks=options.blocks, repeats=1, clock=time.process_time)
        for way, timing in timings.items():
            yield {
                "part": "rate",
                "set": name,
                "way": way,
                "molecules": len(texts),
                **timing.row(pieces=len(texts)),
                **ratio(timings[PARSE], timing).row("share_of_parse_rate"),
            }


def parse(texts: Sequence[str]) -> None:
    for text in texts:
        Chem.MolFromSmiles(text)


def store_of(molecules: MoleculeSource, folder: Path) -> Callable[[], None]:
    """Prepare the molecules in this process, with the split that they have."""

    def make() -> None:
        prepare(molecules, folder, processes=1, overwrite=True, shown=False)

    return make


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """All parts as Markdown."""
    rate = [row for row in rows if row["part"] == "rate"]
    return "\n\n".join([*([rate_table(rate)] if rate else []), *growth_tables(rows)])


def rate_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return markdown_table(
        [
            {
                "set": row["set"],
                "molecules": row["molecules"],
                "blocks": row["n"],
                "what": row["way"],
                "molecules/s on one core": round(row["per_second"]),
                "share of RDKit's parse rate (quartiles)": spread(row, "share_of_parse_rate"),
            }
            for row in rows
        ]
    )


if __name__ == "__main__":
    main()
