"""Batch norm over the atoms of a batch, padded or not.

Shapes: N nodes, D width.
"""

import torch
from torch import Tensor, nn

from graphadapt.graphs.batch import GraphBatch
from graphadapt.graphs.message_passing import MessageKernels

__all__ = ["NodeNorm"]


class NodeNorm(nn.BatchNorm1d):
    r"""Normalise every column over the atoms of the batch.

    .. math:: y_v = w \, \frac{x_v - \mu}{\sqrt{\sigma^2 + \epsilon}} + b

    Padding counts for nothing: :math:`\mu` and :math:`\sigma^2` in training, the running statistics
    and every gradient are those of the same batch without padding, and in training padding comes
    out as zeros. A batch without padding, and evaluation, are torch's own batch norm, as are the
    names in a checkpoint.

    The host cannot know whether a padded batch holds a single atom, where torch would raise an
    error in training; its variance is then zero.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)

    def forward(
        self,
        input: Tensor,
        batch: GraphBatch | None = None,
        kernels: MessageKernels | None = None,
    ) -> Tensor:
        """Map node states ``(N, D)`` of a batch to ``(N, D)``; without one, as torch does."""
        count = None if batch is None else batch.num_real_nodes
        if count is None or kernels is None or not self.training:
            return super().forward(input)
        y_ND, mean_D, variance_D = kernels.leading_norm(
            input, self.weight, self.bias, count, self.eps
        )
        self._remember(mean_D, variance_D)
        return y_ND

    @torch.no_grad()
    def _remember(self, mean_D: Tensor, variance_D: Tensor) -> None:
        """Move the running statistics as torch does, without asking the device for the step."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum: float | Tensor = self.momentum or 0.0
        if self.momentum is None:
            momentum = self.num_batches_tracked.to(self.running_mean.dtype).reciprocal()
        self.running_mean.lerp_(mean_D.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance_D.to(self.running_var.dtype), momentum)
