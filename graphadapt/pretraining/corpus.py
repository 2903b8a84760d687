"""Prepared stores as one stock of molecules, with what can be asked of them.

Shapes: G molecules, N nodes, M features of a block, T tasks.

Of a store with labels only those molecules are read that hold no validation and no test cell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.data.names import choose_names
from graphadapt.data.split import TEST, TRAIN, VALID
from graphadapt.data.store import GraphStore, TaskInfo
from graphadapt.errors import ConfigError, DataError
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.molecules.features import FeatureBlock
from graphadapt.pretraining.config import OBJECTIVE_BLOCKS, PretrainConfig
from graphadapt.pretraining.sampler import CorpusSampler, held_out_rows

__all__ = ["LABELS", "Corpus", "CorpusPart", "Molecules", "RowsByStore", "join_batches"]

LABELS = "labels"
"""Name of the training labels among a batch's targets."""

RowsByStore = Sequence[NDArray[np.int64]]
"""Rows of every store of a corpus, in the order of the stores."""


@dataclass(frozen=True, slots=True)
class Molecules:
    """Some molecules as they are, with targets."""

    batch: GraphBatch
    targets: Mapping[str, Tensor]
    """``(G, M)`` by kind of feature block, in its stored type; ``labels`` are ``(G, T)`` float32 in
    original units, NaN where there is none to learn."""


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """One store of a corpus."""

    store: GraphStore
    training: NDArray[np.int64]
    """Rows that may be trained on, ascending."""

    held_out: NDArray[np.int64]
    """Rows that never are, ascending."""

    table: GraphTable
    targets: Mapping[str, NDArray[Any]]
    """Of all rows, by kind; on the host, as they are far larger than the graphs."""

    def gather(self, rows: NDArray[np.int64]) -> Molecules:
        """Molecules of this store, in the order of ``rows``."""
        device = self.table.device
        targets = {
            kind: torch.from_numpy(column[rows]).to(device, non_blocking=True)
            for kind, column in self.targets.items()
        }
        return Molecules(self.table.gather(torch.from_numpy(rows)), targets)


