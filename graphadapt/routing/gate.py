"""From routing logits to sparse weights over adapters.

Shapes: ... any leading axes, such as sites and tasks, K adapters.
"""

from torch import Tensor

from graphadapt.errors import ConfigError

__all__ = ["gate", "hard_gate", "soft_gate"]


def soft_gate(logits: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Routing probabilities :math:`\pi = \mathrm{softmax}(\zeta / \tau)`, ``(..., K)``.

    Raises:
        ConfigError: if ``temperature`` is not above 0.
    """
    if not temperature > 0:
        raise ConfigError(
            f"temperature={temperature} must be above 0; 1.0 leaves logits as they are"
        )
    return (logits / temperature).softmax(-1)


def hard_gate(probability: Tensor, threshold: float) -> Tensor:
    r"""Drop small probabilities and share their mass among the rest.

    .. math:: \hat g = \mathrm{normalise}(\pi \cdot 1[\pi \ge \min(\theta, \max_k \pi_k)])

    A task's largest probability stays even where θ is above it; of several equal ones all stay, so
    that the adapters' order does not matter.

    Args:
        probability: π, rows that sum to one.
        threshold: θ, in ``[0, 1)``.

    Returns:
        ``(..., K)``, rows that sum to one.

    Raises:
        ConfigError: if θ is outside its range.

    Example:
        >>> import torch
        >>> hard_gate(torch.tensor([[0.5, 0.3, 0.2]]), 0.25)
        tensor([[0.6250, 0.3750, 0.0000]])
        >>> hard_gate(torch.tensor([[0.5, 0.3, 0.2]]), 0.9)
        tensor([[1., 0., 0.]])
    """
    if not 0 <= threshold < 1:
        raise ConfigError(f"threshold={threshold} is not in [0, 1); 0 keeps every adapter")
    limit = probability.amax(-1, keepdim=True).clamp(max=threshold)
    kept = probability * (probability >= limit)
    return kept / kept.sum(-1, keepdim=True)


def gate(logits: Tensor, temperature: float = 1.0, threshold: float = 0.0) -> Tensor:
    r"""Sparse weights that train as if they were soft.

    .. math:: g = \pi + \mathrm{stopgrad}(\hat g - \pi)

    The value is ``ĝ`` exactly, zeros included; the gradient is that of the softmax ``π``, so a
    dropped adapter can come back.

    Args:
        logits: ζ.
        temperature: τ, above 0.
        threshold: θ, in ``[0, 1)``.

    Returns:
        ``(..., K)``, rows that sum to one.

    References:
        Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013.
    """
    soft = soft_gate(logits, temperature)
    # π − π is zero in every bit, while π + (ĝ − π) is ĝ only up to rounding.
    return hard_gate(soft.detach(), threshold) + (soft - soft.detach())
