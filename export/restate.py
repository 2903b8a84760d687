"""A frozen model's weights, moved into the plain network that is exported.

Shapes: D width, F output width, T tasks. Norms are folded in float64, so that nothing is lost
before the weights are rounded to float32 once.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from graphadapt.backbone.gin import GINConvolution
from graphadapt.backbone.network import MoleculeNetwork
from graphadapt.backbone.neural_fingerprint import NeuralFingerprint
from graphadapt.errors import ConfigError
from graphadapt.export.layers import Affine, GCNLayer, GINLayer, MessageSum, NodeUpdate, Stretch
from graphadapt.export.network import AtomTable, CountingNetwork, LayeredNetwork, PlainModel
from graphadapt.freeze import FrozenModel
from graphadapt.molecules.vocabulary import ATOM_FEATURE_OFFSETS

__all__ = ["restate"]


@torch.no_grad()
def restate(frozen: FrozenModel, dtype: torch.dtype = torch.float32) -> PlainModel:
    """Build the network that answers like ``frozen``, with probabilities for binary tasks.

    Args:
        frozen: left as it is.
        dtype: of the weights; float64 shows that the re-statement is exact.

    Raises:
        ConfigError: if the backbone is none of graphadapt's own.
    """
    frozen = copy.deepcopy(frozen).cpu().double()
    plain = PlainModel(
        None if frozen.backbone is None else _network(frozen.backbone),
        frozen.features,
        Affine(frozen.head.weight.detach(), frozen.head.bias.detach()),
        torch.tensor([task.kind == "binary" for task in frozen.tasks]),
    )
    return plain.to(dtype).requires_grad_(False).eval()


def _network(backbone: nn.Module) -> LayeredNetwork | CountingNetwork:
    if isinstance(backbone, MoleculeNetwork):
        return _layered(backbone)
    if isinstance(backbone, NeuralFingerprint):
        return _counting(backbone)
    raise ConfigError(
        f"a backbone of type {type(backbone).__name__} cannot be exported; "
        "MoleculeNetwork and NeuralFingerprint can"
    )


def _layered(network: MoleculeNetwork) -> LayeredNetwork:
    virtual = network.virtual_node
    return LayeredNetwork(
        _atoms(network.atoms),
        [_layer(*pair) for pair in zip(network.convolutions, network.norms, strict=True)],
        node_D=None if virtual is None else virtual.first.detach(),
        updates=[] if virtual is None else [_update(each) for each in virtual.updates],
        mean=network.pooling == "mean",
        sums_layers=network.jumping_knowledge == "sum",
    )


def _counting(network: NeuralFingerprint) -> CountingNetwork:
    return CountingNetwork(
        _atoms(network.atoms),
        [_gin(*pair) for pair in zip(network.convolutions, network.norms, strict=True)],
        [_affine(readout) for readout in network.readouts],
        _after_norm(network.count_norm, network.project),
    )


def _atoms(encoder: Any) -> AtomTable:
    rows = torch.cat([table.weight.detach() for table in encoder.tables])
    return AtomTable(rows, torch.tensor(ATOM_FEATURE_OFFSETS))


def _layer(convolution: Any, norm: Any) -> GINLayer | GCNLayer:
    if isinstance(convolution, GINConvolution):
        return _gin(convolution, norm)
    return GCNLayer(
        _affine(convolution.update),
        MessageSum(convolution.bonds().detach()),
        convolution.root.detach(),
        Stretch(*_norm_terms(norm)),
    )


def _gin(convolution: Any, norm: Any) -> GINLayer:
    return GINLayer(
        MessageSum(convolution.bonds().detach()),
        convolution.epsilon.detach(),
        _before_norm(convolution.expand, convolution.norm),
        _before_norm(convolution.contract, norm),
    )


def _update(update: Any) -> NodeUpdate:
    return NodeUpdate(
        _before_norm(update.expand, update.expand_norm),
        _before_norm(update.contract, update.contract_norm),
    )


def _affine(linear: Any) -> Affine:
    return Affine(linear.weight.detach(), linear.bias.detach())


def _norm_terms(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and bias of a norm in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale_D = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return scale_D, norm.bias.detach() - norm.running_mean * scale_D


def _before_norm(linear: nn.Linear, norm: nn.BatchNorm1d) -> Affine:
    """``norm(linear(x))`` as one map."""
    scale_F, bias_F = _norm_terms(norm)
    return Affine(
        linear.weight.detach() * scale_F[:, None], linear.bias.detach() * scale_F + bias_F
    )


def _after_norm(norm: nn.BatchNorm1d, linear: nn.Linear) -> Affine:
    """``linear(norm(x))`` as one map."""
    scale_D, bias_D = _norm_terms(norm)
    weight_FD = linear.weight.detach()
    return Affine(weight_FD * scale_D, linear.bias.detach() + weight_FD @ bias_D)
