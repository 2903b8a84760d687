"""K low-rank adapters that share one linear layer, mixed by weights from outside.

Shapes: ... any leading axes, D in, F out, K adapters, R rank, T tasks.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.adapters.cost import AdapterCost
from graphadapt.backbone.protocol import ColumnMap, mapped
from graphadapt.errors import ConfigError

__all__ = ["AdapterBank", "Form"]

Form = Literal["auto", "factored", "effective"]


class AdapterBank(nn.Module):
    r"""K adapters of rank R beside a linear map of width D to F.

    .. math:: y = W x + b + \gamma \sum_k \alpha_k V_k U_k x

    ``U`` starts random, different for every adapter, and ``V`` at zero. So a fresh bank changes no
    answer whatever its weights are. That is also why no gradient can reach the weights ``α``
    before ``V`` has moved: the first step moves ``V``, routing learns from the second.

    Args:
        count: K, at least 1.
        in_features: D.
        out_features: F.
        rank: R, from 1 to ``min(D, F)``.
        scale: γ, above 0; apart from R, so that a sweep of ranks is not one of step sizes too.

    References:
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, eq. 3, is the case
        K = 1.
    """

    down: nn.Parameter
    """U, ``(K, R, D)``."""

    up: nn.Parameter
    """V, ``(K, F, R)``."""

    def __init__(
        self, count: int, in_features: int, out_features: int, rank: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        _check_size(count, in_features, out_features, rank, scale)
        self.count, self.rank, self.scale = count, rank, scale
        self.in_features, self.out_features = in_features, out_features
        self.down = nn.Parameter(torch.empty(count, rank, in_features))
        self.up = nn.Parameter(torch.zeros(count, out_features, rank))
        # One (KR, D) matrix: of three axes, torch would take R·D for the fan-in.
        nn.init.kaiming_uniform_(self.down.view(-1, in_features), a=math.sqrt(5))

    def adapted_linear(
        self,
        layer: nn.Linear,
        x: Tensor,
        alpha_K: Tensor,
        form: Form = "auto",
        *,
        after: ColumnMap | None = None,
    ) -> Tensor:
        """Apply ``layer`` with the adapters mixed in.

        Both forms give one answer; ``auto`` takes the one that needs fewer operations for this many
        rows and this pattern of gradients, which are known without looking at any value.

        Args:
            layer: the map D -> F that the bank belongs to.
            x: its input, ``(..., D)``.
            alpha_K: weight of each adapter.
            form: ``factored`` adds ``γ V diag(α) (U x)`` to the layer's output; ``effective``
                adds ``γ V diag(α) U`` to its weight first.
            after: what follows the layer and its adapters column by column.

        Returns:
            ``(..., F)``.
        """
        if form == "auto":
            form = "effective" if self.cost(layer, x).prefers_effective else "factored"
        weight_FD, bias_F = mapped(layer.weight, layer.bias, after)
        up = self._weighted_up(alpha_K, after)
        if form == "factored":
            return functional.linear(x, weight_FD, bias_F) + self._through_factors(x, up)
        return functional.linear(x, weight_FD + up @ self.down.flatten(0, 1), bias_F)

    def correction(self, x: Tensor, alpha_K: Tensor) -> Tensor:
        """``γ Σ_k α_k V_k U_k x`` through the factors, ``(..., D)`` to ``(..., F)``."""
        return self._through_factors(x, self._weighted_up(alpha_K))

    def delta(self, alpha_K: Tensor) -> Tensor:
        """``γ Σ_k α_k V_k U_k``, the change of the layer's weight, ``(F, D)``."""
        return self._weighted_up(alpha_K) @ self.down.flatten(0, 1)

    def correct_rows(self, rows_TD: Tensor, gate_TK: Tensor) -> Tensor:
        r"""Give every row of a square map's readout its own mix of the adapters.

        .. math:: u'_t = \Bigl(I + \gamma \sum_k g_{tk} V_k U_k\Bigr)^T u_t

        so that :math:`u'_t \cdot z` is what task t's row says of the corrected embedding. Only
        parameters enter, so it is computed in their precision under autocast too.

        Args:
            rows_TD: readout vectors ``u_t``, D = F.
            gate_TK: adapter weights of each task.

        Returns:
            ``(T, D)``.

        Raises:
            ConfigError: if the bank is not square.
        """
        if self.in_features != self.out_features:
            raise ConfigError(
                f"a bank of {self.in_features}->{self.out_features} cannot correct readout rows; "
                "use equal widths"
            )
        with torch.autocast(rows_TD.device.type, enabled=False):
            inner_TKR = (rows_TD @ self._flat_up()).view(-1, self.count, self.rank)
            mixed_TKR = inner_TKR * (self.scale * gate_TK).unsqueeze(2)
            return rows_TD + mixed_TKR.flatten(1) @ self.down.flatten(0, 1)

    def cost(self, layer: nn.Linear, x: Tensor) -> AdapterCost:
        """What the adapters add to ``layer`` at ``x``, in either form."""
        records = torch.is_grad_enabled()
        return AdapterCost(
            rows=math.prod(x.shape[:-1]),
            in_features=self.in_features,
            out_features=self.out_features,
            total_rank=self.count * self.rank,
            trains_adapters=records and (self.up.requires_grad or self.down.requires_grad),
            trains_layer=records and layer.weight.requires_grad,
            trains_input=records and x.requires_grad,
        )

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return (
            f"count={self.count}, {self.in_features}->{self.out_features}, rank={self.rank}, "
            f"scale={self.scale}"
        )

    def _through_factors(self, x: Tensor, up: Tensor) -> Tensor:
        """``up`` ``(F, KR)`` after all ``U_k``."""
        return functional.linear(functional.linear(x, self.down.flatten(0, 1)), up)

    def _weighted_up(self, alpha_K: Tensor, after: ColumnMap | None = None) -> Tensor:
        """``γ α_k V_k`` side by side, ``(F, KR)``; cheaper than weighting N rows."""
        weighted_KFR = self.up * (self.scale * alpha_K).view(-1, 1, 1)
        up = weighted_KFR.transpose(0, 1).flatten(1)
        return up if after is None else after.scale.unsqueeze(1) * up

    def _flat_up(self) -> Tensor:
        """All ``V_k`` side by side, ``(F, KR)``."""
        return self.up.transpose(0, 1).flatten(1)


def _check_size(count: int, in_features: int, out_features: int, rank: int, scale: float) -> None:
    if count < 1:
        raise ConfigError(f"count={count} makes no bank; use at least 1 adapter")
    limit = min(in_features, out_features)
    if not 1 <= rank <= limit:
        raise ConfigError(
            f"rank={rank} does not fit a {in_features}->{out_features} layer; use 1 to {limit}"
        )
    if not 0 < scale < math.inf:
        raise ConfigError(f"scale={scale} is not a positive number; 1.0 is the usual choice")
