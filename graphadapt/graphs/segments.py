"""Sums over segments that stand one after the other, and their transpose.

Shapes: N members, S segments, D width. ``offsets`` ``(S + 1,)`` say where each segment begins and
the last one ends. Members after that end belong to no segment: they are the padding of a batch,
and ``segment_N`` gives them the number S.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["SegmentReduce", "bag_sum", "contiguous_spread", "contiguous_sum"]

SegmentReduce = Callable[[Tensor, Tensor], Tensor]
"""From ``x_ND`` and ``offsets`` to the segments' sums ``(S, D)``, without autograd."""


def contiguous_sum(
    x_ND: Tensor, segment_N: Tensor, offsets: Tensor, reduce: SegmentReduce
) -> Tensor:
    """Add up the rows of every segment, ``(S, D)``."""
    summed: Tensor = _Sum.apply(x_ND, segment_N, offsets, reduce)  # type: ignore[no-untyped-call]
    return summed


def contiguous_spread(
    x_SD: Tensor, segment_N: Tensor, offsets: Tensor, reduce: SegmentReduce
) -> Tensor:
    """Give every member its segment's row, ``(N, D)``, and members of none zeros."""
    spread: Tensor = _Spread.apply(x_SD, segment_N, offsets, reduce)  # type: ignore[no-untyped-call]
    return spread


def bag_sum(x_ND: Tensor, offsets: Tensor) -> Tensor:
    """Add up every segment, one after the other row of it, ``(S, D)``.

    On a GPU ``embedding_bag`` takes the last bag to end at the last row, whatever the offsets say.
    So the members of no segment get a bag of their own, which is dropped.
    """
    ends = torch.cat([offsets, offsets.new_full((1,), len(x_ND))])
    rows = torch.arange(len(x_ND), device=x_ND.device)
    bags = functional.embedding_bag(rows, x_ND, ends, mode="sum", include_last_offset=True)
    return bags[:-1]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, segment_N: Tensor, offsets: Tensor, reduce: SegmentReduce
    ) -> Tensor:
        ctx.save_for_backward(segment_N, offsets)
        ctx.reduce = reduce
        return reduce(x_ND, offsets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        segment_N, offsets = ctx.saved_tensors
        return contiguous_spread(gradients[0], segment_N, offsets, ctx.reduce), None, None, None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_SD: Tensor, segment_N: Tensor, offsets: Tensor, reduce: SegmentReduce
    ) -> Tensor:
        ctx.save_for_backward(segment_N, offsets)
        ctx.reduce = reduce
        return functional.pad(x_SD, (0, 0, 0, 1)).index_select(0, segment_N)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        segment_N, offsets = ctx.saved_tensors
        return contiguous_sum(gradients[0], segment_N, offsets, ctx.reduce), None, None, None
