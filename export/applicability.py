"""How typical a molecule is of the training data, as a part of the network.

Shapes: N training molecules, G graphs, D width of the joined embedding, C components, B knots.
"""

from typing import cast

import torch
from torch import Tensor, nn

from graphadapt.export.contract_parts import Applicability

__all__ = ["FEWEST_MOLECULES", "TypicalShare", "describe"]

FEWEST_MOLECULES = 100
"""Training molecules below which a distance says nothing."""

_COMPONENTS = 32
_MOLECULES_A_COMPONENT = 10
"""Fewer would make directions that hardly vary in training count for much."""

_KNOTS = 33


class TypicalShare(nn.Module):
    r"""The share of training molecules at least as far from their centre as this one.

    The distance is Mahalanobis', with the covariance of probabilistic principal components: the
    largest C directions have variances :math:`\lambda_c` of their own, the others share
    :math:`\sigma^2`.

    .. math:: d^2 = \sum_c y_c^2 / \lambda_c + \|x - V y\|^2 / \sigma^2, \qquad
              x = z - \mu,\ y = V^\top x

    Between B quantiles of the training molecules' own distances the share is linear.

    Args:
        embedding_ND: z of training molecules, at least :data:`FEWEST_MOLECULES`.

    References:
        Tipping and Bishop, Probabilistic Principal Component Analysis, 1999. As a domain of
        applicability: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution
        Samples, 2018; ours has one centre, because tasks share their molecules.
    """

    centre: Tensor
    directions: Tensor
    back: Tensor
    component_weight: Tensor
    rest_weight: Tensor
    knots: Tensor
    slopes: Tensor

    def __init__(self, embedding_ND: Tensor) -> None:
        super().__init__()
        z_ND = embedding_ND.detach().cpu().double()
        centre_D = z_ND.mean(dim=0)
        count = min(_COMPONENTS, z_ND.shape[1], max(1, len(z_ND) // _MOLECULES_A_COMPONENT))
        variance_D, vectors_DD = torch.linalg.eigh(
            torch.cov((z_ND - centre_D).T).view(z_ND.shape[1], z_ND.shape[1])
        )
        least = max(float(variance_D.mean()) * 1e-6, 1e-12)
        rest = float(variance_D[:-count].mean()) if count < len(variance_D) else least
        self.register_buffer("centre", centre_D)
        # either way round: an adapter file fills in weights by name, which a folded transpose loses
        self.register_buffer("directions", vectors_DD[:, -count:].contiguous())
        self.register_buffer("back", vectors_DD[:, -count:].T.contiguous())
        self.register_buffer("component_weight", 1 / variance_D[-count:].clamp(min=least))
        self.register_buffer("rest_weight", torch.tensor([1 / max(rest, least)]).double())
        squared_N = self.squared_distance(z_ND)
        knots_B = torch.quantile(squared_N, torch.linspace(0, 1, _KNOTS, dtype=torch.float64))
        step_B = knots_B.diff().clamp(min=1e-6 * float(knots_B[-1]) + 1e-12)
        self.register_buffer("knots", knots_B[:-1].contiguous())
        self.register_buffer("slopes", 1 / step_B)
        self.float()

    @property
    def components(self) -> int:
        """C."""
        return len(self.component_weight)

    def squared_distance(self, embedding_GD: Tensor) -> Tensor:
        """d², ``(G,)``."""
        x_GD = embedding_GD - self.centre
        y_GC = x_GD @ self.directions
        rest_GD = x_GD - y_GC @ self.back
        within_G = (y_GC * y_GC * self.component_weight).sum(dim=1)
        return within_G + (rest_GD * rest_GD * self.rest_weight).sum(dim=1)

    def forward(self, embedding_GD: Tensor) -> Tensor:
        """Map ``(G, D)`` to shares ``(G,)`` in [0, 1]."""
        squared_G1 = self.squared_distance(embedding_GD).unsqueeze(1)
        passed_GB = ((squared_G1 - self.knots) * self.slopes).clamp(0.0, 1.0)
        return 1.0 - passed_GB.sum(dim=1) / (_KNOTS - 1)


def describe(figure: TypicalShare, molecules: int, valid_VD: Tensor) -> Applicability:
    """What a bundle says of its figure.

    Args:
        figure: fitted.
        molecules: that it was fitted on.
        valid_VD: embeddings of validation molecules.
    """
    low = (figure(valid_VD.cpu()) < 0.05).double().mean() if len(valid_VD) else torch.tensor(0.0)
    return Applicability(
        measure="mahalanobis",
        molecules=molecules,
        components=figure.components,
        valid_below_5_percent=cast("float", low.item()),
    )