class Corpus:
    """The molecules of a pretraining run on one device.

    Args:
        config: names the stores, and the objectives whose targets they must hold.
        device: where batches are made.

    Raises:
        ConfigError: if no store is named.
        DataError: if one is no store, lacks a feature block that an objective predicts, holds it
            with other settings than the first, or has nothing to train on.
    """

    def __init__(self, config: PretrainConfig, device: torch.device | str = "cpu") -> None:
        if not config.corpus.stores:
            raise ConfigError(
                "corpus.stores is empty; name prepared stores, made by `graphadapt corpus` or "
                "`graphadapt prepare`"
            )
        stores = [GraphStore(name) for name in config.corpus.stores]
        self.blocks = _blocks(stores, config)
        self.tasks = _tasks(stores, config)
        learned = config.objectives.supervised.store if self.tasks else None
        self.parts = tuple(
            _part(
                store,
                _labels(store, self.tasks, learned=name == learned),
                self.blocks,
                config.corpus.held_out,
                device,
            )
            for name, store in zip(config.corpus.stores, stores, strict=True)
        )

    @property
    def training(self) -> RowsByStore:
        """Rows that may be trained on."""
        return [part.training for part in self.parts]

    @property
    def held_out(self) -> RowsByStore:
        """Rows that never are."""
        return [part.held_out for part in self.parts]

    def gather(self, rows: RowsByStore) -> Molecules:
        """Molecules of all stores as one batch, store after store."""
        found = [
            part.gather(rows_G)
            for part, rows_G in zip(self.parts, rows, strict=True)
            if len(rows_G)
        ]
        if len(found) == 1:
            return found[0]
        return Molecules(
            join_batches([each.batch for each in found]),
            {kind: torch.cat([each.targets[kind] for each in found]) for kind in found[0].targets},
        )

    def sample(self, sampler: CorpusSampler, molecules: int) -> Molecules:
        """About this many training molecules, mixed as the run's first steps mix them.

        Labels are rare among them, so in the sample's ``labels`` are those of all training
        molecules.
        """
        count = min(sampler.steps_per_epoch, -(-molecules // sampler.batch_size))
        draws = [sampler.draw(step) for step in range(count)]
        found = self.gather([np.concatenate(pieces) for pieces in zip(*draws, strict=True)])
        if not self.tasks:
            return found
        every_GT = np.concatenate([part.targets[LABELS][part.training] for part in self.parts])
        return replace(found, targets={**found.targets, LABELS: torch.from_numpy(every_GT)})


def join_batches(batches: Sequence[GraphBatch]) -> GraphBatch:
    """Several batches without features and padding as one, in order.

    It knows where nodes and edges begin if all of them do, so that nothing is sorted.
    """
    nodes = list(accumulate((batch.num_nodes for batch in batches), initial=0))
    graphs = list(accumulate((batch.num_graphs for batch in batches), initial=0))
    edges = list(accumulate((len(batch.source) for batch in batches), initial=0))
    knows_order = all(batch.by_target is not None for batch in batches)

    def shifted(name: str, starts: list[int]) -> Tensor:
        columns = [getattr(batch, name) for batch in batches]
        return torch.cat([c + start for c, start in zip(columns, starts, strict=False)])

    return GraphBatch(
        atoms=torch.cat([batch.atoms for batch in batches]),
        source=shifted("source", nodes),
        target=shifted("target", nodes),
        bond_codes=torch.cat([batch.bond_codes for batch in batches]),
        graph_of_node=shifted("graph_of_node", graphs),
        nodes_per_graph=torch.cat([batch.nodes_per_graph for batch in batches]),
        node_offsets=_joined_offsets([batch.node_offsets for batch in batches], nodes),
        by_target=shifted("by_target", edges) if knows_order else None,
        edge_offsets=_joined_offsets([batch.edge_offsets for batch in batches], edges),
    )


def _joined_offsets(parts: Sequence[Tensor | None], starts: Sequence[int]) -> Tensor | None:
    """Where groups begin, and the last one ends, when the batches stand one after the other."""
    known = [part + start for part, start in zip(parts, starts, strict=False) if part is not None]
    if len(known) < len(parts):
        return None
    return torch.cat([*(part[:-1] for part in known), known[-1][-1:]])


def _blocks(stores: Sequence[GraphStore], config: PretrainConfig) -> tuple[FeatureBlock, ...]:
    """Settings of the blocks that objectives predict; the same in all stores."""
    wanted = {n: OBJECTIVE_BLOCKS[n] for n in config.objectives.weights() if n in OBJECTIVE_BLOCKS}
    for name, kind in wanted.items():
        for store in stores:
            if kind not in [block.kind for block in store.feature_blocks]:
                raise DataError(
                    f"{store.folder} has no {kind!r} features, which objectives.{name} predicts: "
                    f"make it again with --features {','.join(wanted.values())}, or set "
                    f"objectives.{name}.weight to 0"
                )
    blocks = tuple(stores[0].feature_block(kind) for kind in wanted.values())
    for store in stores[1:]:
        for block in blocks:
            if store.feature_block(block.kind) != block:
                raise DataError(
                    f"{store.folder} and {stores[0].folder} hold {block.kind!r} features of "
                    "different settings; prepare one of them again"
                )
    return blocks


def _tasks(stores: Sequence[GraphStore], config: PretrainConfig) -> tuple[TaskInfo, ...]:
    supervised = config.objectives.supervised
    if not supervised.weight:
        return ()
    store = stores[config.corpus.stores.index(supervised.store)]
    if not store.tasks:
        raise DataError(f"{store.folder} has no labels, so objectives.supervised cannot learn any")
    columns = choose_names(supervised.tasks, list(store.task_names), f"task of {store.folder}")
    return tuple(store.tasks[column] for column in columns or range(len(store.tasks)))


def _labels(
    store: GraphStore, tasks: Sequence[TaskInfo], *, learned: bool
) -> NDArray[np.float32] | None:
    """Training labels if they are to be learned, else NaN; None if no store's are."""
    if not tasks:
        return None
    if not learned:
        return np.full((len(store), len(tasks)), np.nan, np.float32)
    columns = [store.task_names.index(task.name) for task in tasks]
    trains_GT = np.asarray(store.split)[:, columns] == TRAIN
    return np.where(trains_GT, store.labels_float()[:, columns], np.float32(np.nan))


def _part(
    store: GraphStore,
    labels_GT: NDArray[np.float32] | None,
    blocks: Sequence[FeatureBlock],
    held_out: float,
    device: torch.device | str,
) -> CorpusPart:
    evaluates_G = np.isin(store.split, (VALID, TEST)).any(axis=1)
    usable = np.flatnonzero(~evaluates_G)
    if len(usable) < 2:
        raise DataError(
            f"{store.folder} has {len(usable)} molecules without a validation or test cell; "
            "pretraining needs 2"
        )
    kept = held_out_rows(len(usable), held_out)
    table = GraphTable.from_store(store, device=device)
    targets: dict[str, NDArray[Any]] = {block.kind: store.features([block]) for block in blocks}
    if labels_GT is not None:
        targets[LABELS] = labels_GT
    return CorpusPart(store, np.delete(usable, kept), usable[kept], table, targets)
