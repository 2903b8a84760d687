"""A frozen model's weights, moved into the plain network that is exported.

Shapes: D width, F output width, Q rank, T tasks. Norms are folded in float64, so that nothing is
lost before the weights are rounded to float32 once.
"""

import copy
from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from graphadapt.backbone.gin import GINConvolution
from graphadapt.backbone.network import MoleculeNetwork
from graphadapt.backbone.neural_fingerprint import NeuralFingerprint
from graphadapt.errors import ConfigError
from graphadapt.export.layers import (
    Affine,
    GCNLayer,
    GINLayer,
    MessageSum,
    NodeUpdate,
    OpenAffine,
    Stretch,
)
from graphadapt.export.network import AtomTable, CountingNetwork, LayeredNetwork, PlainModel
from graphadapt.freeze import FrozenModel
from graphadapt.molecules.vocabulary import ATOM_FEATURE_OFFSETS

__all__ = ["FoldedMaps", "Maps", "OpenMaps", "restate"]


class Maps(Protocol):
    """How linear maps and the norms around them are re-stated."""

    def alone(self, linear: nn.Linear) -> Affine:
        """``linear(x)``."""

    def before_norm(self, linear: nn.Linear, norm: nn.BatchNorm1d) -> Affine:
        """``norm(linear(x))``."""

    def after_norm(self, norm: nn.BatchNorm1d, linear: nn.Linear) -> nn.Module:
        """``linear(norm(x))``."""


class FoldedMaps:
    """Each norm folded into the map beside it."""

    def alone(self, linear: nn.Linear) -> Affine:
        """``linear(x)``."""
        return Affine(linear.weight.detach(), linear.bias.detach())

    def before_norm(self, linear: nn.Linear, norm: nn.BatchNorm1d) -> Affine:
        """``norm(linear(x))`` as one map."""
        scale_F, bias_F = _norm_terms(norm)
        return Affine(
            linear.weight.detach() * scale_F[:, None], linear.bias.detach() * scale_F + bias_F
        )

    def after_norm(self, norm: nn.BatchNorm1d, linear: nn.Linear) -> Affine:
        """``linear(norm(x))`` as one map."""
        scale_D, bias_D = _norm_terms(norm)
        weight_FD = linear.weight.detach()
        return Affine(weight_FD * scale_D, linear.bias.detach() + weight_FD @ bias_D)


class OpenMaps:
    """Each adapted map with its factors beside it; norms folded only if no composition moves them.

    Args:
        factors: U ``(D, Q)`` and V ``(Q, F)`` of the adapted layers, by the layer itself.
        norms_move: whether norms differ from composition to composition.
    """

    def __init__(
        self, factors: Mapping[nn.Linear, tuple[Tensor, Tensor]], *, norms_move: bool
    ) -> None:
        self._factors = factors
        self._norms_move = norms_move

    def alone(self, linear: nn.Linear) -> Affine:
        """``linear(x)``, corrected."""
        factors = self._factors.get(linear)
        if factors is None:
            return FoldedMaps().alone(linear)
        return OpenAffine(linear.weight.detach(), linear.bias.detach(), factors)

    def before_norm(self, linear: nn.Linear, norm: nn.BatchNorm1d) -> Affine:
        """``norm(linear(x))``, corrected before the norm."""
        factors, (scale_F, bias_F) = self._factors.get(linear), _norm_terms(norm)
        weight_FD, moved_F = linear.weight.detach(), linear.bias.detach() * scale_F + bias_F
        if self._norms_move:
            return OpenAffine(weight_FD, moved_F, factors, scale_F)
        if factors is None:
            return FoldedMaps().before_norm(linear, norm)
        down_DQ, up_QF = factors
        return OpenAffine(weight_FD * scale_F[:, None], moved_F, (down_DQ, up_QF * scale_F))

    def after_norm(self, norm: nn.BatchNorm1d, linear: nn.Linear) -> nn.Module:
        """``linear(norm(x))``, corrected after the norm."""
        if not self._norms_move and linear not in self._factors:
            return FoldedMaps().after_norm(norm, linear)
        return nn.Sequential(Stretch(*_norm_terms(norm)), self.alone(linear))


