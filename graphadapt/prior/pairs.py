"""Who hears whom between tasks and adapters, at several sites at once.

Shapes: S sites, N receiving nodes of a site, M sending nodes of a site, E directed edges.

The sites' graphs stand one after the other as one graph without edges between them: receiver ``n``
of site ``s`` is node ``s N + n``, sender ``m`` is node ``s M + m``.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from graphadapt.graphs.derived import RecentValues

__all__ = ["Pairs", "all_pairs", "other_pairs"]


class Pairs(NamedTuple):
    """Edges from senders to receivers, grouped by receiver."""

    source: Tensor
    """``(E,)`` int64, in ``[0, S M)``."""

    target: Tensor
    """``(E,)`` int64, in ``[0, S N)``."""

    position: Tensor | None
    """``(E,)`` int64, where each edge stands among all ``(S, N, M)`` pairs; None if all do."""


# Kernels remember what they work out from the very tensors they are given, so the same ones are
# given every time.
_KNOWN: RecentValues[Pairs] = RecentValues()


def all_pairs(sites: int, senders: int, receivers: int, device: torch.device) -> Pairs:
    """An edge from every sender of a site to every receiver of it."""

    def make() -> Pairs:
        return Pairs(*_ends(sites, senders, receivers, device), None)

    return _remembered(("all", sites, senders, receivers), device, make)


def other_pairs(sites: int, nodes: int, device: torch.device) -> Pairs:
    """An edge from every node of a site to every other one of it; none for a single node."""

    def make() -> Pairs:
        source_E, target_E = _ends(sites, nodes, nodes, device)
        position_E = _off_diagonal(sites, nodes, device)
        return Pairs(source_E[position_E], target_E[position_E], position_E)

    return _remembered(("other", sites, nodes), device, make)


def _remembered(
    sizes: tuple[object, ...], device: torch.device, make: Callable[[], Pairs]
) -> Pairs:
    # As ordinary tensors, which training may keep for its backward pass, even if an evaluation in
    # inference mode asks first.
    with torch.inference_mode(False):
        return _KNOWN.recall((*sizes, device), device, make)


def _ends(sites: int, senders: int, receivers: int, device: torch.device) -> tuple[Tensor, Tensor]:
    target_SN = torch.arange(sites * receivers, device=device).view(sites, receivers, 1)
    source_SM = torch.arange(sites * senders, device=device).view(sites, 1, senders)
    shape = (sites, receivers, senders)
    return source_SM.expand(shape).flatten(), target_SN.expand(shape).flatten()


def _off_diagonal(sites: int, nodes: int, device: torch.device) -> Tensor:
    """Places off the diagonals of ``(S, N, N)``, ascending; a GPU is not asked which they are.

    Between two entries of a diagonal stand N others, so without its first entry a matrix is N - 1
    rows of N others and one of the diagonal.
    """
    site_S = torch.arange(sites, device=device).view(-1, 1, 1) * nodes**2
    row = torch.arange(nodes - 1, device=device).view(-1, 1) * (nodes + 1)
    return (site_S + row + torch.arange(1, nodes + 1, device=device)).flatten()
