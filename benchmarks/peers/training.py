"""A peer's training loop, one step a call, as its examples write it or at its best settings.

Shapes: G graphs of a batch, T tasks, N atoms, E directed edges.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from graphadapt.data.ragged import GraphColumns
from graphadapt.trainer.precision import autocast
from peers.network import PeerNetwork

__all__ = [
    "DirectedMolecule",
    "LabelledGraphs",
    "PeerSettings",
    "PeerTraining",
    "endless",
    "labelled_loss",
]

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerSettings:
    """How a peer is trained."""

    tuned: bool = False
    """Its best settings: the library's own fast forms, every batch put together before training
    and kept on the device, the fused optimiser, no waiting for the device in a step. Otherwise
    what its examples do: batches put together as they are needed."""

    precision: str = "float32"
    """Of matrix products: ``float32``, or ``bfloat16`` by autocast."""

    compiled: bool = False
    """Whether ``torch.compile`` is applied to the network; pays on a GPU at most."""

    workers: int = 0
    """Processes that put batches together where they are made as needed; 0 is the trainer's."""


class DirectedMolecule(NamedTuple):
    """One molecule as both libraries take it, two edges a bond."""

    atoms: Tensor
    """``(N, 9)`` int64."""

    ends: Tensor
    """``(2, E)`` int64, sender and receiver."""

    bonds: Tensor
    """``(E, 3)`` int64."""


@dataclass(frozen=True)
class LabelledGraphs:
    """Molecules and their labels, and which of them make each batch."""

    columns: GraphColumns
    labels: Tensor
    """``(molecules, T)`` float32, NaN where there is none."""

    batches: Sequence[NDArray[np.int64]]
    """Rows of every batch, in the order of the steps; after the last comes the first."""

    is_binary: bool = True
    """Whether labels are a yes or no; otherwise they are values."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """Molecules that occur in a batch, ascending."""
        return np.unique(np.concatenate(self.batches))

    def molecule(self, row: int) -> DirectedMolecule:
        arrays = self.columns.molecule(row)
        bonds = torch.from_numpy(arrays.bonds.astype(np.int64))
        features = torch.from_numpy(arrays.bond_features.astype(np.int64))
        return DirectedMolecule(
            torch.from_numpy(arrays.atoms.astype(np.int64)),
            torch.stack([bonds, bonds.flip(1)], dim=1).view(-1, 2).T.contiguous(),
            features.repeat_interleave(2, dim=0),
        )


class PeerTraining:
    """A network, its optimiser and an endless stream of batches.

    Args:
        network: moved to the device.
        batches: graphs and labels ``(G, T)`` on the device, for ever.
        settings: how it is trained.
        is_binary: which loss.
        device: what computes.
        learning_rate: of Adam.
    """

    def __init__(
        self,
        network: PeerNetwork,
        batches: Iterator[tuple[Any, Tensor]],
        settings: PeerSettings,
        *,
        is_binary: bool = True,
        device: torch.device | str = "cpu",
        learning_rate: float = 1e-3,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.forward = torch.compile(network, dynamic=True) if settings.compiled else network
        fused = settings.tuned or None
        self.optimiser = torch.optim.Adam(network.parameters(), learning_rate, fused=fused)
        self.batches = batches
        self.settings = settings
        self.is_binary = is_binary

    def step(self) -> Tensor:
        """Train on the next batch; returns its loss, on the device."""
        graphs, labels_GT = next(self.batches)
        self.optimiser.zero_grad()
        with autocast(self.settings.precision, self.device):
            logits_GT = self.forward(graphs)
        loss = labelled_loss(
            logits_GT, labels_GT, is_binary=self.is_binary, picks=not self.settings.tuned
        )
        loss.backward()
        self.optimiser.step()
        return loss.detach()


def labelled_loss(
    logits_GT: Tensor, labels_GT: Tensor, *, is_binary: bool = True, picks: bool = False
) -> Tensor:
    """Mean loss over the labelled cells: cross entropy of yes or no, or squared error.

    Args:
        logits_GT: at any precision; raised to float32 at least.
        labels_GT: NaN where there is none.
        is_binary: which loss.
        picks: whether the labelled cells are picked out, as OGB's example does, and a GPU waited
            for; else the others are multiplied by zero.
    """
    logits_GT = logits_GT.to(torch.promote_types(logits_GT.dtype, torch.float32))
    labelled_GT = ~labels_GT.isnan()
    loss = functional.binary_cross_entropy_with_logits if is_binary else functional.mse_loss
    if picks:
        return loss(logits_GT[labelled_GT], labels_GT[labelled_GT].to(logits_GT.dtype))
    filled_GT = labels_GT.nan_to_num().to(logits_GT.dtype)
    cells_GT = loss(logits_GT, filled_GT, reduction="none")
    return (cells_GT * labelled_GT).sum() / labelled_GT.sum()


def endless(batches: Iterable[Item]) -> Iterator[Item]:
    """One epoch after the other."""
    while True:
        yield from batches
