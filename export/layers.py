"""Message-passing layers as an exported network holds them: plain tensors, no scatter.

Shapes: U sending rows, R receiving rows, P messages, S slots, D width, F output width, G graphs.

Every layer is a non-linear ``hidden`` part and an affine ``finish``. Pooling is linear, so after
the last layer the graphs are pooled first and finished then, on G rows instead of R.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.export.collate import SILENT

__all__ = ["Affine", "GcnLayer", "GinLayer", "MessageSum", "VirtualNodeUpdate", "Wiring"]

_NOTHING = -1e30


@dataclass(frozen=True, slots=True)
class Wiring:
    """How rows that send messages reach rows that receive them."""

    source: Tensor
    """(P,) sending row of each message."""

    bond: Tensor
    """(P,) bond code of each message."""

    slots: Tensor
    """(R, S) messages of each receiving row."""

    receiver: Tensor | None
    """(R,) the sending row that a receiving row itself is; None where they are the same rows."""

    degree: Tensor | None
    """(U,) bonds of each sending row, where a layer asks for it."""

    def own(self, x_UD: Tensor) -> Tensor:
        """What the receiving rows hold themselves, ``(R, D)``."""
        return x_UD if self.receiver is None else x_UD.index_select(0, self.receiver)


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
    r"""Sum what neighbours send, :math:`m_v = \sum_{u \to v} c_u\, \mathrm{relu}(x_u + e_{uv})`.

    Args:
        bond_CD: embedding of every bond code.
    """

    bonds: Tensor

    def __init__(self, bond_CD: Tensor) -> None:
        super().__init__()
        silent_1D = torch.full_like(bond_CD[:1], _NOTHING)
        assert len(bond_CD) == SILENT
        self.register_buffer("bonds", torch.cat([bond_CD, silent_1D]))

    def forward(self, x_UD: Tensor, wiring: Wiring, scale_U1: Tensor | None = None) -> Tensor:
        """Map ``(U, D)`` to ``(R, D)``; ``scale`` is c."""
        sent_PD = x_UD.index_select(0, wiring.source) + self.bonds.index_select(0, wiring.bond)
        sent_PD = sent_PD.relu()
        if scale_U1 is not None:
            sent_PD = sent_PD * scale_U1.index_select(0, wiring.source)
        return functional.embedding(wiring.slots, sent_PD).sum(dim=1)


class GinLayer(nn.Module):
    r"""Graph isomorphism layer, :math:`W_2\,\mathrm{relu}(W_1((1+\epsilon)x + m) + b_1) + b_2`.

    The norms inside and after the layer are folded into the two maps.
    """

    own_scale: Tensor

    def __init__(
        self, messages: MessageSum, own_scale: Tensor, expand: Affine, finish: Affine
    ) -> None:
        super().__init__()
        self.messages = messages
        self.register_buffer("own_scale", own_scale)
        self.expand = expand
        self.finish = finish

    def hidden(self, x_UD: Tensor, wiring: Wiring) -> Tensor:
        """Everything up to the last linear map, ``(U, D)`` to ``(R, F)``."""
        mixed_RD = wiring.own(x_UD) * self.own_scale + self.messages(x_UD, wiring)
        return self.expand(mixed_RD).relu()


class GcnLayer(nn.Module):
    r"""Graph convolution with bonds and a root term, as in OGB's reference.

    .. math:: y = W x + b, \qquad h_v = \sum_{u \to v} \frac{\mathrm{relu}(y_u + e_{uv})}
              {\sqrt{\delta_u \delta_v}} + \frac{\mathrm{relu}(y_v + r)}{\delta_v}

    with :math:`\delta` one more than the degree.
    """

    root: Tensor

    def __init__(
        self, linear: Affine, messages: MessageSum, root_D: Tensor, finish: Stretch
    ) -> None:
        super().__init__()
        self.linear = linear
        self.messages = messages
        self.register_buffer("root", root_D)
        self.finish = finish

    def hidden(self, x_UD: Tensor, wiring: Wiring) -> Tensor:
        """Everything up to the norm, ``(U, D)`` to ``(R, D)``."""
        assert wiring.degree is not None
        y_UD = self.linear(x_UD)
        scale_U1 = (wiring.degree + 1).rsqrt().unsqueeze(1)
        own_R1 = wiring.own(scale_U1)
        root_RD = (wiring.own(y_UD) + self.root).relu() * own_R1
        return (self.messages(y_UD, wiring, scale_U1) + root_RD) * own_R1


class VirtualNodeUpdate(nn.Module):
    """The virtual node's two maps, norms folded in."""

    def __init__(self, expand: Affine, contract: Affine) -> None:
        super().__init__()
        self.expand = expand
        self.contract = contract

    def forward(self, total_GD: Tensor) -> Tensor:
        """Map the sum of a graph's nodes and its virtual node to the next virtual node."""
        return self.contract(self.expand(total_GD).relu()).relu()
