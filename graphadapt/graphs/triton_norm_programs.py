# What Triton compiles is not typed Python.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The programs of a batch norm over leading rows, forward and back, as Triton compiles them.

Shapes: N rows of which the first ``count`` lead, D = WIDTH columns, P parts of BLOCKS * ROWS rows.
Every array is contiguous, and sums are held in SUM.

Statistics are gathered in parts, each of its own mean, and the parts are joined by the exact rule
(Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances,
1979): no difference of large sums is ever taken. Rows that do not lead are never read.
"""

import triton
import triton.language as tl

__all__ = ["gradient_parts", "join_parts", "normalise", "row_gradient", "statistic_parts"]


@triton.jit
def statistic_parts(
    x,
    count_of,
    mean_part,
    square_part,
    WIDTH: tl.constexpr,
    SUM: tl.constexpr,
    BLOCKS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Mean and sum of squared deviations of every part's leading rows."""
    part = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    left = tl.load(count_of) - part * BLOCKS * ROWS
    mean = tl.zeros((COLUMNS,), SUM)
    square = tl.zeros((COLUMNS,), SUM)
    for block in range(BLOCKS):
        row = (part * BLOCKS + block) * ROWS + tl.arange(0, ROWS)
        held = (block * ROWS + tl.arange(0, ROWS) < left)[:, None] & (column < WIDTH)[None, :]
        place = x + row[:, None] * WIDTH + column[None, :]
        value = tl.load(place, mask=held, other=0.0).to(SUM)
        before = tl.minimum(tl.maximum(left, 0), block * ROWS).to(SUM)
        here = tl.minimum(tl.maximum(left - block * ROWS, 0), ROWS).to(SUM)
        mean_here = tl.sum(value, 0) / tl.maximum(here, 1.0)
        off = tl.where(held, value - mean_here[None, :], 0.0)
        share = here / tl.maximum(before + here, 1.0)
        shift = mean_here - mean
        mean += shift * share
        square += tl.sum(off * off, 0) + shift * shift * before * share
    place = part * WIDTH + column
    tl.store(mean_part + place, mean, mask=column < WIDTH)
    tl.store(square_part + place, square, mask=column < WIDTH)


@triton.jit(do_not_specialize=["parts"])
def join_parts(
    mean_part,
    square_part,
    count_of,
    mean,
    rate,
    variance,
    parts,
    WIDTH: tl.constexpr,
    SUM: tl.constexpr,
    EPSILON: tl.constexpr,
    PART_ROWS: tl.constexpr,
    PARTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Mean, reciprocal deviation and unbiased variance of all leading rows."""
    part = tl.arange(0, PARTS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    count = tl.load(count_of)
    held = (part < parts)[:, None] & (column < WIDTH)[None, :]
    place = part[:, None] * WIDTH + column[None, :]
    means = tl.load(mean_part + place, mask=held, other=0.0)
    squares = tl.load(square_part + place, mask=held, other=0.0)
    rows = tl.minimum(tl.maximum(count - part * PART_ROWS, 0), PART_ROWS).to(SUM)[:, None]
    joined = tl.sum(rows * means, 0) / count.to(SUM)
    shift = means - joined[None, :]
    square = tl.sum(squares + rows * shift * shift, 0)
    is_column = column < WIDTH
    tl.store(mean + column, joined, mask=is_column)
    tl.store(rate + column, 1.0 / tl.sqrt(square / count.to(SUM) + EPSILON), mask=is_column)
    tl.store(variance + column, square / tl.maximum(count - 1, 1).to(SUM), mask=is_column)


@triton.jit(do_not_specialize=["num_rows"])
def normalise(
    x,
    count_of,
    mean,
    rate,
    weight,
    bias,
    out,
    num_rows,
    WIDTH: tl.constexpr,
    SUM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """``(x - mean) rate weight + bias`` where rows lead, else zero."""
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = column < WIDTH
    leads = (row < tl.load(count_of)) & is_column[None, :]
    centre = tl.load(mean + column, mask=is_column, other=0.0)
    scale = tl.load(rate + column, mask=is_column, other=0.0)
    scale *= tl.load(weight + column, mask=is_column, other=0.0).to(SUM)
    shift = tl.load(bias + column, mask=is_column, other=0.0).to(SUM)
    place = row * WIDTH + column[None, :]
    value = tl.load(x + place, mask=leads, other=0.0).to(SUM)
    normed = (value - centre[None, :]) * scale[None, :] + shift[None, :]
    normed = tl.where(leads, normed, 0.0).to(out.dtype.element_ty)
    tl.store(out + place, normed, mask=(row < num_rows) & is_column[None, :])


@triton.jit
def gradient_parts(
    x,
    count_of,
    mean,
    rate,
    gradient,
    bias_part,
    weight_part,
    WIDTH: tl.constexpr,
    SUM: tl.constexpr,
    BLOCKS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Sums of g and of g times the normalised x over every part's leading rows."""
    part = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = column < WIDTH
    count = tl.load(count_of)
    centre = tl.load(mean + column, mask=is_column, other=0.0)
    scale = tl.load(rate + column, mask=is_column, other=0.0)
    plain = tl.zeros((ROWS, COLUMNS), SUM)
    times = tl.zeros((ROWS, COLUMNS), SUM)
    for block in range(BLOCKS):
        row = ((part * BLOCKS + block) * ROWS + tl.arange(0, ROWS))[:, None]
        leads = (row < count) & is_column[None, :]
        place = row * WIDTH + column[None, :]
        value = tl.load(x + place, mask=leads, other=0.0).to(SUM)
        answer = tl.load(gradient + place, mask=leads, other=0.0).to(SUM)
        plain += answer
        times += answer * (value - centre[None, :]) * scale[None, :]
    place = part * WIDTH + column
    tl.store(bias_part + place, tl.sum(plain, 0), mask=is_column)
    tl.store(weight_part + place, tl.sum(times, 0), mask=is_column)


@triton.jit(do_not_specialize=["num_rows"])
def row_gradient(
    x,
    count_of,
    mean,
    rate,
    weight,
    gradient,
    bias_gradient,
    weight_gradient,
    out,
    num_rows,
    WIDTH: tl.constexpr,
    SUM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """``rate weight (g - (db + normalised x dw) / count)`` where rows lead, else zero."""
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = column < WIDTH
    count = tl.load(count_of)
    leads = (row < count) & is_column[None, :]
    centre = tl.load(mean + column, mask=is_column, other=0.0)
    scale = tl.load(rate + column, mask=is_column, other=0.0)
    slope = scale * tl.load(weight + column, mask=is_column, other=0.0).to(SUM)
    plain = tl.load(bias_gradient + column, mask=is_column, other=0.0) / count.to(SUM)
    times = tl.load(weight_gradient + column, mask=is_column, other=0.0) / count.to(SUM)
    place = row * WIDTH + column[None, :]
    value = tl.load(x + place, mask=leads, other=0.0).to(SUM)
    answer = tl.load(gradient + place, mask=leads, other=0.0).to(SUM)
    unit = (value - centre[None, :]) * scale[None, :]
    back = slope[None, :] * (answer - plain[None, :] - unit * times[None, :])
    back = tl.where(leads, back, 0.0).to(out.dtype.element_ty)
    tl.store(out + place, back, mask=(row < num_rows) & is_column[None, :])
