"""Training that keeps one of two embeddings, so that neither learns to lean on the other.

Shapes: G graphs, D and F widths of the two embeddings.
"""

import torch
from torch import Tensor, nn

from graphadapt.errors import ConfigError

__all__ = ["BranchDropout"]


class BranchDropout(nn.Module):
    r"""Join two embeddings; while training, each molecule keeps only one of them.

    .. math:: [z, h] \leftarrow \begin{cases} [z / p, 0] & \text{with probability } p\\
              [0, h / (1 - p)] & \text{otherwise} \end{cases}

    The expectation is :math:`[z, h]`, which is what evaluation gives. So a linear head on the join
    answers with the average of two predictors, weighted p and 1 - p, each of which had to do the
    whole task by itself. Without it the branch that fits the training labels fastest, often one
    that has seen them before, keeps the other from learning.

    Args:
        share: p in ``[0, 1)``; 0 keeps both always.

    References:
        A dropout (Srivastava et al., 2014) of whole branches, as Larsson et al., FractalNet, 2017,
        drop whole paths.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ConfigError(f"features.graph_share={share} is not in [0, 1)")
        self.share = share

    def forward(self, graph_GD: Tensor, features_GF: Tensor) -> Tensor:
        """The two side by side, ``(G, D + F)``."""
        if self.training and self.share:
            kept_G1 = torch.rand(len(graph_GD), 1, device=graph_GD.device) < self.share
            graph_GD = graph_GD * (kept_G1 / self.share).to(graph_GD.dtype)
            features_GF = features_GF * (~kept_G1 / (1 - self.share)).to(features_GF.dtype)
        return torch.cat([graph_GD, features_GF], dim=-1)

    def extra_repr(self) -> str:
        """What ``print`` shows between the brackets."""
        return f"share={self.share}"
