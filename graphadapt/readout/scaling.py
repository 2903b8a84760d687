"""Regression targets to unit scale and back, from training cells only.

Shapes: G graphs, T tasks. Missing labels are NaN and stay NaN.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["TargetScaling"]

_LEAST: Final = float(np.finfo(np.float32).tiny)


class TargetScaling(nn.Module):
    r"""Standardise the regression tasks, leave the binary ones alone.

    .. math:: \tilde y_t = (y_t - \mu_t) / \sigma_t, \qquad y_t = \sigma_t \tilde y_t + \mu_t

    Binary tasks hold :math:`\mu = 0, \sigma = 1`.

    Args:
        mean_T: μ in the task's own units.
        deviation_T: σ in the task's own units, above 0.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean_T: Tensor, deviation_T: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean_T)
        self.register_buffer("deviation", deviation_T)

    @classmethod
    def fit(cls, labels_GT: NDArray[np.float32], is_binary_T: NDArray[np.bool_]) -> "TargetScaling":
        """Mean and deviation of each regression task's labels; NaN cells do not count.

        A task whose labels are absent, or equal as far as float32 can divide by, keeps σ = 1.
        """
        present = ~np.isnan(labels_GT)
        count = np.maximum(present.sum(axis=0), 1)
        values = np.where(present, labels_GT, 0.0).astype(np.float64)
        mean = values.sum(axis=0) / count
        spread = np.where(present, values - mean, 0.0)
        deviation = np.sqrt((spread**2).sum(axis=0) / count)
        mean = np.where(is_binary_T, 0.0, mean)
        deviation = np.where(is_binary_T | (deviation < _LEAST), 1.0, deviation)
        return cls(torch.from_numpy(mean).float(), torch.from_numpy(deviation).float())

    def standardise(self, labels_GT: Tensor) -> Tensor:
        """Original units to unit scale."""
        return (labels_GT - self.mean) / self.deviation

    def restore(self, answers_GT: Tensor) -> Tensor:
        """Unit scale to original units; logits of binary tasks pass unchanged."""
        return answers_GT * self.deviation + self.mean
