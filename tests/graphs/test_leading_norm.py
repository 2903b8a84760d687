"""The norm over leading rows against torch's batch norm of those rows alone."""

import pytest
import torch
from torch.nn import functional

from graphadapt.graphs.leading_norm import leading_norm

ROWS, WIDTH = 9, 4


def inputs(dtype=torch.float64, shift=0.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64) + shift
    weight, bias = torch.randn(2, WIDTH, generator=generator, dtype=torch.float64)
    wide = torch.promote_types(dtype, torch.float32)
    given = x.to(dtype), weight.to(wide), bias.to(wide)
    return [each.clone().requires_grad_() for each in given]


def torchs(x, weight, bias, count):
    """Batch norm of the first rows, zeros after them, and running statistics at momentum 1."""
    mean, variance = weight.new_zeros(WIDTH), weight.new_ones(WIDTH)
    y = functional.batch_norm(x[:count], mean, variance, weight, bias, True, 1.0, 1e-5)
    return torch.cat([y, torch.zeros_like(x[count:])]), mean, variance


@pytest.mark.parametrize("count", [2, 5, ROWS])
def test_leading_rows_are_normalised_as_if_they_were_alone(count):
    given = inputs()
    outs = []
    for norm in (torchs, lambda *a: leading_norm(*a[:3], torch.tensor(a[3]), 1e-5)):
        y, mean, variance = norm(*given, count)
        outs.append((y, mean, variance, *torch.autograd.grad(y.sin().sum(), given)))
    for expected, found in zip(*outs, strict=True):
        torch.testing.assert_close(found, expected)
    assert not outs[1][0][count:].any()
    assert not outs[1][3][count:].any()


def test_what_follows_the_leading_rows_does_not_matter():
    x, weight, bias = inputs()
    outs = []
    for filling in (0.0, torch.nan):
        other = x.detach().clone()
        other[5:] = filling
        other.requires_grad_()
        y, mean, variance = leading_norm(other, weight, bias, torch.tensor(5), 1e-5)
        gradients = torch.autograd.grad(y.square().sum(), (other, weight, bias))
        outs.append((y, mean, variance, *gradients))
    for one, two in zip(*outs, strict=True):
        assert torch.equal(one, two)


def test_gradients_are_the_numeric_ones():
    count = torch.tensor(6)
    assert torch.autograd.gradcheck(lambda *a: leading_norm(*a, count, 1e-5)[0], inputs())


def test_bfloat16_is_normalised_in_float32():
    given = inputs(torch.bfloat16, shift=3.0)
    y, mean, variance = leading_norm(*given, torch.tensor(7), 1e-5)
    expected, *statistics = torchs(*given, 7)
    assert y.dtype == torch.bfloat16
    assert mean.dtype == variance.dtype == torch.float32
    torch.testing.assert_close(y, expected, rtol=2**-7, atol=1e-6)
    torch.testing.assert_close([mean, variance], statistics)
    found = torch.autograd.grad(y.float().sin().sum(), given)
    wanted = torch.autograd.grad(expected.float().sin().sum(), given)
    for one, two in zip(found, wanted, strict=True):
        assert one.dtype == two.dtype
        torch.testing.assert_close(one.float(), two.float(), rtol=0.03, atol=0.03)


def test_one_leading_row_has_no_variance_instead_of_an_error():
    y, mean, variance = leading_norm(*inputs(), torch.tensor(1), 1e-5)
    x, _, bias = inputs()
    torch.testing.assert_close(y[0], bias)
    torch.testing.assert_close(mean, x[0])
    assert not variance.any()
