"""Quickstart's graph stage from its pretrained network, and from others.

    python benchmarks/starts_of_quickstart.py

Starts: `pretrained` (the preset `quickstart-graph` as it is), `random` (the network stays at random
weights, its norms fitted to training molecules; adapters and heads learn as in the preset),
`random, all moves` (from random weights, every weight learns beside them), and
`pretrained gin-virtual-node` (the other network that comes with graphadapt in the place of the
preset's, adapters at all of its sites, every other setting the same).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accuracy.scores import scores
from evidence.results import save_results
from evidence.tables import markdown_table
from graphadapt.backbone.factory import build_backbone
from graphadapt.config import RunConfig
from graphadapt.data.bundled import open_store
from graphadapt.data.dataset import Dataset
from graphadapt.freeze import reestimate_backbone_norms
from graphadapt.graphs.batch import GraphTable
from graphadapt.run import Run
from transfer.table import figure

PRESET = "quickstart-graph"

PRETRAINED, RANDOM, RANDOM_MOVES, OTHER = STARTS = (
    "pretrained",
    "random",
    "random, all moves",
    "pretrained gin-virtual-node",
)

OTHER_NETWORK = {
    "backbone.kind": "gin-virtual-node",
    "backbone.layers": 5,
    "backbone.width": 300,
    "backbone.weights": "gin-virtual-node",
    "adapters.sites": ["expand", "contract"],
}

NORM_SAMPLE = 4096
"""Training molecules that settle the norms of a random network, as one batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="Of every run, for a small trial.")
    parser.add_argument("--store", default="moleculeace", help="Another store, for a small trial.")
    parser.add_argument("--runs", type=Path, default=Path("runs/starts_of_quickstart"))
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/starts_of_quickstart.json")
    )
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        for start in STARTS:
            settings = {"trainer.seed": seed, "data.store": options.store}
            if options.epochs:
                settings["trainer.epochs"] = options.epochs
            config = RunConfig.from_toml(PRESET).with_settings(settings)
            name = f"{start}-{seed}".replace(", ", "-").replace(" ", "-")
            found = scores(trained_from(start, config, options.runs / name))
            rows.append({"start": start, "seed": seed, **found})
            save_results(options.output, rows, seeds=options.seeds)
    print(table(rows))


def trained_from(start: str, config: RunConfig, folder: Path) -> Run:
    """The run of these settings from this start, trained to its end."""
    if start == PRETRAINED:
        return Run.trained(config, folder)
    if start == OTHER:
        return Run.trained(config.with_settings(OTHER_NETWORK), folder)
    unnamed = config.with_settings({"backbone.weights": ""})
    if start == RANDOM_MOVES:
        return Run.trained(unnamed.with_settings({"backbone.train": "all"}), folder)
    torch.manual_seed(config.trainer.seed)
    backbone = build_backbone(unnamed.backbone).eval()
    dataset = Dataset.select(open_store(config.data.store), config.data, config.trainer.seed)
    random = np.random.default_rng(config.trainer.seed)
    rows = torch.from_numpy(random.permutation(dataset.rows("train"))[:NORM_SAMPLE])
    reestimate_backbone_norms(backbone, [GraphTable.from_store(dataset.store).gather(rows)])
    return Run.trained(unnamed, folder, own_backbone=backbone)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and deviation over seeds of the test scores, in Markdown."""
    lines = []
    for start in dict.fromkeys(row["start"] for row in rows):
        own = [row for row in rows if row["start"] == start]
        lines.append(
            {
                "start": start,
                "validation RMSE": figure([row["valid"]["mean"]["rmse"] for row in own]),
                "test RMSE": figure([row["test"]["mean"]["rmse"] for row in own]),
            }
        )
    return markdown_table(lines)


if __name__ == "__main__":
    main()
