"""Batches of molecular graphs, gathered from columns and never built graph by graph.

Shapes: N nodes, B bonds, E = 2B directed edges, G graphs, M molecule features.

Directed edges stand in OGB's order: bond after bond of one molecule after the other, each bond
(i, j) first as i -> j and then as j -> i. So edges ``e`` and ``e ^ 1`` are one bond's two ways. For
a GPU's kernels a batch also knows their order by target, and by it the order by source: it is that
of the other ways, as a node's senders are its receivers.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.data.ragged import GraphColumns
from graphadapt.data.store import GraphStore
from graphadapt.errors import DataError
from graphadapt.graphs.buckets import BatchSize
from graphadapt.graphs.edge_order import edges_by_target
from graphadapt.graphs.edges import BondOrder, GroupedEdges
from graphadapt.graphs.gather import Ranges, both_ways, order_by_target
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.vocabulary import bond_code

__all__ = ["GraphBatch", "GraphTable"]


@dataclass(frozen=True, slots=True)
class GraphBatch:
    """Several graphs as one, in named arrays.

    Nodes of a graph are contiguous, and graphs stand in the order they were asked for. A padded
    batch goes on with nodes that belong to no graph, and bonds that join such a node to itself;
    nothing that is computed for a graph may depend on them.

    A batch that was put together elsewhere may leave out where edges and nodes begin: it is sorted
    where that is needed, and cannot be padded.
    """

    atoms: Tensor
    """``(N, 9)`` int64, one index into each of OGB's atom vocabularies; 0 in padding."""

    source: Tensor
    """``(E,)`` int64, sending node of each directed edge."""

    target: Tensor
    """``(E,)`` int64, receiving node of each directed edge."""

    bond_codes: Tensor
    """``(E,)`` int64 in ``[0, 60)``, the combined bond features; 0 in padding."""

    graph_of_node: Tensor
    """``(N,)`` int64, ascending; G for padding."""

    nodes_per_graph: Tensor
    """``(G,)`` int64."""

    features: Tensor | None = None
    """``(G, M)`` float32 molecule-level features, untransformed; None when there are none."""

    node_offsets: Tensor | None = None
    """``(G + 1,)`` int64, first node of each graph, and where padding begins."""

    by_target: Tensor | None = None
    """``(E,)`` int64, the edges in the order of their targets; None if it is not known."""

    edge_offsets: Tensor | None = None
    """``(N + 1,)`` int64, where the edges that arrive at each node begin in that order, and E; None
    if it is not known."""

    is_padded: bool = False
    """Whether there may be padding. Known to the host, while how much there is may not be."""

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.atoms.shape[0]

    @property
    def num_graphs(self) -> int:
        """G."""
        return self.nodes_per_graph.shape[0]

    @property
    def num_real_nodes(self) -> Tensor | None:
        """How many of a padded batch's nodes are atoms, a scalar on its device; else None.

        Atoms come first.
        """
        if self.is_padded and self.node_offsets is not None:
            return self.node_offsets[-1]
        return None

    @property
    def bond_order(self) -> BondOrder | None:
        """The edges grouped at both ends; None if their order is not known.

        Worked out at every call, from three gathers, so that it follows buffers that are refilled.
        """
        if self.edge_offsets is None or self.by_target is None:
            return None
        neighbour_E = self.source[self.by_target]
        code_E = self.bond_codes[self.by_target]
        edges = GroupedEdges(
            source=self.source,
            target=self.target,
            by_source=self.by_target ^ 1,
            by_target=self.by_target,
            source_offsets=self.edge_offsets,
            target_offsets=self.edge_offsets,
            sources_by_target=neighbour_E,
            targets_by_source=neighbour_E,
        )
        return BondOrder(edges, code_E, code_E)

    def to(self, device: torch.device | str) -> "GraphBatch":
        """The same batch on another device."""
        moved: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                value = value.to(device, non_blocking=True)
            moved[item.name] = value
        return GraphBatch(**moved)


