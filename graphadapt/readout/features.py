"""An embedding of molecule-level features, to join the graph embedding at the readout.

Shapes: G graphs, M molecule features, F embedding width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphadapt.backbone.dropout import Dropout

__all__ = ["FeatureEmbedding"]


class FeatureEmbedding(nn.Module):
    r"""Embed raw molecule-level features by a small feed-forward network.

    .. math:: h^0_m = \begin{cases} \log(1 + x_m) & \text{a count}\\
              (x_m - \mu_m) / \sigma_m & \text{otherwise} \end{cases}
              \qquad h^{l+1} = \mathrm{ReLU}(W^l h^l + b^l)

    The transform is part of the network, so an exported model takes raw features.

    Args:
        is_count_M: which features are counts.
        center_M: μ, ignored for counts.
        scale_M: σ, above 0, ignored for counts.
        hidden: widths of the layers; the last is the embedding's.
        dropout: chance to drop a hidden unit while training.
        input_dropout: chance to drop an input while training.
    """

    is_count: Tensor
    center: Tensor
    scale: Tensor

    def __init__(
        self,
        is_count_M: Tensor,
        center_M: Tensor,
        scale_M: Tensor,
        *,
        hidden: Sequence[int],
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("is_count", is_count_M.bool())
        self.register_buffer("center", center_M)
        self.register_buffer("scale", scale_M)
        self.width = hidden[-1]
        layers: list[nn.Module] = [Dropout(input_dropout)]
        widths = (len(is_count_M), *hidden)
        for inward, outward in zip(widths, hidden, strict=False):
            layers += [nn.Linear(inward, outward), nn.ReLU(), Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def transform(self, features_GM: Tensor) -> Tensor:
        """Raw features to network inputs, ``(G, M)``."""
        logarithm = torch.log1p(features_GM.clamp(min=0))
        return torch.where(self.is_count, logarithm, (features_GM - self.center) / self.scale)

    def forward(self, features_GM: Tensor) -> Tensor:
        """Map raw ``(G, M)`` features to ``(G, F)``."""
        embedding: Tensor = self.layers(self.transform(features_GM))
        return embedding
