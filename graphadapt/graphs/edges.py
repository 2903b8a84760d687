"""Directed edges in the order in which they are added up, and the distinct messages along them.

Shapes: E directed edges, S sources, V targets, P messages, N nodes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from graphadapt.molecules.vocabulary import BOND_CODES

__all__ = [
    "BondMessages",
    "BondOrder",
    "GroupedEdges",
    "bond_order",
    "distinct_messages",
    "edge_messages",
    "group_edges",
]


@dataclass(frozen=True, slots=True)
class GroupedEdges:
    """Edges from S sources to V targets, grouped by target and, for the way back, by source.

    Group ``v`` of the edges by target are ``by_target[target_offsets[v] : target_offsets[v + 1]]``.
    """

    source: Tensor
    """``(E,)`` int64 in ``[0, S)``."""

    target: Tensor
    """``(E,)`` int64 in ``[0, V)``."""

    by_source: Tensor | None
    """``(E,)`` edges sorted by source; None if they stand so."""

    by_target: Tensor | None
    """``(E,)`` edges sorted by target; None if they stand so."""

    source_offsets: Tensor
    """``(S + 1,)``."""

    target_offsets: Tensor
    """``(V + 1,)``."""

    sources_by_target: Tensor
    """``(E,)``, ``source[by_target]``."""

    targets_by_source: Tensor
    """``(E,)``, ``target[by_source]``."""

    def reversed(self) -> "GroupedEdges":
        """The same edges, each pointing back."""
        return GroupedEdges(
            source=self.target,
            target=self.source,
            by_source=self.by_target,
            by_target=self.by_source,
            source_offsets=self.target_offsets,
            target_offsets=self.source_offsets,
            sources_by_target=self.targets_by_source,
            targets_by_source=self.sources_by_target,
        )


def group_edges(
    source_E: Tensor, target_E: Tensor, num_sources: int, num_targets: int
) -> GroupedEdges:
    """Group edges at both of their ends, without making the host wait for a GPU."""
    by_source, source_offsets = _sorted_groups(source_E, num_sources)
    by_target, target_offsets = _sorted_groups(target_E, num_targets)
    return GroupedEdges(
        source=source_E,
        target=target_E,
        by_source=by_source,
        by_target=by_target,
        source_offsets=source_offsets,
        target_offsets=target_offsets,
        sources_by_target=source_E[by_target],
        targets_by_source=target_E[by_source],
    )


def _sorted_groups(group_E: Tensor, count: int) -> tuple[Tensor, Tensor]:
    sorted_E, order_E = torch.sort(group_E, stable=True)
    return order_E, _borders(sorted_E, count)


def _borders(sorted_E: Tensor, count: int) -> Tensor:
    """Where each of ``count`` groups begins in a sorted column, and the end, ``(count + 1,)``."""
    return torch.searchsorted(sorted_E, torch.arange(count + 1, device=sorted_E.device))


@dataclass(frozen=True, slots=True)
class BondOrder:
    """Edges between nodes grouped at both ends, with their bond codes in either order."""

    edges: GroupedEdges

    codes_by_target: Tensor
    """``(E,)``, ``code[by_target]``."""

    codes_by_source: Tensor
    """``(E,)``, ``code[by_source]``."""


def bond_order(source_E: Tensor, target_E: Tensor, code_E: Tensor, num_nodes: int) -> BondOrder:
    """Group edges with bond codes by sorting them twice."""
    edges = group_edges(source_E, target_E, num_nodes, num_nodes)
    return BondOrder(edges, code_E[edges.by_target], code_E[edges.by_source])


@dataclass(frozen=True, slots=True)
class BondMessages:
    """P messages ``relu(x[source] + bond[code])``, from their senders to their receivers."""

    code: Tensor
    """``(P,)`` int64 bond code."""

    sending: GroupedEdges
    """P edges from the N nodes to the messages: edge ``p`` ends at message ``p``."""

    receiving: GroupedEdges
    """E edges from the messages to the N nodes, in the caller's order."""


def distinct_messages(
    source_E: Tensor, target_E: Tensor, code_E: Tensor, num_nodes: int
) -> BondMessages:
    """Every message once, for bond codes in ``[0, 60)``.

    A message is the same for every bond of one kind that leaves a node. In drug-like molecules that
    leaves P = 0.58 E, and memory traffic is all that message passing costs. How many there are must
    be known on the host, so a GPU would be waited for.
    """
    key_P, message_E = torch.unique(source_E * BOND_CODES + code_E, return_inverse=True)
    return BondMessages(
        code=key_P % BOND_CODES,
        sending=_one_to_each(key_P // BOND_CODES, None, None, num_nodes),
        receiving=group_edges(message_E, target_E, len(key_P), num_nodes),
    )


def edge_messages(code_E: Tensor, edges: GroupedEdges) -> BondMessages:
    """One message an edge: as many as there are edges, which the host knows."""
    sending = _one_to_each(
        edges.source, edges.by_source, edges.source_offsets, len(edges.source_offsets) - 1
    )
    message_E = sending.target
    receiving = GroupedEdges(
        source=message_E,
        target=edges.target,
        by_source=None,
        by_target=edges.by_target,
        source_offsets=sending.target_offsets,
        target_offsets=edges.target_offsets,
        sources_by_target=message_E if edges.by_target is None else edges.by_target,
        targets_by_source=edges.target,
    )
    return BondMessages(code_E, sending, receiving)


def _one_to_each(
    source_P: Tensor, by_source: Tensor | None, source_offsets: Tensor | None, num_sources: int
) -> GroupedEdges:
    """Edge ``p`` from ``source_P[p]`` to target ``p``; without an order, sources are ascending."""
    if source_offsets is None:
        source_offsets = _borders(source_P, num_sources)
    borders = torch.arange(len(source_P) + 1, device=source_P.device)
    return GroupedEdges(
        source=source_P,
        target=borders[:-1],
        by_source=by_source,
        by_target=None,
        source_offsets=source_offsets,
        target_offsets=borders,
        sources_by_target=source_P,
        targets_by_source=borders[:-1] if by_source is None else by_source,
    )
