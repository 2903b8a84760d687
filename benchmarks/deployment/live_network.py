r"""A composed model with every adapter live, as ONNX Runtime can run it at its best.

Shapes: D width, F output width, K adapters, R rank, Q = KR.

.. math:: y = W x + ((x U) \odot \alpha) V + b

with norms folded in and all factors constant, so that only the mixing weights come with each call.
They are the same for every molecule; an engine that knew that could form the merged weights anew at
each call, which is merging, done again and again.
"""

import copy
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.adapters.sites import find_sites
from graphadapt.export.bundle import trace
from graphadapt.export.layers import Affine, OpenAffine
from graphadapt.export.probes import Probes
from graphadapt.export.restate import OpenMaps, restate
from graphadapt.freeze import FrozenModel
from graphadapt.model import ComposedModel
from graphadapt.routing.composition import mix_sites

__all__ = ["live_file"]


class GatedAffine(OpenAffine):
    """An affine map with all of its adapters, each weighted in between its two factors."""

    gate: Tensor

    def __init__(self, made: OpenAffine, gate_Q: Tensor) -> None:
        assert made.down is not None
        assert made.up is not None
        super().__init__(made.weight, made.bias, (made.down, made.up))
        self.register_buffer("gate", gate_Q)

    def _product(self, x: Tensor) -> Tensor:
        corrected = ((x @ self.down) * self.gate) @ self.up
        return functional.linear(x, self.weight) + corrected


class GatedMaps(OpenMaps):
    """As :class:`OpenMaps`, with mixing weights of their own at every adapted layer."""

    def __init__(
        self,
        factors: Mapping[nn.Linear, tuple[Tensor, Tensor]],
        gates: Mapping[nn.Linear, Tensor],
    ) -> None:
        super().__init__(factors, norms_move=False)
        self._gates = gates

    def alone(self, linear: nn.Linear) -> Affine:
        return self._gated(super().alone(linear), linear)

    def before_norm(self, linear: nn.Linear, norm: nn.BatchNorm1d) -> Affine:
        return self._gated(super().before_norm(linear, norm), linear)

    def _gated(self, made: Affine, linear: nn.Linear) -> Affine:
        return GatedAffine(made, self._gates[linear]) if isinstance(made, OpenAffine) else made


@torch.no_grad()
def live_file(
    model: ComposedModel, merged: FrozenModel, composition_T: Tensor
) -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """The ONNX file, and the mixing weights that it is to be given with every call.

    Args:
        model: composed.
        merged: frozen from it, whose heads are taken.
        composition_T: w.
    """
    base = copy.deepcopy(merged).cpu().double()
    base.backbone = copy.deepcopy(model.backbone).double()
    alphas = mix_sites(composition_T, {site: model.gates()[site] for site in model.sites})
    factors, gates = {}, {}
    for site, layer in find_sites(base.backbone, model.sites).items():
        bank = model.bank(site)
        up_QF = (bank.up * bank.scale).transpose(1, 2).flatten(0, 1)
        factors[layer] = bank.down.flatten(0, 1).T.double(), up_QF.double()
        gates[layer] = alphas[site].repeat_interleave(bank.rank).double()
    plain = restate(base, maps=GatedMaps(factors, gates))
    held = {name: value for name, value in plain.state_dict().items() if name.endswith(".gate")}
    proto = onnx.load_from_string(trace(plain, merged, Probes()))
    for name, gate in held.items():
        shape, kind = list(gate.shape), onnx.TensorProto.FLOAT
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return proto.SerializeToString(), {name: gate.numpy() for name, gate in held.items()}
