"""AdamW with decay on matrices only, and a warm-up followed by a cosine."""

import math

import torch
from torch import nn

from graphadapt.config import TrainerConfig

__all__ = ["build_optimiser", "learning_rate"]


def build_optimiser(model: nn.Module, config: TrainerConfig) -> torch.optim.AdamW:
    """AdamW over what is trainable; biases, norms and other vectors are not decayed."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate(step: int, total: int, config: TrainerConfig) -> float:
    r"""Learning rate of one step.

    .. math:: \eta_s = \eta \cdot \begin{cases} (s + 1) / (S_w + 1) & s < S_w \\
              f + (1 - f) \tfrac12 \left(1 + \cos \pi \tfrac{s - S_w}{S - S_w}\right) &
              \text{otherwise} \end{cases}

    with :math:`S_w` warm-up steps, S steps in all and f the final share.

    Example:
        >>> config = TrainerConfig(learning_rate=1.0, warmup=0.5, final_rate=0.0)
        >>> [round(learning_rate(s, 4, config), 3) for s in range(4)]
        [0.333, 0.667, 1.0, 0.5]
    """
    warm = int(config.warmup * total)
    if step < warm:
        return config.learning_rate * (step + 1) / (warm + 1)
    share = (step - warm) / max(1, total - warm)
    cosine = (1 + math.cos(math.pi * share)) / 2
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * cosine)
