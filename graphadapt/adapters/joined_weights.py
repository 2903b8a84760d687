"""Effective weights of several sites of one shape, formed together.

Shapes: S sites, D in, F out, K adapters, R rank.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphadapt.adapters.bank import AdapterBank

__all__ = ["effective_weights", "joinable"]


def joinable(bank: AdapterBank) -> tuple[object, ...]:
    """Equal for banks whose effective weights can be formed together."""
    return bank.up.shape, bank.down.shape, bank.scale


def effective_weights(
    layers: Sequence[nn.Linear], banks: Sequence[AdapterBank], alphas: Sequence[Tensor]
) -> Tensor:
    r"""Every layer's weight with its adapters mixed in, ``(S, F, D)``.

    .. math:: W_s + \gamma V_s \, \mathrm{diag}(\alpha_s) \, U_s

    One by one that is some twenty small kernels a site, forward and back, which take a GPU as long
    as a layer's products do. Under autocast the weights are in its precision, ready for use.

    Args:
        layers: the maps D -> F.
        banks: of each layer, all of one shape and scale.
        alphas: ``(K,)`` adapter weights of each.
    """
    alpha_SK = torch.stack(list(alphas)) * banks[0].scale
    up_SKFR = torch.stack([bank.up for bank in banks]) * alpha_SK[:, :, None, None]
    down_SKRD = torch.stack([bank.down for bank in banks])
    change_SFD = torch.bmm(up_SKFR.transpose(1, 2).flatten(2), down_SKRD.flatten(1, 2))
    weight_SFD = torch.stack([layer.weight for layer in layers]) + change_SFD
    device = weight_SFD.device.type
    if torch.is_autocast_enabled(device):
        return weight_SFD.to(torch.get_autocast_dtype(device))
    return weight_SFD
