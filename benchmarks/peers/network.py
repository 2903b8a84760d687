"""OGB's GIN with a virtual node, restated for libraries that pass messages in other ways.

Shapes: N nodes, E directed edges, G graphs, D width, L layers, T tasks.

Hu et al., Open Graph Benchmark, 2020, describes the network. ogb itself is not imported.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphadapt.molecules.vocabulary import ATOM_FEATURE_SIZES, BOND_FEATURE_SIZES

__all__ = ["EmbeddingSum", "PeerNetwork", "bond_embedding", "mlp"]


class EmbeddingSum(nn.Module):
    """One table for each column of codes; a row's embedding is the sum of what they say."""

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        for table in self.tables:
            nn.init.xavier_uniform_(table.weight)

    def forward(self, codes: Tensor) -> Tensor:
        """Map ``(..., columns)`` int64 to ``(..., D)``."""
        total = self.tables[0](codes[..., 0])
        for column, table in enumerate(self.tables[1:], start=1):
            total = total + table(codes[..., column])
        return total


def bond_embedding(width: int) -> EmbeddingSum:
    """Every convolution has tables of its own for the three features of a bond."""
    return EmbeddingSum(BOND_FEATURE_SIZES, width)


def mlp(width: int) -> nn.Sequential:
    """Twice as wide inside, normed there."""
    return nn.Sequential(
        nn.Linear(width, 2 * width),
        nn.BatchNorm1d(2 * width),
        nn.ReLU(),
        nn.Linear(2 * width, width),
    )


class PeerNetwork(nn.Module, ABC):
    r"""Layers of convolutions over atoms and a virtual node, mean pooling, one linear head.

    .. math:: x^{l+1} = \mathrm{drop}(\mathrm{relu}(\mathrm{norm}(\mathrm{conv}(x^l + s^l)))), \quad
              s^{l+1} = \mathrm{drop}(\mathrm{mlp}(s^l + \textstyle\sum_v (x^l_v + s^l)))

    without relu in the last layer. A subclass says how its library passes messages, pools and
    spreads. Its convolutions have ``bonds``, an :class:`EmbeddingSum`; ``mlp``; and ``epsilon``.

    Args:
        tasks: T.
        convolution: makes one convolution of a width.
        width: D.
        layers: L.
        dropout: chance to drop an entry.
    """

    def __init__(
        self,
        tasks: int,
        convolution: Callable[[int], nn.Module],
        *,
        width: int = 300,
        layers: int = 5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.atoms = EmbeddingSum(ATOM_FEATURE_SIZES, width)
        self.convolutions = nn.ModuleList(convolution(width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(layers))
        self.virtual = nn.Embedding(1, width)
        nn.init.zeros_(self.virtual.weight)
        self.updates = nn.ModuleList(
            nn.Sequential(*mlp(width), nn.BatchNorm1d(width), nn.ReLU()) for _ in range(layers - 1)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, tasks)

    @abstractmethod
    def atom_codes(self, graphs: Any) -> Tensor:
        """``(N, 9)`` int64."""

    @abstractmethod
    def count(self, graphs: Any) -> int:
        """G."""

    @abstractmethod
    def convolve(self, layer: int, x_ND: Tensor, graphs: Any) -> Tensor:
        """Pass messages along the bonds, ``(N, D)``."""

    @abstractmethod
    def spread(self, state_GD: Tensor, graphs: Any) -> Tensor:
        """Give every node its graph's row, ``(N, D)``."""

    @abstractmethod
    def pool(self, x_ND: Tensor, graphs: Any, how: str) -> Tensor:
        """``sum`` or ``mean`` over every graph's nodes, ``(G, D)``."""

    def forward(self, graphs: Any) -> Tensor:
        """Logits of every graph, ``(G, T)``."""
        x_ND = self.atoms(self.atom_codes(graphs))
        zeros = torch.zeros(self.count(graphs), dtype=torch.int64, device=x_ND.device)
        state_GD = self.virtual(zeros)
        for layer, norm in enumerate(self.norms):
            x_ND = x_ND + self.spread(state_GD, graphs)
            y_ND = norm(self.convolve(layer, x_ND, graphs))
            if layer < len(self.updates):
                y_ND = torch.relu(y_ND)
                heard_GD = self.pool(x_ND, graphs, "sum") + state_GD
                state_GD = self.dropout(self.updates[layer](heard_GD))
            x_ND = self.dropout(y_ND)
        return self.head(self.pool(x_ND, graphs, "mean"))
