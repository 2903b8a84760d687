"""Batch norm over the leading rows of a padded batch, through Triton.

Shapes: N rows, D columns, P parts of the rows.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphadapt.graphs import triton_norm_programs as programs
from graphadapt.graphs.triton_launch import launch, sum_type, tiles, wide_type

__all__ = ["triton_leading_norm"]

_ROWS, _COLUMNS = 32, 64
_FEWEST_BLOCKS, _MOST_PARTS = 4, 64


def triton_leading_norm(
    x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, count: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`graphadapt.graphs.leading_norm.leading_norm` says, reading x twice each way."""
    normed: tuple[Tensor, Tensor, Tensor] = _LeadingNorm.apply(  # type: ignore[no-untyped-call]
        x_ND.contiguous(), weight_D, bias_D, count, epsilon
    )
    return normed


class _LeadingNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, count: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean_D, rate_D, variance_D = _statistics(x_ND, count, epsilon)
        y_ND = torch.empty_like(x_ND)
        launch(
            programs.normalise,
            tiles(len(x_ND), _ROWS, x_ND.shape[1], _COLUMNS),
            x_ND,
            count,
            mean_D,
            rate_D,
            weight_D,
            bias_D,
            y_ND,
            len(x_ND),
            **_constants(x_ND),
        )
        ctx.save_for_backward(x_ND, weight_D, count, mean_D, rate_D)
        ctx.mark_non_differentiable(mean_D, variance_D)
        return y_ND, mean_D, variance_D

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, weight_D, count, mean_D, rate_D = ctx.saved_tensors
        gradient_ND = gradients[0].contiguous()
        bias_gradient, weight_gradient = _column_gradients(x_ND, gradient_ND, count, mean_D, rate_D)
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = torch.empty_like(x_ND)
            launch(
                programs.row_gradient,
                tiles(len(x_ND), _ROWS, x_ND.shape[1], _COLUMNS),
                x_ND,
                count,
                mean_D,
                rate_D,
                weight_D,
                gradient_ND,
                bias_gradient,
                weight_gradient,
                x_gradient,
                len(x_ND),
                **_constants(x_ND),
            )
        dtype = weight_D.dtype
        return x_gradient, weight_gradient.to(dtype), bias_gradient.to(dtype), None, None


def _statistics(x_ND: Tensor, count: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, reciprocal deviation and unbiased variance of the leading rows, each ``(D,)``."""
    grid, blocks = _parts(x_ND)
    width, wide = x_ND.shape[1], wide_type(x_ND)
    mean_PD, square_PD = x_ND.new_empty((2, grid[0], width), dtype=wide)
    launch(
        programs.statistic_parts,
        grid,
        x_ND,
        count,
        mean_PD,
        square_PD,
        **_constants(x_ND),
        BLOCKS=blocks,
    )
    mean_D, rate_D, variance_D = x_ND.new_empty((3, width), dtype=wide)
    launch(
        programs.join_parts,
        (grid[1],),
        mean_PD,
        square_PD,
        count,
        mean_D,
        rate_D,
        variance_D,
        grid[0],
        WIDTH=width,
        SUM=sum_type(x_ND),
        EPSILON=epsilon,
        PART_ROWS=blocks * _ROWS,
        PARTS=_MOST_PARTS,
        COLUMNS=_COLUMNS,
    )
    return mean_D, rate_D, variance_D


def _column_gradients(
    x_ND: Tensor, gradient_ND: Tensor, count: Tensor, mean_D: Tensor, rate_D: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of bias and weight, each ``(D,)``."""
    grid, blocks = _parts(x_ND)
    part_2PD = x_ND.new_empty((2, grid[0], x_ND.shape[1]), dtype=wide_type(x_ND))
    launch(
        programs.gradient_parts,
        grid,
        x_ND,
        count,
        mean_D,
        rate_D,
        gradient_ND,
        *part_2PD,
        **_constants(x_ND),
        BLOCKS=blocks,
    )
    bias_gradient, weight_gradient = part_2PD.sum(1)
    return bias_gradient, weight_gradient


def _parts(x_ND: Tensor) -> tuple[tuple[int, int], int]:
    """Parts by column tiles, and how many tiles of rows are in a part."""
    blocks = _FEWEST_BLOCKS
    while len(x_ND) > _MOST_PARTS * blocks * _ROWS:
        blocks *= 2
    return tiles(len(x_ND), blocks * _ROWS, x_ND.shape[1], _COLUMNS), blocks


def _constants(x_ND: Tensor) -> dict[str, Any]:
    return {
        "WIDTH": x_ND.shape[1],
        "SUM": sum_type(x_ND),
        "ROWS": _ROWS,
        "COLUMNS": _COLUMNS,
    }
