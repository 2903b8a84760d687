"""Batch norm over the leading rows of a padded batch, in plain tensors.

Shapes: N rows, D columns.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["leading_norm"]


def leading_norm(
    x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, count: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Normalise the first ``count`` rows by their own mean and variance, and zero the others.

    .. math:: y_n = w \, \frac{x_n - \mu}{\sqrt{\sigma^2 + \epsilon}} + b \quad (n < c), \qquad
              \mu = \frac{1}{c} \sum_{n < c} x_n, \quad
              \sigma^2 = \frac{1}{c} \sum_{n < c} (x_n - \mu)^2

    The count stays on the device, so that a captured step serves every batch of its shape. The
    gradient is that of the leading rows alone, in closed form. Computed in float32 at least.

    Args:
        x_ND: rows; what stands after the first ``count`` is never looked at, but must be finite.
        weight_D: w.
        bias_D: b.
        count: c, an int64 scalar, at least 1.
        epsilon: ε.

    Returns:
        y in the precision of x, the mean, and the variance as an estimate for all molecules (a sum
        over c - 1; the plain one where c is 1). The two carry no gradient.

    References:
        Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1 and section 3.
    """
    normed: tuple[Tensor, Tensor, Tensor] = _LeadingNorm.apply(  # type: ignore[no-untyped-call]
        x_ND, weight_D, bias_D, count, epsilon
    )
    return normed


class _LeadingNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, count: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide_ND = x_ND.to(torch.promote_types(x_ND.dtype, torch.float32))
        leads_N1 = _leading(x_ND, count)
        mean_D = torch.where(leads_N1, wide_ND, 0).sum(0) / count
        centred_ND = torch.where(leads_N1, wide_ND - mean_D, 0)
        squares_D = centred_ND.square().sum(0)
        rate_D = torch.rsqrt(squares_D / count + epsilon)
        y_ND = torch.where(leads_N1, centred_ND * (rate_D * weight_D) + bias_D, 0)
        variance_D = squares_D / (count - 1).clamp(min=1)
        ctx.save_for_backward(x_ND, weight_D, count, mean_D, rate_D)
        ctx.mark_non_differentiable(mean_D, variance_D)
        return y_ND.to(x_ND.dtype), mean_D, variance_D

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x_ND, weight_D, count, mean_D, rate_D = ctx.saved_tensors
        leads_N1 = _leading(x_ND, count)
        gradient_ND = torch.where(leads_N1, gradients[0].to(mean_D.dtype), 0)
        unit_ND = torch.where(leads_N1, (x_ND.to(mean_D.dtype) - mean_D) * rate_D, 0)
        bias_gradient = gradient_ND.sum(0)
        weight_gradient = (gradient_ND * unit_ND).sum(0)
        shared_ND = (bias_gradient + unit_ND * weight_gradient) / count
        x_gradient = torch.where(leads_N1, (gradient_ND - shared_ND) * (rate_D * weight_D), 0)
        return (
            x_gradient.to(x_ND.dtype),
            weight_gradient.to(weight_D.dtype),
            bias_gradient.to(weight_D.dtype),
            None,
            None,
        )


def _leading(x_ND: Tensor, count: Tensor) -> Tensor:
    """Which rows lead, ``(N, 1)``."""
    return (torch.arange(len(x_ND), device=x_ND.device) < count).unsqueeze(1)