@torch.no_grad()
def restate(
    frozen: FrozenModel,
    dtype: torch.dtype = torch.float32,
    *,
    padded: bool = False,
    maps: Maps | None = None,
) -> PlainModel:
    """Build the network that answers like ``frozen``, with probabilities for binary tasks.

    Args:
        frozen: left as it is.
        dtype: of the weights; float64 shows that the re-statement is exact.
        padded: whether the network reads padded molecules.
        maps: how maps and norms are re-stated; with its own layers, ``frozen`` must be in float64
            on the CPU.

    Raises:
        ConfigError: if the backbone is none of graphadapt's own.
    """
    if maps is None:
        frozen, maps = copy.deepcopy(frozen).cpu().double(), FoldedMaps()
    plain = PlainModel(
        None if frozen.backbone is None else _network(frozen.backbone, maps),
        copy.deepcopy(frozen.features),
        Affine(frozen.head.weight.detach(), frozen.head.bias.detach()),
        torch.tensor([task.kind == "binary" for task in frozen.tasks]),
        calibration=copy.deepcopy(frozen.calibration),
        applicability=copy.deepcopy(frozen.applicability),
        padded=padded,
    )
    return plain.to(dtype).requires_grad_(False).eval()


def _network(backbone: nn.Module, maps: Maps) -> LayeredNetwork | CountingNetwork:
    if isinstance(backbone, MoleculeNetwork):
        return _layered(backbone, maps)
    if isinstance(backbone, NeuralFingerprint):
        return _counting(backbone, maps)
    raise ConfigError(
        f"a backbone of type {type(backbone).__name__} cannot be exported; "
        "MoleculeNetwork and NeuralFingerprint can"
    )


def _layered(network: MoleculeNetwork, maps: Maps) -> LayeredNetwork:
    virtual = network.virtual_node
    return LayeredNetwork(
        _atoms(network.atoms),
        [_layer(*pair, maps) for pair in zip(network.convolutions, network.norms, strict=True)],
        node_D=None if virtual is None else virtual.first.detach(),
        updates=[] if virtual is None else [_update(each, maps) for each in virtual.updates],
        mean=network.pooling == "mean",
        sums_layers=network.jumping_knowledge == "sum",
    )


def _counting(network: NeuralFingerprint, maps: Maps) -> CountingNetwork:
    return CountingNetwork(
        _atoms(network.atoms),
        [_gin(*pair, maps) for pair in zip(network.convolutions, network.norms, strict=True)],
        [maps.alone(cast("nn.Linear", readout)) for readout in network.readouts],
        maps.after_norm(network.count_norm, network.project),
    )


def _atoms(encoder: Any) -> AtomTable:
    rows = torch.cat([table.weight.detach() for table in encoder.tables])
    return AtomTable(rows, torch.tensor(ATOM_FEATURE_OFFSETS))


def _layer(convolution: Any, norm: Any, maps: Maps) -> GINLayer | GCNLayer:
    if isinstance(convolution, GINConvolution):
        return _gin(convolution, norm, maps)
    return GCNLayer(
        maps.alone(convolution.update),
        MessageSum(convolution.bonds().detach()),
        convolution.root.detach(),
        Stretch(*_norm_terms(norm)),
    )


def _gin(convolution: Any, norm: Any, maps: Maps) -> GINLayer:
    return GINLayer(
        MessageSum(convolution.bonds().detach()),
        convolution.epsilon.detach(),
        maps.before_norm(convolution.expand, convolution.norm),
        maps.before_norm(convolution.contract, norm),
    )


def _update(update: Any, maps: Maps) -> NodeUpdate:
    return NodeUpdate(
        maps.before_norm(update.expand, update.expand_norm),
        maps.before_norm(update.contract, update.contract_norm),
    )


def _norm_terms(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and bias of a norm in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale_D = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return scale_D, norm.bias.detach() - norm.running_mean * scale_D
