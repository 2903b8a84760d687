"""What pretraining is worth: the same probes and adapters on networks that start differently.

    python benchmarks/pretraining.py --data FOLDER

Starts: `ours NAME` (weights that come with graphadapt, or a package of `graphadapt pretrain`),
`random NAME` (the same network, untrained), and the GCN and GraphSAGE that `pretrain-gnns` trained
by context prediction. Ways: `probe` (a linear answer on frozen embeddings), `adapters` (inside the
frozen network, where `--sites` says, and at the readout), `full` (every weight, plain heads).
Embeddings of frozen networks are standardised, as starts differ in scale by a hundred times. Of the
sets under FOLDER and MoleculeACE only training cells train, validation chooses, test is reported.

In ``pretraining_contrastive.json`` the weights ``contrast-W`` are packages of ``graphadapt pretrain
gin-virtual-node``, two epochs of the preset's `assays` alone in 3 layers of width 150, with
``objectives.contrastive.weight=W``.

A comparison that was stopped goes on: rows of the same settings, weights and data are kept, and a
training under way is resumed. Rows of other settings stay in the file beside them.
"""

import argparse
import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from evidence.results import save_results, saved_rows
from graphadapt.backbone.package import bundled_weights
from graphadapt.data.bundled import BUNDLED
from graphadapt.data.store import is_store
from graphadapt.progress import note
from graphadapt.trainer.interrupt import Interrupted
from transfer.case import ADAPTERS, FULL, PROBE, Case, is_outdated, is_row_of
from transfer.starts import PLACES, starts
from transfer.table import metric_of, table

SETS = ("ogbg_molbbbp", "ogbg_moltox21", "ogbg_molsider", "ogbg_molmuv", BUNDLED)
WAYS = (PROBE, ADAPTERS, FULL)


def main() -> None:
    options = parsed()
    rows = saved_rows(options.output)
    gnns = None if options.data is None else Path(options.data) / "pretrained"
    first = starts(options.weights, gnns, options.starts)
    cells = list(product(first, options.sets, options.seeds, options.ways))
    for number, cell in enumerate(cells, start=1):
        case = Case(*cell, options)
        try:
            found = settled(case, rows)
        except (Interrupted, KeyboardInterrupt):
            raise SystemExit(f"stopped at {case.title}; the same command goes on") from None
        note(f"[{number}/{len(cells)}] {case.title}: {found}")
    print(table(rows))


def settled(case: Case, rows: list[dict[str, Any]]) -> str:
    """Measure a case unless its row is there, and save it; says what was found in a few words."""
    if case.seed != case.options.seeds[0] and case.is_without_chance:
        return "as with the first seed, nothing in it is random"
    rows[:] = [row for row in rows if not is_outdated(row, case)]
    held = next((row for row in rows if is_row_of(row, case)), None)
    if held is not None:
        return f"{result(held)}, measured before"
    rows.append(case.row())
    save_results(case.options.output, rows, seeds=sorted({row["seed"] for row in rows}))
    return result(rows[-1])


def result(row: Mapping[str, Any]) -> str:
    """The row's figure and time."""
    metric = metric_of([row])
    return f"{metric} {row['test'].get(metric, float('nan')):.4f} in {row['seconds']:.0f} s"


def parsed() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, nargs="+", default=[*bundled_weights().values()])
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAPHADAPT_DATA"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="or folders of stores")
    parser.add_argument("--starts", nargs="+", default=["random", "ours", "pretrain-gnns"])
    parser.add_argument("--ways", nargs="+", default=[PROBE, ADAPTERS], choices=WAYS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--set-epochs",
        type=set_epochs,
        nargs="+",
        default=[],
        metavar="SET=EPOCHS",
        help="of single sets, such as ogbg_molmuv=3",
    )
    parser.add_argument("--patience", type=int, default=0, help="epochs; 0 never stops early")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--sites",
        default=PLACES[0],
        choices=PLACES,
        help="where adapters sit: top is the last layer and after, the rest is remembered",
    )
    parser.add_argument("--adapters", type=int, default=8, help="at every site")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.2, help="where all weights move")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--runs", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/pretraining.json"))
    options = parser.parse_args()
    options.set_epochs = dict(options.set_epochs)
    fault = fault_of_sets(options)
    if fault:
        parser.error(fault)
    return options


def set_epochs(text: str) -> tuple[str, int]:
    """A set and its epochs."""
    name, _, number = text.partition("=")
    if not name or not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not SET=EPOCHS, such as ogbg_molmuv=3")
    return name, int(number)


def fault_of_sets(options: argparse.Namespace) -> str:
    """Why the sets cannot be compared; empty if they can."""
    named = [name for name in options.sets if name != BUNDLED and not is_store(Path(name))]
    if options.data is None and named:
        return f"{named[0]} is looked for in the folder of --data, or $GRAPHADAPT_DATA"
    names = [Path(name).name for name in options.sets]
    strangers = [name for name in options.set_epochs if name not in names]
    if strangers:
        return f"--set-epochs names {strangers[0]}; the sets are {', '.join(names)}"
    if len(set(names)) < len(names):
        return "two of the sets have one name, by which rows could not be told apart"
    return ""


if __name__ == "__main__":
    main()
