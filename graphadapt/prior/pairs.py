"""Who hears whom between tasks and adapters, at several sites at once.

Shapes: S sites, N receiving nodes of a site, M sending nodes of a site, E directed edges.

The sites' graphs stand one after the other as one graph without edges between them: receiver ``n``
of site ``s`` is node ``s N + n``, sender ``m`` is node ``s M + m``.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

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
# given every time; as ordinary tensors, which training may keep for its backward pass, even if an
# evaluation in inference mode asks first.
@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def all_pairs(sites: int, senders: int, receivers: int, device: torch.device) -> Pairs:
    """An edge from every sender of a site to every receiver of it."""
    source_E, target_E = _ends(sites, senders, receivers, device)
    return Pairs(source_E, target_E, None)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def other_pairs(sites: int, nodes: int, device: torch.device) -> Pairs:
    """An edge from every node of a site to every other one of it; none for a single node."""
    source_E, target_E = _ends(sites, nodes, nodes, device)
    position_E = (source_E != target_E).nonzero().squeeze(1)
    return Pairs(source_E[position_E], target_E[position_E], position_E)


def _ends(sites: int, senders: int, receivers: int, device: torch.device) -> tuple[Tensor, Tensor]:
    target_SN = torch.arange(sites * receivers, device=device).view(sites, receivers, 1)
    source_SM = torch.arange(sites * senders, device=device).view(sites, 1, senders)
    shape = (sites, receivers, senders)
    return source_SM.expand(shape).flatten(), target_SN.expand(shape).flatten()
