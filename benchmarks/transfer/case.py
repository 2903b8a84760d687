"""One row of a comparison of starts: how it is measured, and by what it is known again."""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphadapt.backbone.layered import LayeredBackbone
from graphadapt.config import RunConfig
from graphadapt.data.bundled import BUNDLED, open_store
from graphadapt.data.dataset import Dataset
from graphadapt.data.load import load_source
from graphadapt.data.prepare import prepare
from graphadapt.data.store import is_store
from graphadapt.data.store_digest import store_digest
from graphadapt.freeze import reestimate_backbone_norms
from graphadapt.graphs.batch import GraphTable
from graphadapt.objective.metrics import evaluate_tasks
from graphadapt.run import Run
from graphadapt.trainer.checkpoint import load_state
from graphadapt.trainer.run_folder import LAST
from transfer.frozen_probe import embed, linear_probe
from transfer.standard_embedding import StandardEmbedding
from transfer.starts import Start, adapter_sites

__all__ = ["ADAPTERS", "FULL", "PROBE", "Case", "is_outdated", "is_row_of"]

PROBE, ADAPTERS, FULL = "probe", "adapters", "full"

SCALE_SAMPLE, SCALE_BATCH = 4096, 512
"""Training molecules over which embeddings are standardised, and how many at a time."""


@dataclass
class Case:
    """A start on a set by a way, with a seed."""

    start: Start
    place: str
    """Of the set: its name, or a store's folder."""

    seed: int
    way: str
    options: argparse.Namespace

    @property
    def set_name(self) -> str:
        return Path(self.place).name

    @property
    def title(self) -> str:
        """What a line of progress calls it."""
        return f"{self.start.name}, {self.set_name}, {self.way}, seed {self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the figures beside start, set and seed."""
        options = self.options
        frozen = {} if self.way == FULL else {"embedding": "standardised"}
        if self.way == PROBE:
            return frozen
        names = ("sites", "adapters", "rank") if self.way == ADAPTERS else ("dropout",)
        return {
            "epochs": options.set_epochs.get(self.set_name, options.epochs),
            **{name: getattr(options, name) for name in ("patience", "batch_size", "precision")},
            **{name: getattr(options, name) for name in names},
            **frozen,
        }

    @cached_property
    def head(self) -> dict[str, Any]:
        """The columns by which the row is known again."""
        return {
            "start": self.start.name,
            "set": self.set_name,
            "way": self.way,
            "seed": self.seed,
            "settings": self.settings,
            "inputs": {"weights": self.start.mark, "data": data_mark(self.store)},
        }

    @cached_property
    def store(self) -> str:
        """A prepared store: as it is named, bundled, or made from the folder of data."""
        if self.place == BUNDLED:
            return self.place
        if is_store(Path(self.place)):
            return str(Path(self.place).resolve())
        store = self.options.runs / "stores" / self.place
        if not is_store(store):
            prepare(load_source(Path(self.options.data) / "ogb" / self.place), store)
        return str(store.resolve())

    @cached_property
    def dataset(self) -> Dataset:
        return Dataset.select(open_store(self.store), self.config.data, self.seed)

    @property
    def is_without_chance(self) -> bool:
        """Whether it is a probe of known weights, and validation is the set's own."""
        known = self.way == PROBE and not self.start.is_random
        return known and np.array_equal(self.dataset.split, self.dataset.store.split)

    @property
    def folder(self) -> Path:
        """Of the training; another for other settings, weights or data."""
        name = "-".join(str(self.head[part]) for part in ("start", "set", "way", "seed"))
        digest = hashlib.sha256(json.dumps(self.head, sort_keys=True).encode()).hexdigest()
        return self.options.runs / f"{name}-{digest[:8]}".replace(" ", "-")

    @property
    def config(self) -> RunConfig:
        """The run, whatever its network is; the same for all starts."""
        options, full = self.options, self.way == FULL
        return RunConfig().with_settings(
            {
                "data.store": self.store,
                "backbone.train": "all" if full else "frozen",
                "adapters.count": 0 if full else options.adapters,
                "adapters.rank": options.rank,
                "objective.reduction": "cell",
                "sampler.batch_size": options.batch_size,
                "sampler.neighbourhood": 0.0,
                "sampler.random": 0.0,
                "trainer.epochs": self.settings.get("epochs", options.epochs),
                "trainer.patience": options.patience,
                "trainer.weight_decay": 0.0,
                "trainer.warmup": 0.1,
                "trainer.device": options.device,
                "trainer.precision": options.precision,
                "trainer.seed": self.seed,
            }
        )

    def row(self) -> dict[str, Any]:
        """Measure it: the head, the seconds that it took, and means over tasks on test cells."""
        if self.way == PROBE:
            started = time.perf_counter()
            test = self.probe()
            return self.head | {"seconds": time.perf_counter() - started, "test": test}
        test = dict(self.train().evaluate("test").mean)
        seconds = load_state(self.folder / LAST)["seconds"]  # over all sittings
        return self.head | {"seconds": seconds, "test": test}

    def network(self) -> LayeredBackbone:
        """The start; where it stays as it is, its embeddings are standardised.

        A random one that stays has norms that fit the training molecules. They are settled together
        as one batch: averages over small batches do not fit one another from layer to layer.
        """
        if self.way == FULL:
            return self.start.make(self.seed, self.options.dropout)
        network = self.start.make(self.seed, 0.0)
        table, random = GraphTable.from_store(self.dataset.store), np.random.default_rng(0)
        rows = torch.from_numpy(random.permutation(self.dataset.rows("train"))[:SCALE_SAMPLE])
        if self.start.is_random:
            reestimate_backbone_norms(network, [table.gather(rows)])
        return StandardEmbedding(network, map(table.gather, rows.split(SCALE_BATCH)))

    def train(self) -> Run:
        """Train adapters and heads, or all weights; go on where a stopped training was."""
        config, backbone = self.config, self.network()
        if self.way == ADAPTERS:
            sites = adapter_sites(backbone, self.options.sites)
            config = config.with_settings({"adapters.sites": sites})
        return Run.trained(config, self.folder, own_backbone=backbone)

    def probe(self) -> dict[str, float]:
        """Means over tasks on the test cells of a linear answer."""
        on_gpu = torch.cuda.is_available() and self.options.device != "cpu"
        table = GraphTable.from_store(self.dataset.store)
        embedding_GD = embed(self.network(), table, device="cuda" if on_gpu else "cpu")
        found = evaluate_tasks(
            linear_probe(embedding_GD, self.dataset),
            self.dataset.labels,
            self.dataset.cells("test"),
            self.dataset.tasks,
            metric=self.dataset.store.metric,
            flags=self.dataset.flags,
        )
        return dict(found.mean)


def is_row_of(row: Mapping[str, Any], case: Case) -> bool:
    """Whether a saved row is the case's: of the same settings, weights and data."""
    return all(row.get(name) == value for name, value in case.head.items())


def is_outdated(row: Mapping[str, Any], case: Case) -> bool:
    """Whether a saved row is of weights or data that have been replaced since, as the case shows.

    A row that does not say of which it is, is.
    """
    old, new = row.get("inputs", {}), case.head["inputs"]
    other_weights = row["start"] == case.start.name and old.get("weights") != new["weights"]
    return other_weights or (row["set"] == case.set_name and old.get("data") != new["data"])


@cache
def data_mark(store: str) -> str:
    """Tells what a store holds from what another of the same name does."""
    return store_digest(open_store(store))
