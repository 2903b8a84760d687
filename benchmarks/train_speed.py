"""How fast is training on a CPU: beside other libraries, with less to train, with more molecules?

    python benchmarks/train_speed.py --data FOLDER [--parts peers adapters growth products]
    python benchmarks/train_speed.py --small

The network is OGB's GIN with a virtual node, 5 layers of 300, on a sample of tox21 and muv (FOLDER
holds ``ogb/ogbg_mol{tox21,muv}``; without it MoleculeACE, which comes with the package). What is
compared takes turns in blocks of one process, on all cores and on the same batches; a step is
everything from the molecules' columns or objects to the optimiser. Every part is saved in a file
of its own, ``train_speed_PART.json``.

``peers``: full fine-tuning by graphadapt, PyTorch Geometric and DGL with ``dgl.batch``; theirs as
their examples are written, and at their best settings, where putting batches together costs
nothing because every batch is there before the clock starts. What bfloat16 does to answers and
gradients stands beside it, where it is used.

``adapters``: adapters, routing and heads on a frozen backbone, beside our own full fine-tuning in
the same precision, which has plain heads. K and R are the package's defaults. The libraries have
no adapters of this kind and stand in ``peers`` alone.

``growth``: full fine-tuning with more and more molecules of ogbg-molpcba's sizes; a fixed number of
steps at each.

``products``: a layer's matrix products as PyTorch takes them, and by oneDNN.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from evidence.checks import spread
from evidence.results import machine, save_results
from evidence.tables import markdown_table
from graphadapt.data.store import GraphStore
from graphadapt.trainer.precision import resolve_precision
from graphadapt.trainer.threads import use_threads
from train_growth import growth_rows
from training_speed.adapters import adapter_rows
from training_speed.molecules import molpcba_sizes, sample_store
from training_speed.peers import LIBRARIES, peer_rows
from training_speed.plan import Plan
from training_speed.precision import accuracy_rows
from training_speed.products import product_rows

__all__ = ["table"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAPHADAPT_DATA"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        help="by default where this processor gains by it",
    )
    parser.add_argument("--threads", type=int, help="all cores by default")
    parser.add_argument("--molecules", type=int, default=Plan.molecules)
    parser.add_argument("--sizes", type=int, nargs="+", default=Plan.sizes, help="for growth")
    parser.add_argument("--blocks", type=int, default=Plan.blocks)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--small", action="store_true", help="a tiny network, one block, one thread"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder")
    options = parser.parse_args()
    plan = chosen_plan(options)
    use_threads(plan.threads)
    with tempfile.TemporaryDirectory() as folder:
        store = sample_store(plan.data, Path(folder) / "store", plan.molecules, plan.seed)
        for part in options.parts:
            rows = [setup(plan, store), *PARTS[part](plan, store)]
            print(table(rows) + "\n")
            save_results(options.output / f"train_speed_{part}.json", rows, seeds=[plan.seed])


def chosen_plan(options: argparse.Namespace) -> Plan:
    plan = Plan(
        data=options.data and Path(options.data),
        threads=1 if options.small else options.threads or machine()["cores"],
        peers=tuple(options.peers),
        precisions=precisions(options.bfloat16),
        molecules=options.molecules,
        blocks=options.blocks,
        sizes=tuple(options.sizes),
        seed=options.seed,
    )
    if options.small:
        return replace(plan.smaller(), precisions=precisions(True))
    return plan


def precisions(reduced: bool | None) -> tuple[str, ...]:
    """Float32, and bfloat16 if it is asked for, or by default where this processor gains by it."""
    if reduced is None:
        reduced = resolve_precision("auto", torch.device("cpu")) == "bfloat16"
    return ("float32", "bfloat16") if reduced else ("float32",)


def peers(plan: Plan, store: GraphStore) -> Iterator[dict[str, Any]]:
    yield from accuracy_rows(plan, store)
    yield from peer_rows(plan, store)


def growth(plan: Plan, store: GraphStore) -> Iterator[dict[str, Any]]:
    return growth_rows(
        store,
        plan.sizes,
        molpcba_sizes(plan.data),
        plan.settings(plan.batches[0], plan.precisions[-1]),
        rounds=plan.rounds,
        steps=plan.steps,
        threads=plan.threads,
        seed=plan.seed,
    )


PARTS: Mapping[str, Callable[[Plan, GraphStore], Iterator[dict[str, Any]]]] = {
    "peers": peers,
    "adapters": adapter_rows,
    "growth": growth,
    "products": product_rows,
}


def setup(plan: Plan, store: GraphStore) -> dict[str, Any]:
    """What all rows share."""
    return {
        "sample": len(store),
        "source": store.source,
        "network": f"gin-virtual-node, {plan.layers} x {plan.width}",
        "threads": plan.threads,
        "waiting_threads": os.environ.get("OMP_WAIT_POLICY", "as OpenMP decides"),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One part's rows as tables, in Markdown."""
    found = [lines for lines in (make(rows) for make in TABLES) if lines]
    return "\n\n".join(markdown_table(lines) for lines in found)


