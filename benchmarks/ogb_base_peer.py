"""Does another library reach the same? PyTorch Geometric trains OGB's network on the same cells.

    python benchmarks/ogb_base_peer.py --data FOLDER --runs runs/ogb_base

Network, loader, loss and optimiser are written as OGB's example writes them; data, split, epochs
and protocol are those of ``ogb_base.py``, whose stores it shares. What this reaches is what the
published figure comes to with these molecules and splits.

Shapes: G molecules, T tasks.
"""

import argparse
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evidence.results import save_results
from graphadapt.config import DataConfig, RunConfig
from graphadapt.data.dataset import Dataset
from graphadapt.data.store import GraphStore
from graphadapt.objective.metrics import evaluate_tasks
from graphadapt.progress import Progress
from ogb_base import PUBLISHED, prepared, table
from peers.geometric import geometric_batches, geometric_training
from peers.training import LabelledGraphs, PeerSettings

TRAINER = "PyTorch Geometric"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAPHADAPT_DATA"))
    parser.add_argument("--runs", type=Path, default=Path("runs/ogb_base"))
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/ogb_base_peer.json")
    )
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data FOLDER, the one that holds ogb/")
    rows = []
    for name in options.sets:
        store = GraphStore(prepared(name, options.runs, options.data))
        for seed in options.seeds:
            dataset = Dataset.select(store, DataConfig(), seed)
            found = trained(dataset, seed, options.epochs)
            rows.append({"set": name, "trainer": TRAINER, "seed": seed, **found})
            save_results(options.output, rows, seeds=options.seeds)
    print(table(rows))


def trained(dataset: Dataset, seed: int, epochs: int, **sizes: int) -> dict[str, Any]:
    """Metrics on validation and test of the epoch that is best on validation.

    Args:
        dataset: binary tasks with a validation part.
        seed: of weights, order and dropout.
        epochs: at least 1.
        sizes: ``width`` and ``layers`` of the network, where they are not OGB's.
    """
    config = RunConfig.from_toml("ogb")
    torch.manual_seed(seed)
    steps = list(epoch_batches(dataset.rows("train"), config.sampler.batch_size, epochs, seed))
    per_epoch = len(steps) // epochs
    training = geometric_training(
        labelled(dataset, "train", steps), PeerSettings(), dropout=config.backbone.dropout, **sizes
    )
    start, best, history = time.perf_counter(), dict[str, Any](), []
    with Progress(epochs, TRAINER) as progress:
        for epoch in range(epochs):
            for _ in range(per_epoch):
                training.step()
            valid = scores(training.network, dataset, "valid")
            history.append(round(valid["rocauc"], 4))
            if not best or valid["rocauc"] > best["valid"]["mean"]["rocauc"]:
                test = scores(training.network, dataset, "test")
                best = {"best_epoch": epoch, "valid": {"mean": valid}, "test": {"mean": test}}
            progress.update()
    parameters = sum(p.numel() for p in training.network.parameters())
    seconds = round(time.perf_counter() - start, 1)
    found = {"seconds": seconds, "epochs": epochs, "parameters": parameters, **best}
    return found | {"valid_by_epoch": history}


def epoch_batches(
    rows: NDArray[np.int64], size: int, epochs: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Every epoch's own permutation, cut into batches."""
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        order = random.permutation(rows)
        yield from np.split(order, range(size, len(order), size))


def labelled(dataset: Dataset, part: str, batches: list[NDArray[np.int64]]) -> LabelledGraphs:
    """The molecules with their labels of one part of the split."""
    targets = torch.from_numpy(dataset.labels_of(part))
    return LabelledGraphs(dataset.store.columns, targets, batches)


@torch.no_grad()
def scores(network: torch.nn.Module, dataset: Dataset, part: str) -> dict[str, float]:
    """Means over tasks on the cells of a part."""
    rows = dataset.rows(part)
    batches = np.split(rows, range(256, len(rows), 256))
    answers_GT = np.full(dataset.labels.shape, np.nan, np.float32)
    network.eval()
    made = islice(geometric_batches(labelled(dataset, part, batches), PeerSettings()), len(batches))
    for batch, (graphs, _) in zip(batches, made, strict=True):
        answers_GT[batch] = network(graphs).sigmoid().numpy()
    network.train()
    metric = dataset.store.metric
    found = evaluate_tasks(
        answers_GT, dataset.labels, dataset.cells(part), dataset.tasks, metric=metric
    )
    return dict(found.mean)


if __name__ == "__main__":
    main()
