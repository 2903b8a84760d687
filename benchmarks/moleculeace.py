"""MoleculeACE, official split: the preset `full` beside the plain fingerprint network.

    python benchmarks/moleculeace.py --runs runs/moleculeace

Five runs, each resumable: `fingerprint` (the peer: no graph, no adapter), `graph` (the preset
`full-graph`: the pretrained network trained whole, plain heads), the preset `full` on that network,
frozen: adapters with graphs alone, and with fingerprints; and `graph, random start`: what
`full-graph` gives without pretraining, in twice as many epochs at a higher rate.
"""

import argparse
from pathlib import Path

from accuracy.scores import scores
from evidence.results import save_results
from evidence.tables import markdown_table
from graphadapt.config import RunConfig
from graphadapt.data.bundled import PUBLISHED_RMSE
from graphadapt.run import Run

FROM_RANDOM = {
    "backbone.weights": "",
    "trainer.epochs": 60,
    "trainer.learning_rate": 1.5e-3,
    "trainer.evaluate_every": 4,
}
"""One that starts at random learns longer; its validation stood still when these epochs ended."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/moleculeace"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="Of every run, for a small trial.")
    parser.add_argument("--store", default="moleculeace", help="Another store, for a small trial.")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/moleculeace.json"))
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        graph = options.runs / f"graph-{seed}"
        stages = {
            "fingerprint": ("fingerprint", {}),
            "graph": ("full-graph", {}),
            "full, graph only": (
                "full",
                {"backbone.weights": str(graph), "features.blocks": []},
            ),
            "full": ("full", {"backbone.weights": str(graph)}),
            "graph, random start": ("full-graph", FROM_RANDOM),
        }
        for name, (preset, more) in stages.items():
            settings = {"trainer.seed": seed, "data.store": options.store, **more}
            if options.epochs:
                settings["trainer.epochs"] = options.epochs
            config = RunConfig.from_toml(preset).with_settings(settings)
            folder = options.runs / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            found = scores(Run.trained(config, folder))
            rows.append({"run": name, "seed": seed, **found})
            save_results(options.output, rows, seeds=options.seeds)
    print(table(rows))


def table(rows: list[dict]) -> str:
    """Mean test scores of each run beside the published means, in Markdown."""
    lines = [
        {
            "method": row["run"],
            "test RMSE": round(row["test"]["mean"]["rmse"], 4),
            "cliff RMSE": round(row["test"]["mean"]["cliff_rmse"], 4),
            "training s": row["seconds"],
        }
        for row in rows
    ]
    lines += [
        {"method": f"{name} (published)", "test RMSE": rmse, "cliff RMSE": cliff, "training s": ""}
        for name, (rmse, cliff) in PUBLISHED_RMSE.items()
    ]
    return markdown_table(lines)


if __name__ == "__main__":
    main()
