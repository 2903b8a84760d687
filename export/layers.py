"""Message-passing layers as an exported network holds them: plain tensors, no scatter.

Shapes: U sending rows, R receiving rows, C bond codes, D width, F output width, Q rank, G graphs.
Rows may lie in one axis or in two, as :mod:`graphadapt.export.layouts` says.

Every convolution is a non-linear ``hidden`` part and an affine ``finish``. Pooling is linear, so
after the last one the graphs are pooled first and finished then, on G rows instead of R.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.export.layouts import Wiring

__all__ = ["Affine", "GCNLayer", "GINLayer", "MessageSum", "NodeUpdate", "OpenAffine", "Stretch"]

_SILENCE = -1e30
"""Embedding of the silent bond: nothing that is added to it comes out of a relu."""


class Affine(nn.Module):
    """A linear map with its bias, ``W x + b``."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight_FD: Tensor, bias_F: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight_FD)
        self.register_buffer("bias", bias_F)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., D)`` to ``(..., F)``."""
        return functional.linear(x, self.weight, self.bias)

    def of_sum(self, total_GD: Tensor, count_G1: Tensor) -> Tensor:
        """The sum of ``count`` outputs, from the sum of their inputs."""
        return functional.linear(total_GD, self.weight) + count_G1 * self.bias


class OpenAffine(Affine):
    r"""An affine map that a composition may correct, :math:`s\,(W x + (x\,U)\,V) + b`.

    Args:
        weight_FD: W.
        bias_F: b.
        factors: U, ``(D, Q)``, and V, ``(Q, F)``; None where no adapter sits.
        scale_F: s; None is 1.
    """

    down: Tensor | None
    up: Tensor | None
    scale: Tensor | None

    def __init__(
        self,
        weight_FD: Tensor,
        bias_F: Tensor,
        factors: tuple[Tensor, Tensor] | None = None,
        scale_F: Tensor | None = None,
    ) -> None:
        super().__init__(weight_FD, bias_F)
        down_DQ, up_QF = factors or (None, None)
        self.register_buffer("down", down_DQ)
        self.register_buffer("up", up_QF)
        self.register_buffer("scale", scale_F)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., D)`` to ``(..., F)``."""
        return self._product(x) + self.bias

    def of_sum(self, total_GD: Tensor, count_G1: Tensor) -> Tensor:
        """The sum of ``count`` outputs, from the sum of their inputs."""
        return self._product(total_GD) + count_G1 * self.bias

    def _product(self, x: Tensor) -> Tensor:
        """All but the bias."""
        y = functional.linear(x, self.weight)
        if self.down is not None and self.up is not None:
            y = y + (x @ self.down) @ self.up
        return y if self.scale is None else y * self.scale


class Stretch(nn.Module):
    """An affine map of each channel by itself, ``s x + b``."""

    scale: Tensor
    bias: Tensor

    def __init__(self, scale_D: Tensor, bias_D: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale_D)
        self.register_buffer("bias", bias_D)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., D)`` to ``(..., D)``."""
        return x * self.scale + self.bias

    def of_sum(self, total_GD: Tensor, count_G1: Tensor) -> Tensor:
        """The sum of ``count`` outputs, from the sum of their inputs."""
        return total_GD * self.scale + count_G1 * self.bias


class MessageSum(nn.Module):
    r"""Sum what neighbours send, :math:`m_v = \sum_{u \to v} c_u\, \mathrm{relu}(x_u + b_{uv})`.

    Args:
        bonds_CD: embedding of every bond code.
    """

    bonds: Tensor

    def __init__(self, bonds_CD: Tensor) -> None:
        super().__init__()
        silent_1D = torch.full_like(bonds_CD[:1], _SILENCE)
        self.register_buffer("bonds", torch.cat([bonds_CD, silent_1D]))

    def forward(self, x_UD: Tensor, wiring: Wiring, scale_U1: Tensor | None = None) -> Tensor:
        """Map ``(U, D)`` to ``(R, D)``; ``scale`` is c, by default 1."""
        return wiring.message_sum(x_UD, self.bonds, scale_U1)


class GINLayer(nn.Module):
    r"""Graph isomorphism layer, :math:`W_2\,\mathrm{relu}(W_1((1+\epsilon)x + m) + b_1) + b_2`.

    The norms inside and after the layer are folded into the two maps.

    Args:
        messages: m.
        epsilon: one number.
        expand: D -> F.
        finish: F -> D.
    """

    own_scale: Tensor

    def __init__(
        self, messages: MessageSum, epsilon: Tensor, expand: Affine, finish: Affine
    ) -> None:
        super().__init__()
        self.messages = messages
        self.register_buffer("own_scale", 1 + epsilon)
        self.scales_itself = bool((epsilon != 0).any())
        self.expand = expand
        self.finish = finish

    def hidden(self, x_UD: Tensor, wiring: Wiring) -> Tensor:
        """Everything up to the last map, ``(U, D)`` to ``(R, F)``."""
        own_RD = wiring.own(x_UD)
        if self.scales_itself:
            own_RD = own_RD * self.own_scale
        return self.expand(own_RD + self.messages(x_UD, wiring)).relu()


class GCNLayer(nn.Module):
    r"""Graph convolution with bonds and a root term, as in OGB's reference.

    .. math:: y = W x + b, \qquad h_v = \sum_{u \to v} \frac{\mathrm{relu}(y_u + b_{uv})}
              {\sqrt{d_u d_v}} + \frac{\mathrm{relu}(y_v + r)}{d_v}

    with d one more than the number of bonds.

    Args:
        update: W and b, D -> D.
        messages: of y.
        root_D: r.
        finish: the norm after the layer.
    """

    root: Tensor

    def __init__(
        self, update: Affine, messages: MessageSum, root_D: Tensor, finish: Stretch
    ) -> None:
        super().__init__()
        self.update = update
        self.messages = messages
        self.register_buffer("root", root_D)
        self.finish = finish

    def hidden(self, x_UD: Tensor, wiring: Wiring) -> Tensor:
        """Everything up to the norm, ``(U, D)`` to ``(R, D)``."""
        assert wiring.degree is not None
        y_UD = self.update(x_UD)
        scale_U1 = (wiring.degree + 1).rsqrt().unsqueeze(-1)
        own_R1 = wiring.own(scale_U1)
        root_RD = (wiring.own(y_UD) + self.root).relu() * own_R1
        return (self.messages(y_UD, wiring, scale_U1) + root_RD) * own_R1


class NodeUpdate(nn.Module):
    """The two maps of a virtual node, norms folded in."""

    def __init__(self, expand: Affine, contract: Affine) -> None:
        super().__init__()
        self.expand = expand
        self.contract = contract

    def forward(self, total_GD: Tensor) -> Tensor:
        """From the sum of a graph's rows and its virtual node to the next, ``(G, D)``."""
        return self.contract(self.expand(total_GD).relu()).relu()