class GraphTable:
    """All molecules' columns as tensors on one device.

    On the CPU the columns share the memory they were given, such as a store's memory map; only the
    bond codes (one byte a bond) are made anew, and the edges' order (four) where it is wanted.

    Args:
        columns: the graphs.
        features: ``(G, M)`` molecule-level features of any number type, or None.
        device: where batches are to be made.
        ordered: whether batches know the order of their edges by target, which the kernels of a
            GPU need and those of a CPU do not; None is everywhere but on a CPU.

    Raises:
        DataError: if there is not one row of features for each molecule.
    """

    def __init__(
        self,
        columns: GraphColumns,
        features: NDArray[np.generic] | None = None,
        device: torch.device | str = "cpu",
        *,
        ordered: bool | None = None,
    ) -> None:
        if features is not None and len(features) != columns.molecules:
            raise DataError(
                f"{len(features)} rows of features do not fit {columns.molecules} molecules; "
                "give one row a molecule"
            )
        self.device = torch.device(device)
        self.atoms = _shared(columns.atoms).to(device)
        self.bonds = _shared(columns.bonds).to(device)
        self.bond_codes = _shared(bond_code(columns.bond_features)).to(device)
        self.edge_order: Tensor | None = None
        if ordered or (ordered is None and self.device.type != "cpu"):
            self.edge_order = _shared(edges_by_target(columns)).to(device)
        self.features = None if features is None else _shared(features).to(device)
        # The host's copy tells a batch's size without asking the device.
        offsets = np.stack([columns.atom_offsets, columns.bond_offsets])
        self._offsets_on_host = torch.from_numpy(offsets)
        self._offsets = self._offsets_on_host.to(device)

    @classmethod
    def from_store(
        cls,
        store: GraphStore,
        feature_blocks: Sequence[FeatureBlock | str] = (),
        device: torch.device | str = "cpu",
    ) -> Self:
        """Take over a store's graphs, with these blocks of molecule-level features if any."""
        features = store.features(feature_blocks) if feature_blocks else None
        return cls(store.columns, features, device)

    @classmethod
    def from_molecules(
        cls,
        molecules: Sequence[MoleculeArrays],
        features: NDArray[np.generic] | None = None,
        device: torch.device | str = "cpu",
        *,
        ordered: bool | None = None,
    ) -> Self:
        """Join featurised molecules, with one row of ``features`` ``(G, M)`` for each."""
        return cls(GraphColumns.from_molecules(molecules), features, device, ordered=ordered)

    def __len__(self) -> int:
        return self._offsets.shape[1] - 1

    @property
    def num_atoms(self) -> int:
        """Atoms of all molecules together."""
        return self.atoms.shape[0]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms and bonds of every molecule, ``(2, G)``, on the host.

        ``sizes[:, rows].sum(-1)`` are those of the batches ``rows`` ``(P, b)``, for a ladder's
        :meth:`~graphadapt.graphs.buckets.BucketLadder.rungs`.
        """
        return np.diff(self._offsets_on_host.numpy())

    def size(self, rows: Tensor) -> BatchSize:
        """Nodes and bonds of the batch of these rows; those on a GPU are waited for."""
        offsets = self._offsets_on_host if rows.device.type == "cpu" else self._offsets
        return BatchSize(*(offsets[:, rows + 1] - offsets[:, rows]).sum(1).tolist())

    def atom_positions(
        self, rows: Tensor, *, size: BatchSize | None = None, bucket: BatchSize | None = None
    ) -> Tensor:
        """Where the atoms of a batch stand among all molecules' atoms, ``(N,)``; 0 for padding.

        Arguments are those of :meth:`gather`.
        """
        nodes, _ = self._shape(rows, size, bucket)
        rows = rows.to(self.device, non_blocking=True)
        return self._ranges(0, rows, nodes, bucket is not None).position

    def gather(
        self, rows: Tensor, *, size: BatchSize | None = None, bucket: BatchSize | None = None
    ) -> GraphBatch:
        """Batch the molecules at ``rows``, in that order; a row may occur more than once.

        The host waits for a GPU in one case: rows that lie there, with neither size nor bucket.
        With either, a CUDA graph can capture the gather, and its replays follow what ``rows`` holds
        by then, as long as that has the size or fits the bucket.

        Args:
            rows: ``(G,)`` int64 in ``[0, len(self))``, on the host or the table's device.
            size: nodes and bonds of these rows, if known; saves asking the device.
            bucket: nodes and bonds to pad the batch to, such as a
                :class:`~graphadapt.graphs.buckets.BucketLadder` gives.

        Raises:
            DataError: if rows on the host do not fit the bucket. Rows on a GPU are not looked at.
        """
        nodes, bonds = self._shape(rows, size, bucket)
        is_padded, rows = bucket is not None, rows.to(self.device, non_blocking=True)
        atoms = self._ranges(0, rows, nodes, is_padded)
        pairs = self._ranges(1, rows, bonds, is_padded)
        source, target = both_ways(self.bonds, pairs, atoms)
        by_target = edge_offsets = None
        if self.edge_order is not None:
            by_target = order_by_target(self.edge_order, pairs)
            borders = torch.arange(nodes + 1, device=self.device)
            edge_offsets = torch.searchsorted(target[by_target], borders)
        return GraphBatch(
            atoms=atoms.take(self.atoms).long(),
            source=source,
            target=target,
            bond_codes=pairs.take(self.bond_codes).long().unsqueeze(1).expand(-1, 2).flatten(),
            graph_of_node=atoms.owner,
            nodes_per_graph=atoms.offsets.diff(),
            features=None if self.features is None else self.features[rows].float(),
            node_offsets=atoms.offsets,
            by_target=by_target,
            edge_offsets=edge_offsets,
            is_padded=is_padded,
        )

    def _shape(self, rows: Tensor, size: BatchSize | None, bucket: BatchSize | None) -> BatchSize:
        """How many places for nodes and bonds a batch has."""
        if bucket is None:
            return self.size(rows) if size is None else size
        if rows.device.type == "cpu":
            _check_fit(self.size(rows), bucket)
        return bucket

    def _ranges(self, column: int, rows: Tensor, places: int, is_padded: bool) -> Ranges:
        """Where the atoms (0) or bonds (1) of rows on the device go among the places."""
        starts_G = self._offsets[column, rows]
        counts_G = self._offsets[column, rows + 1] - starts_G
        return Ranges.of(starts_G, counts_G, places, is_padded=is_padded)


def _check_fit(size: BatchSize, bucket: BatchSize) -> None:
    if not bucket.holds(size):
        raise DataError(
            f"a batch of {size.nodes} atoms and {size.bonds} bonds does not fit a bucket of "
            f"{bucket.nodes} and {bucket.bonds} with a padding node for its padding bonds; take a "
            "higher rung of the ladder"
        )


def _shared(array: NDArray[np.generic]) -> Tensor:
    """The array as a tensor over the same memory."""
    with warnings.catch_warnings():
        # A store is mapped read-only, and nothing here writes to it.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))
