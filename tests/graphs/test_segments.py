"""Contiguous segments with members of none behind them, against loops and numeric gradients."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.graphs.segments import bag_sum, contiguous_spread, contiguous_sum

counts_lists = st.lists(st.integers(0, 4), max_size=6)


def layout(counts, padding):
    offsets = torch.tensor([0, *counts]).cumsum(0)
    segment = torch.tensor(
        [s for s, count in enumerate(counts) for _ in range(count)] + [len(counts)] * padding,
        dtype=torch.int64,
    )
    return segment, offsets


@settings(max_examples=50, deadline=None)
@given(counts_lists, st.integers(0, 3), st.integers(0, 10**6))
def test_sums_leave_out_what_belongs_to_no_segment(counts, padding, seed):
    segment, offsets = layout(counts, padding)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(segment), 3, generator=generator, dtype=torch.float64)
    summed = contiguous_sum(x, segment, offsets, bag_sum)
    expected = [x[a:b].sum(0) for a, b in itertools.pairwise(offsets)]
    assert summed.shape == (len(counts), 3)
    for row, other in zip(summed, expected, strict=True):
        torch.testing.assert_close(row, other)


@settings(max_examples=50, deadline=None)
@given(counts_lists, st.integers(0, 3))
def test_spread_is_the_transpose_and_gives_zeros_to_the_rest(counts, padding):
    segment, offsets = layout(counts, padding)
    y = torch.randn(len(counts), 2, dtype=torch.float64)
    spread = contiguous_spread(y, segment, offsets, bag_sum)
    end = len(segment) - padding
    assert torch.equal(spread[:end], y[segment[:end]])
    assert not spread[end:].any()
    x = torch.randn(len(segment), 2, dtype=torch.float64)
    summed = contiguous_sum(x, segment, offsets, bag_sum)
    torch.testing.assert_close((summed * y).sum(), (x * spread).sum())


def test_first_and_second_gradients_are_the_numeric_ones():
    segment, offsets = layout([2, 0, 3], 2)
    x = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)

    def summed(x):
        return contiguous_sum(x, segment, offsets, bag_sum).sin()

    def spread(y):
        return contiguous_spread(y, segment, offsets, bag_sum).sin()

    for function, value in ((summed, x), (spread, y)):
        assert torch.autograd.gradcheck(function, (value,))
        assert torch.autograd.gradgradcheck(function, (value,))
