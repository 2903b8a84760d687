"""How Triton's programs are launched: grids, number types, the compiler's options, the device.

Shapes: N rows, D columns.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["launch", "product_type", "sum_type", "tiles", "wide_type"]


def launch(
    program: Any, grid: tuple[int, ...], x: Tensor, *others: object, **constants: Any
) -> None:
    """Run one program for each point of the grid, if there is any, on the GPU that holds ``x``.

    Args:
        program: what ``triton.jit`` made.
        grid: programs along each axis.
        x: its first argument.
        others: tensors, numbers and Nones that follow.
        constants: what it is compiled for, by name.
    """
    if 0 in grid:
        return
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        # Options are given even where they are the default, which changes between versions.
        program[grid](x, *others, **constants, num_warps=4, enable_fp_fusion=True)


def tiles(rows: int, rows_each: int, columns: int, columns_each: int) -> tuple[int, int]:
    """How many tiles cover ``rows`` by ``columns``, along either axis."""
    return triton.cdiv(rows, rows_each), triton.cdiv(columns, columns_each)


def wide_type(x: Tensor) -> torch.dtype:
    """What sums over x are held in: float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def sum_type(x: Tensor) -> Any:
    """The same in Triton's terms."""
    return _in_triton(wide_type(x))


def product_type(x: Tensor, program: Any) -> Any:
    """What a program multiplies matrices made from x in, in Triton's terms: its own type.

    Triton's interpreter cannot multiply bfloat16; float32 gives the same numbers.
    """
    is_interpreted = not isinstance(program, triton.JITFunction)
    if is_interpreted and x.dtype == torch.bfloat16:
        return tl.float32
    return _in_triton(x.dtype)


def _in_triton(dtype: torch.dtype) -> Any:
    return getattr(tl, str(dtype).removeprefix("torch."))