def setup_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows if "sample" in row]


def accuracy_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "precision": row["accuracy_of"],
            "beside float32 after": f"{row['steps_before']} steps, batch {row['batch']}",
            "answers off by, %": f"{100 * row['answers_off']:.2g}",
            "gradient off by, %": f"{100 * row['gradient_off']:.2g}",
        }
        for row in rows
        if "accuracy_of" in row
    ]


def rate_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "batch": row["batch"],
            "library": row["library"],
            "setting": row["setting"],
            "precision": row["precision"],
            "molecules/s": round(row["per_second"]),
            "spread, %": f"{100 * row['iqr_s'] / row['median_s']:.1f}",
        }
        for row in rows
        if "library" in row
    ]


def peer_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "batch": row["batch"],
            "case": row["case"],
            "peer": f"{row['peer']}, {row['peer_setting']}, {row['peer_precision']}",
            "ours": row["our_precision"],
            "times faster (quartiles)": spread(row, "times"),
        }
        for row in rows
        if "case" in row
    ]


def adapter_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "what moves": row["moves"],
            "precision": row["precision"],
            "sites x K x R": f"{row['sites']} x {row['count']} x {row['rank']}"
            if "sites" in row
            else "",
            "ms a step": f"{1e3 * row['median_s']:.3g}",
            "times faster (quartiles)": spread(row, "times") if "times" in row else "",
            **remembering(row),
        }
        for row in rows
        if "moves" in row
    ]


def remembering(row: Mapping[str, Any]) -> dict[str, Any]:
    """Columns on what is remembered; empty where nothing is."""
    if "remembering_s" not in row:
        return {"remembering": "", "memory": "", "times faster with remembering": ""}
    return {
        "remembering": f"{row['remembering_s']:.2g} s for {row['remembered']} molecules",
        "memory": f"{row['remembered_mb']:.0f} MB",
        "times faster with remembering": (
            f"{row['times_with_remembering']:.1f} over {row['epochs']} epochs"
        ),
    }


def growth_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "molecules": row["molecules"],
            "of them train": round(row["training_molecules"]),
            "atoms each": round(row["atoms_per_molecule"], 2),
            "ready after, s": round(row["ready_s"], 2),
            "an epoch, s (least and most)": (
                f"{row['epoch_s']:.3g} ({row['epoch_s_low']:.3g} to {row['epoch_s_high']:.3g})"
            ),
            "most memory, MB": round(row["peak_mb"]),
        }
        for row in rows
        if "epoch_s" in row
    ]


def product_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "a layer's product": f"{row['atoms']} atoms, {row['map']}",
            "by": row["product_by"],
            "GFLOP/s": round(row["flop_per_s"] / 1e9),
            "spread, %": f"{100 * row['iqr_s'] / row['median_s']:.1f}",
            "times as fast (quartiles)": spread(row, "times"),
        }
        for row in rows
        if "product_by" in row
    ]


def line_lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "straight line for": {"epoch_s": "an epoch, s", "peak_mb": "memory, MB"}[row["line"]],
            "at none": f"{row['start']:.3g}",
            "for 1,000 more": f"{1000 * row['slope']:.3g}",
            "furthest from it, %": f"{100 * row['furthest']:.1f}",
        }
        for row in rows
        if "line" in row
    ]


TABLES = (
    setup_lines,
    accuracy_lines,
    rate_lines,
    peer_lines,
    adapter_lines,
    growth_lines,
    line_lines,
    product_lines,
)


if __name__ == "__main__":
    main()
