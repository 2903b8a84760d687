"""AdamW with decay on matrices only, and a warm-up followed by a cosine."""

import math

import torch
from torch import Tensor, nn

from graphadapt.training_config import TrainerConfig

__all__ = ["build_optimiser", "learning_rate", "set_learning_rate"]


def build_optimiser(
    model: nn.Module, config: TrainerConfig, *, capturable: bool = False
) -> torch.optim.AdamW:
    """AdamW over what is trainable; biases, norms and other vectors are not decayed.

    Args:
        model: on its device already.
        config: rate and decay.
        capturable: whether steps are recorded and replayed: then the rate is a tensor beside the
            weights, which a replay reads anew.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    rate: float | Tensor = config.learning_rate
    if capturable and trainable:
        rate = torch.tensor(config.learning_rate, device=trainable[0].device)
    return torch.optim.AdamW(groups, lr=rate, fused=True, capturable=capturable)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use this rate from now on, in recorded steps too."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


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
