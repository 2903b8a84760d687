"""Learned tables for atoms and bonds, in OGB's vocabularies.

Shapes: N nodes, D width, C = 60 bond codes, R rows of all atom tables.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.molecules.vocabulary import (
    ATOM_FEATURE_OFFSETS,
    ATOM_FEATURE_SIZES,
    BOND_CODES,
    BOND_FEATURE_SIZES,
)

__all__ = ["AtomEncoder", "BondEncoder", "multi_hot_rows"]


class AtomEncoder(nn.Module):
    r"""Add up one learned row for each of an atom's nine features.

    .. math:: x_v = \sum_{i=1}^{9} T_i[a_{v,i}]

    Under autocast the sum is made in float32 and then rounded, so that the first layer's messages
    flow in the same precision as the others'.

    Args:
        width: D.

    References:
        Hu et al., Open Graph Benchmark, 2020: its ``AtomEncoder``.
    """

    starts: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tables = _tables(ATOM_FEATURE_SIZES, width)
        self.register_buffer("starts", torch.tensor(ATOM_FEATURE_OFFSETS), persistent=False)

    def forward(self, atoms_N9: Tensor) -> Tensor:
        """Look up atoms ``(N, 9)``, giving ``(N, D)``."""
        joined = torch.cat(_weights(self.tables))
        rows_N9, device = atoms_N9 + self.starts, joined.device.type
        if device == "cpu":
            x_ND = functional.embedding_bag(rows_N9, joined, mode="sum")
        else:
            x_ND = multi_hot_rows(rows_N9, joined)
        if torch.is_autocast_enabled(device):
            return x_ND.to(torch.get_autocast_dtype(device))
        return x_ND


class BondEncoder(nn.Module):
    r"""Add up one learned row for each of a bond's three features: type, stereo, conjugation.

    Only 60 combinations exist, so each is made once a call and the edges look it up by its code.

    Args:
        width: D.

    References:
        Hu et al., Open Graph Benchmark, 2020: its ``BondEncoder``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tables = _tables(BOND_FEATURE_SIZES, width)

    def forward(self) -> Tensor:
        """The row of every bond code, ``(C, D)``."""
        kind, stereo, conjugated = _weights(self.tables)
        summed = kind[:, None, None] + stereo[None, :, None] + conjugated[None, None, :]
        return summed.reshape(BOND_CODES, -1)


def multi_hot_rows(rows_NF: Tensor, table_RD: Tensor) -> Tensor:
    """Add up F different rows of a short table for every n as a matrix product, ``(N, D)``.

    A GPU multiplies by R = 174 rows in less time than it takes ``embedding_bag``'s gradient to sort
    the indices and add up the few rows that nearly all atoms share.
    """
    chosen_NR = table_RD.new_zeros((len(rows_NF), len(table_RD))).scatter_(1, rows_NF, 1)
    with torch.autocast(table_RD.device.type, enabled=False):
        return chosen_NR @ table_RD


def _tables(sizes: tuple[int, ...], width: int) -> nn.ModuleList:
    tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
    for weight in _weights(tables):
        nn.init.xavier_uniform_(weight)
    return tables


def _weights(tables: nn.ModuleList) -> list[Tensor]:
    return [cast("nn.Embedding", table).weight for table in tables]
