# What Triton compiles is not typed Python.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""Sums of contiguous segments through Triton.

Shapes: N rows, S segments, D columns.
"""

import triton
import triton.language as tl
from torch import Tensor

from graphadapt.graphs.triton_launch import launch, sum_type, tiles

__all__ = ["segment_sum"]

_ROWS, _COLUMNS = 16, 64


def segment_sum(x_ND: Tensor, offsets: Tensor) -> Tensor:
    """Add up segment after segment in float32 at least, ``(S, D)``; no autograd.

    Args:
        x_ND: rows.
        offsets: ``(S + 1,)`` int64 first row of each segment, and the end of the last one; rows
            after that are never read.
    """
    x_ND, segments = x_ND.contiguous(), len(offsets) - 1
    out_SD = x_ND.new_empty((segments, x_ND.shape[1]))
    launch(
        _segment_sum,
        tiles(segments, 1, x_ND.shape[1], _COLUMNS),
        x_ND,
        offsets,
        out_SD,
        WIDTH=x_ND.shape[1],
        SUM=sum_type(x_ND),
        ROWS=_ROWS,
        COLUMNS=_COLUMNS,
    )
    return out_SD


@triton.jit
def _segment_sum(
    x,
    offsets,
    out,
    WIDTH: tl.constexpr,
    SUM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    segment = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.load(offsets + segment)
    end = tl.load(offsets + segment + 1)
    total = tl.zeros((ROWS, COLUMNS), SUM)
    while first < end:
        row = (first + tl.arange(0, ROWS))[:, None]
        held = (row < end) & (column < WIDTH)[None, :]
        total += tl.load(x + row * WIDTH + column[None, :], mask=held, other=0.0).to(SUM)
        first += ROWS
    summed = tl.sum(total, 0).to(out.dtype.element_ty)
    tl.store(out + segment * WIDTH + column, summed, mask=column < WIDTH)
