"""One network in two libraries: which tensor of a peer is which of ours.

Shapes: D width.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from graphadapt.model import ComposedModel
from peers.network import PeerNetwork

__all__ = ["copy_weights", "counterparts"]


@torch.no_grad()
def copy_weights(model: ComposedModel, peer: PeerNetwork) -> None:
    """Give a peer the weights and running statistics of our GIN with a virtual node."""
    for own, other in counterparts(model, peer):
        other.copy_(own.view_as(other))


def counterparts(model: ComposedModel, peer: PeerNetwork) -> Iterator[tuple[Tensor, Tensor]]:
    """Parameters and buffers of our network with plain heads, each beside the peer's."""
    for mine, other in _modules(model, peer):
        tensors = mine.state_dict(keep_vars=True)
        for name, tensor in other.state_dict(keep_vars=True).items():
            yield tensors[name], tensor
    for mine, other in zip(model.backbone.convolutions, peer.convolutions, strict=True):
        yield mine.epsilon, other.epsilon
    yield model.backbone.virtual_node.first, peer.virtual.weight  # (D,) and (1, D)


def _modules(model: ComposedModel, peer: PeerNetwork) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Modules whose tensors have the same names in both."""
    own = model.backbone
    yield from zip(own.atoms.tables, peer.atoms.tables, strict=True)
    for mine, other in zip(own.convolutions, peer.convolutions, strict=True):
        yield from zip(mine.bonds.tables, other.bonds.tables, strict=True)
        expand, norm, _, contract = other.mlp
        yield from ((mine.expand, expand), (mine.norm, norm), (mine.contract, contract))
    yield from zip(own.norms, peer.norms, strict=True)
    for mine, other in zip(own.virtual_node.updates, peer.updates, strict=True):
        yield from ((mine.expand, other[0]), (mine.expand_norm, other[1]))
        yield from ((mine.contract, other[3]), (mine.contract_norm, other[4]))
    yield model.readout, peer.head
