"""Ranges of columns gathered into one batch of a size that the host knows.

Shapes: G graphs, N places for nodes, B places for bonds, E = 2B for directed edges, C rows of a
column.

Everything is computed on the device from the ranges' starts and counts: the host only says how many
places there are. Places after the last range are padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Ranges", "both_ways", "order_by_target"]


@dataclass(frozen=True, slots=True)
class Ranges:
    """G ranges of a column, laid out one after the other over a number of places."""

    offsets: Tensor
    """``(G + 1,)``, where each range begins among the places, and where padding does."""

    owner: Tensor
    """``(places,)`` range of each place; G for padding."""

    is_taken: Tensor | None
    """``(places,)``, whether the place is no padding; None if none is."""

    position: Tensor
    """``(places,)`` row of the column; 0 for padding."""

    @classmethod
    def of(cls, starts_G: Tensor, counts_G: Tensor, places: int, *, is_padded: bool) -> "Ranges":
        """Lay ranges out over ``places`` places, as many as they have items or more if padded."""
        offsets = functional.pad(counts_G.cumsum(0), (1, 0))
        place = torch.arange(places, device=counts_G.device)
        if counts_G.is_cpu and not is_padded:
            owners = torch.arange(len(counts_G))
            owner = torch.repeat_interleave(owners, counts_G, output_size=places)
        else:
            # Items that do not fit are left out, where a GPU's repeat_interleave would write them
            # past its end.
            owner = torch.searchsorted(offsets[1:], place, right=True)
        position = place + functional.pad(starts_G - offsets[:-1], (0, 1))[owner]
        if not is_padded:
            return cls(offsets, owner, None, position)
        is_taken = owner < len(starts_G)
        return cls(offsets, owner, is_taken, torch.where(is_taken, position, 0))

    @property
    def count(self) -> Tensor:
        """How many places are taken, a scalar."""
        return self.offsets[-1]

    def take(self, column: Tensor) -> Tensor:
        """The rows of a column ``(C, ...)`` at every place; zeros for padding."""
        if len(column) == 0:
            return column.new_zeros((len(self.owner), *column.shape[1:]))
        return self.unless_padding(column[self.position], 0)

    def unless_padding(self, value: Tensor, padding: Tensor | int) -> Tensor:
        """The value ``(places, ...)`` of places that are taken, and another for padding."""
        if self.is_taken is None:
            return value
        return torch.where(self.is_taken.view(-1, *[1] * (value.ndim - 1)), value, padding)


def both_ways(bonds: Tensor, ranges: Ranges, nodes: Ranges) -> tuple[Tensor, Tensor]:
    """Senders and receivers of the edges i -> j and j -> i of every bond (i, j), each ``(E,)``.

    Padding bonds join a padding node to itself and are spread evenly over these nodes.

    Args:
        bonds: ``(C, 2)`` ends counted within the molecule.
        ranges: the bonds of each graph.
        nodes: the nodes of each graph.
    """
    first_B = nodes.offsets[ranges.owner]
    if ranges.is_taken is not None:
        # Padding bonds have both ends at 0 so far: what is added is their node.
        first_B = torch.where(ranges.is_taken, first_B, _padding(ranges, nodes))
    end_B2 = ranges.take(bonds) + first_B.unsqueeze(1)
    return end_B2.flatten(), end_B2.flip(1).flatten()


def order_by_target(order: Tensor, ranges: Ranges) -> Tensor:
    """All edges in the order of their targets, ``(E,)``, without sorting.

    A molecule's edges are sorted among themselves, and molecules come one after the other. Padding
    bonds stay where they are, behind all others: their nodes are in ascending order.

    Args:
        order: ``(C, 2)`` of :func:`graphadapt.graphs.edge_order.edges_by_target`.
        ranges: the bonds of each graph.
    """
    own_B2 = ranges.take(order) + 2 * ranges.offsets[ranges.owner].unsqueeze(1)
    place_B2 = torch.arange(2 * len(ranges.owner), device=order.device).view(-1, 2)
    return ranges.unless_padding(own_B2, place_B2).flatten()


def _padding(ranges: Ranges, nodes: Ranges) -> Tensor:
    """The node of each padding bond, ``(B,)``, ascending; other bonds get no node of use."""
    beyond_B = torch.arange(len(ranges.owner), device=ranges.owner.device) - ranges.count
    padding_nodes = len(nodes.owner) - nodes.count
    padding_bonds = (len(ranges.owner) - ranges.count).clamp(min=1)
    return nodes.count + beyond_B * padding_nodes // padding_bonds
