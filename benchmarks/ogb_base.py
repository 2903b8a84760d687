"""Does the base hold? OGB's GIN with a virtual node on tox21 and toxcast, without adapters.

    python benchmarks/ogb_base.py --data FOLDER --runs runs/ogb_base

FOLDER holds ``ogbg_moltox21`` and ``ogbg_moltoxcast`` in OGB's layout. Protocol as OGB's: the epoch
of the best validation ROC-AUC decides, its test ROC-AUC is reported, mean and standard deviation
over seeds.
"""

import argparse
import os
import statistics
from pathlib import Path

from accuracy.scores import scores
from evidence.results import save_results
from evidence.tables import markdown_table
from graphadapt.config import RunConfig
from graphadapt.data.load import load_source
from graphadapt.data.prepare import prepare
from graphadapt.data.store import is_store
from graphadapt.run import Run

PUBLISHED = {"ogbg_moltox21": (77.6, 0.6), "ogbg_moltoxcast": (66.1, 0.5)}
"""Test ROC-AUC of GIN with a virtual node on OGB's small sets, in percent."""

TRAINER = "graphadapt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAPHADAPT_DATA"))
    parser.add_argument("--runs", type=Path, default=Path("runs/ogb_base"))
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/ogb_base.json"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data FOLDER, the one that holds ogb/")
    rows = []
    for name in options.sets:
        store = prepared(name, options.runs, options.data)
        for seed in options.seeds:
            config = RunConfig.from_toml("ogb").with_settings(
                {
                    "data.store": str(store),
                    "trainer.seed": seed,
                    "trainer.epochs": options.epochs,
                }
            )
            found = scores(Run.trained(config, options.runs / f"{name}-{seed}"))
            rows.append({"set": name, "trainer": TRAINER, "seed": seed, **found})
            save_results(options.output, rows, seeds=options.seeds)
    print(table(rows))


def prepared(name: str, runs: Path, data: Path) -> Path:
    """The set's store, made on first use."""
    store = runs / "stores" / name
    if not is_store(store):
        prepare(load_source(Path(data) / "ogb" / name), store)
    return store


def table(rows: list[dict]) -> str:
    """Mean and deviation over seeds beside the published figure, in Markdown."""
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        auc = [100 * row["test"]["mean"]["rocauc"] for row in rows if row["set"] == name]
        spread = f" ± {statistics.stdev(auc):.2f}" if len(auc) > 1 else ""
        mean, deviation = PUBLISHED[name]
        lines.append(
            {
                "set": name,
                "trained by": rows[0]["trainer"],
                "seeds": len(auc),
                "test ROC-AUC, %": f"{statistics.mean(auc):.2f}{spread}",
                "published": f"{mean} ± {deviation}",
            }
        )
    return markdown_table(lines)


if __name__ == "__main__":
    main()
