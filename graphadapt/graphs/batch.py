"""Batches of molecular graphs, gathered from columns and never built graph by graph.

Shapes: N nodes, B bonds, E = 2B directed edges, G graphs, M molecule features.

Directed edges stand in OGB's order: bond after bond of one molecule after the other, each bond
(i, j) first as i -> j and then as j -> i. So edge ``e`` and edge ``e ^ 1`` are one bond's two ways.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.errors import DataError
from graphadapt.molecules.featurise import MoleculeArrays
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.vocabulary import bond_code

__all__ = ["GraphBatch", "GraphColumns", "GraphTable"]


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
        columns = {item.name: getattr(self, item.name) for item in fields(self)}
        return GraphBatch(
            **{
                name: None if column is None else column.to(device, non_blocking=True)
                for name, column in columns.items()
            }
        )


class GraphColumns(Protocol):
    """What a graph store offers to :meth:`GraphTable.from_store`."""

    @property
    def atoms(self) -> NDArray[np.uint8]:
        """``(ΣN, 9)``."""

    @property
    def bonds(self) -> NDArray[np.int16]:
        """``(ΣB, 2)`` ends of each bond, counted within its molecule."""

    @property
    def bond_features(self) -> NDArray[np.uint8]:
        """``(ΣB, 3)``."""

    @property
    def atom_offsets(self) -> NDArray[np.int64]:
        """``(G + 1,)`` first atom of every molecule, and the end."""

    @property
    def bond_offsets(self) -> NDArray[np.int64]:
        """``(G + 1,)`` first bond of every molecule, and the end."""

    def features(self, blocks: Sequence[FeatureBlock]) -> NDArray[np.generic]:
        """``(G, M)`` molecule-level features."""


class GraphTable:
    """All molecules' columns as tensors on one device.

    On the CPU the columns of a store are shared with its memory map, not copied; only the bond
    codes (one byte a bond) are made anew.

    Args:
        atoms: ``(ΣN, 9)`` uint8.
        bonds: ``(ΣB, 2)`` int16, local ends.
        bond_codes: ``(ΣB,)`` uint8.
        atom_offsets: ``(G + 1,)`` int64.
        bond_offsets: ``(G + 1,)`` int64.
        features: ``(G, M)`` of any number type, or None.
        device: where batches are to be made.
    """

    def __init__(
        self,
        *,
        atoms: Tensor,
        bonds: Tensor,
        bond_codes: Tensor,
        atom_offsets: Tensor,
        bond_offsets: Tensor,
        features: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.atoms = atoms.to(device)
        self.bonds = bonds.to(device)
        self.bond_codes = bond_codes.to(device)
        self.features = None if features is None else features.to(device)
        # The host's copy tells a batch's size without asking the device.
        self._offsets_on_host = torch.stack([atom_offsets, bond_offsets]).cpu()
        self.offsets = self._offsets_on_host.to(device)

    @classmethod
    def from_store(
        cls,
        store: GraphColumns,
        feature_blocks: Sequence[FeatureBlock] = (),
        device: torch.device | str = "cpu",
    ) -> Self:
        """Take over a graph store's columns, with the named feature blocks if any."""
        blocks = tuple(feature_blocks)
        return cls(
            atoms=_shared(store.atoms),
            bonds=_shared(store.bonds),
            bond_codes=_codes(store.bond_features),
            atom_offsets=_shared(store.atom_offsets),
            bond_offsets=_shared(store.bond_offsets),
            features=_shared(store.features(blocks)) if blocks else None,
            device=device,
        )

    @classmethod
    def from_molecules(
        cls,
        molecules: Sequence[MoleculeArrays],
        features: NDArray[np.generic] | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Join featurised molecules, with one row of ``features`` ``(G, M)`` for each."""
        if features is not None and len(features) != len(molecules):
            raise DataError(
                f"{len(features)} rows of features do not fit {len(molecules)} molecules; "
                "give one row a molecule"
            )
        atoms = [np.zeros((0, 9), np.uint8), *(each.atoms for each in molecules)]
        bonds = [np.zeros((0, 2), np.int16), *(each.bonds for each in molecules)]
        bond_features = [np.zeros((0, 3), np.uint8), *(each.bond_features for each in molecules)]
        return cls(
            atoms=_shared(np.concatenate(atoms)),
            bonds=_shared(np.concatenate(bonds)),
            bond_codes=_codes(np.concatenate(bond_features)),
            atom_offsets=_offsets(atoms),
            bond_offsets=_offsets(bonds),
            features=None if features is None else _shared(features),
            device=device,
        )

    def __len__(self) -> int:
        return self.offsets.shape[1] - 1

    @property
    def num_features(self) -> int:
        """M, 0 without features."""
        return 0 if self.features is None else self.features.shape[1]

    def gather(self, rows: Tensor) -> GraphBatch:
        """Batch the molecules at ``rows``, in that order; a row may occur more than once.

        Rows on the host never make the host wait for the device; rows on a GPU do, once, because
        the batch's size is then only known there.

        Args:
            rows: ``(G,)`` int64 in ``[0, len(self))``.
        """
        num_atoms, num_bonds = self._totals(rows)
        rows = rows.to(self.device, non_blocking=True)
        starts = self.offsets[:, rows]
        counts = self.offsets[:, rows + 1] - starts
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
        offsets = self._offsets_on_host if rows.device.type == "cpu" else self.offsets
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


def _codes(bond_features: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(bond_code(bond_features).astype(np.uint8))


def _offsets(blocks: Sequence[NDArray[np.generic]]) -> Tensor:
    """First item of every block but the leading empty one, and the end."""
    return torch.from_numpy(np.cumsum([len(block) for block in blocks], dtype=np.int64))
