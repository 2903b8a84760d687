"""Batches of molecular graphs, gathered from columns and never built graph by graph.

Shapes: N nodes, B bonds, E = 2B directed edges, G graphs, M molecule features.

Directed edges stand in OGB's order: bond after bond of one molecule after the other, each bond
(i, j) first as i -> j and then as j -> i. So edges ``e`` and ``e ^ 1`` are one bond's two ways.
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
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import MoleculeArrays
from graphadapt.molecules.vocabulary import bond_code

__all__ = ["GraphBatch", "GraphTable"]


@dataclass(frozen=True, slots=True)
class GraphBatch:
    """Several graphs as one, in named arrays.

    Nodes of a graph are contiguous, and graphs stand in the order they were asked for.
    """

    atoms: Tensor
    """``(N, 9)`` int64, one index into each of OGB's atom vocabularies."""

    source: Tensor
    """``(E,)`` int64, sending node of each directed edge."""

    target: Tensor
    """``(E,)`` int64, receiving node of each directed edge."""

    bond_codes: Tensor
    """``(E,)`` int64 in ``[0, 60)``, the combined bond features."""

    graph_of_node: Tensor
    """``(N,)`` int64, ascending."""

    nodes_per_graph: Tensor
    """``(G,)`` int64."""

    features: Tensor | None = None
    """``(G, M)`` float32 molecule-level features, untransformed; None when there are none."""

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.atoms.shape[0]

    @property
    def num_graphs(self) -> int:
        """G."""
        return self.nodes_per_graph.shape[0]

    def to(self, device: torch.device | str) -> "GraphBatch":
        """The same batch on another device."""
        moved: dict[str, Any] = {}
        for item in fields(self):
            column = getattr(self, item.name)
            moved[item.name] = None if column is None else column.to(device, non_blocking=True)
        return GraphBatch(**moved)


class GraphTable:
    """All molecules' columns as tensors on one device.

    On the CPU the columns share the memory they were given, such as a store's memory map; only the
    bond codes (one byte a bond) are made anew.

    Args:
        columns: the graphs.
        features: ``(G, M)`` molecule-level features of any number type, or None.
        device: where batches are to be made.

    Raises:
        DataError: if there is not one row of features for each molecule.
    """

    def __init__(
        self,
        columns: GraphColumns,
        features: NDArray[np.generic] | None = None,
        device: torch.device | str = "cpu",
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
    ) -> Self:
        """Join featurised molecules, with one row of ``features`` ``(G, M)`` for each."""
        return cls(GraphColumns.from_molecules(molecules), features, device)

    def __len__(self) -> int:
        return self._offsets.shape[1] - 1

    @property
    def num_features(self) -> int:
        """M, 0 without features."""
        return 0 if self.features is None else self.features.shape[1]

    @property
    def num_atoms(self) -> int:
        """Atoms of all molecules together."""
        return self.atoms.shape[0]

    def atom_positions(self, rows: Tensor) -> Tensor:
        """Where the atoms of a batch of ``rows`` stand among all molecules' atoms, ``(N,)``."""
        num_atoms, _ = self._totals(rows)
        rows = rows.to(self.device, non_blocking=True)
        starts_G = self._offsets[0, rows]
        return _ragged(starts_G, self._offsets[0, rows + 1] - starts_G, num_atoms)[1]

    def gather(self, rows: Tensor) -> GraphBatch:
        """Batch the molecules at ``rows``, in that order; a row may occur more than once.

        Rows on the host never make it wait for the device. Rows on a GPU do, once, because the
        batch's size is then known only there.

        Args:
            rows: ``(G,)`` int64 in ``[0, len(self))``.
        """
        num_atoms, num_bonds = self._totals(rows)
        rows = rows.to(self.device, non_blocking=True)
        starts = self._offsets[:, rows]
        counts = self._offsets[:, rows + 1] - starts
        graph_of_node, node_index = _ragged(starts[0], counts[0], num_atoms)
        graph_of_bond, bond_index = _ragged(starts[1], counts[1], num_bonds)
        first_node = counts[0].cumsum(0) - counts[0]
        ends = self.bonds[bond_index].long() + first_node[graph_of_bond].unsqueeze(1)
        return GraphBatch(
            atoms=self.atoms[node_index].long(),
            source=ends.flatten(),
            target=ends.flip(1).flatten(),
            bond_codes=self.bond_codes[bond_index].long().repeat_interleave(2),
            graph_of_node=graph_of_node,
            nodes_per_graph=counts[0],
            features=None if self.features is None else self.features[rows].float(),
        )

    def _totals(self, rows: Tensor) -> tuple[int, int]:
        """Nodes and bonds of a batch."""
        offsets = self._offsets_on_host if rows.device.type == "cpu" else self._offsets
        atoms, bonds = (offsets[:, rows + 1] - offsets[:, rows]).sum(1).tolist()
        return atoms, bonds


def _ragged(starts_G: Tensor, counts_G: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Owner and position of every item of the ranges ``starts_G + [0, counts_G)``."""
    owners = torch.arange(len(counts_G), device=counts_G.device)
    owner = torch.repeat_interleave(owners, counts_G, output_size=total)
    shift_G = starts_G - (counts_G.cumsum(0) - counts_G)
    return owner, torch.arange(total, device=counts_G.device) + shift_G[owner]


def _shared(array: NDArray[np.generic]) -> Tensor:
    """The array as a tensor over the same memory."""
    with warnings.catch_warnings():
        # A store is mapped read-only, and nothing here writes to it.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))
