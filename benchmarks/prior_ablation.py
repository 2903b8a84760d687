"""Do the adapters and the prior earn their place? One network and budget, one change at a time.

    python benchmarks/prior_ablation.py --backbone runs/moleculeace/graph-random-start-0
    python benchmarks/prior_ablation.py --backbone runs/moleculeace/graph-random-start-0 \
        --sites project --mixed-sampler

Plain heads against adapters whose prior, sampler and regulariser read the relation `identity`,
`uniform`, `shuffled` or `labels`, on a frozen graph network; differences of test RMSE are paired
over targets and seeds, with bootstrap intervals. Adapters sit at the readout, where every task
keeps its own weights, and with ``--sites`` inside the network too, where the tasks of a composition
share them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accuracy.scores import scores
from evidence.results import save_results
from evidence.tables import markdown_table
from graphadapt.config import RunConfig
from graphadapt.objective.intervals import paired_difference
from graphadapt.run import Run

RELATIONS = ("identity", "uniform", "shuffled", "labels")
CONSUMERS = ("prior", "sampler", "regulariser")
PRIOR = {"prior.start": "spectral", "prior.free": 0.1, "objective.consistency": 0.1}
"""Task embeddings start where the relation puts them and may move little: free ones that start
anywhere are undone by the data, whatever the relation."""


def variants(mixed_sampler: bool, sites: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Settings of every compared run."""
    shares = (0.5, 0.25) if mixed_sampler else (0.0, 0.0)
    sampler = {"sampler.neighbourhood": shares[0], "sampler.random": shares[1]}
    found: dict[str, dict[str, Any]] = {"plain heads": {"adapters.count": 0, **sampler}}
    for kind in RELATIONS:
        chosen = {f"relation.{consumer}.kind": kind for consumer in CONSUMERS}
        placed = {"adapters.sites": list(sites)}
        found[f"adapters, {kind}"] = {**chosen, **placed, **sampler, **PRIOR}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", type=Path, required=True, help="Run of a graph network.")
    parser.add_argument("--runs", type=Path, help="Folder of the runs; by setting.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--mixed-sampler", action="store_true", help="Draw task sets by relation.")
    parser.add_argument("--sites", nargs="*", default=[], help="Layers that hold adapters too.")
    parser.add_argument("--output", type=Path, help="Of the results; named after the setting.")
    options = parser.parse_args()
    title = "prior_ablation" + "_inner" * bool(options.sites) + "_mixed" * options.mixed_sampler
    options.output = options.output or Path(f"benchmarks/results/{title}.json")
    options.runs = options.runs or Path("runs") / title
    base = Run.settings(options.backbone)
    backbone = base.to_dict()["backbone"]
    rows = []
    for seed in options.seeds:
        for name, more in variants(options.mixed_sampler, options.sites).items():
            settings = {
                **{f"backbone.{key}": value for key, value in backbone.items()},
                "backbone.weights": str(options.backbone),
                "backbone.train": "frozen",
                "data.store": base.data.store,
                "data.validation_fraction": base.data.validation_fraction,
                "trainer.seed": seed,
                "trainer.epochs": options.epochs,
                **more,
            }
            config = RunConfig.from_toml("quickstart").with_settings(settings)
            folder = options.runs / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            rows.append({"variant": name, "seed": seed, **scores(Run.trained(config, folder))})
            save_results(options.output, rows, seeds=options.seeds)
    print(table(rows))


def table(rows: list[dict]) -> str:
    """Every variant's mean and its difference to plain heads with a 95 % interval, in Markdown."""
    plain = _per_target(rows, "plain heads")
    lines = []
    for name in dict.fromkeys(row["variant"] for row in rows):
        own = _per_target(rows, name)
        line = {"variant": name, "seeds": len(own), "test RMSE": round(float(own.mean()), 4)}
        if name != "plain heads" and own.shape == plain.shape:
            mean, low, high = paired_difference(own, plain, seed=0)
            line["minus plain heads"] = f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append(line)
    return markdown_table(lines, ["variant", "seeds", "test RMSE", "minus plain heads"])


def _per_target(rows: list[dict], variant: str) -> np.ndarray:
    """Test RMSE, (seeds, targets)."""
    return np.array(
        [
            [v["rmse"] for v in row["test"]["tasks"].values() if "rmse" in v]
            for row in rows
            if row["variant"] == variant
        ]
    )


if __name__ == "__main__":
    main()
