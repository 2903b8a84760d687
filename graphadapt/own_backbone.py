"""Whether a network of the caller's own can be a run's backbone, asked before it is run."""

import inspect
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from graphadapt.adapters.sites import find_sites
from graphadapt.backbone.protocol import ColumnMap, call_linear
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.arrays import MoleculeArrays

__all__ = ["check_own_backbone"]

_CARBON, _SINGLE = [5, 0, 4, 5, 0, 0, 2, 0, 0], [0, 0, 0]
_MOLECULES = (
    MoleculeArrays(
        np.array([_CARBON] * 3, np.uint8),
        np.array([[0, 1], [1, 2]], np.int16),
        np.array([_SINGLE] * 2, np.uint8),
    ),
    MoleculeArrays(
        np.array([_CARBON], np.uint8), np.zeros((0, 2), np.int16), np.zeros((0, 3), np.uint8)
    ),
)
"""A chain of three carbon atoms, and one alone; as arrays, for a machine without RDKit."""


def check_own_backbone(network: object, sites: Sequence[str] = ()) -> None:
    """Embed two molecules, without a trace in the network.

    Args:
        network: is to be a :class:`~graphadapt.backbone.protocol.Backbone`.
        sites: patterns of the linear layers that are to carry adapters.

    Raises:
        ConfigError: if it is no ``nn.Module``, its ``forward`` or ``width`` is not a backbone's, a
            pattern matches no linear layer, or a matched one is not applied through ``linear`` or
            shares its weight.
    """
    kind = f"own_backbone of type {type(network).__name__}"
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{kind} is no nn.Module; make it one, with a `width` and a `forward`")
    width = getattr(network, "width", None)
    if not isinstance(width, int):
        raise ConfigError(
            f"{kind} has width={width!r}; set it to the columns of its graph embedding"
        )
    if not _takes(network, 1) or not _takes(network, 2):
        raise ConfigError(f"{kind} is not called as forward(batch, linear=call_linear); make it so")
    embedding, applied = _embed(network)
    found = tuple(embedding.shape) if isinstance(embedding, Tensor) else type(embedding).__name__
    wanted = (len(_MOLECULES), width)
    if found != wanted:
        raise ConfigError(
            f"{kind} embeds {wanted[0]} molecules as {found}, and width={width} promises {wanted}; "
            "set width to the columns, and give a row for each graph"
        )
    owners = Counter[Tensor](
        weight for each in network.modules() for weight in each.parameters(False)
    )
    for name, layer in find_sites(network, sites).items():
        if layer not in applied:
            raise ConfigError(
                f"{kind} applies {name} by itself, or not at all, where adapters would never be "
                "met; call `linear(layer, x)` instead of `layer(x)`, or leave the site out"
            )
        if owners[layer.weight] > 1:
            raise ConfigError(
                f"{kind} shares the weight of {name} with another layer, which adapters there "
                "would change too; give each its own, or use one layer twice"
            )


def _takes(network: nn.Module, arguments: int) -> bool:
    try:
        inspect.signature(network.forward).bind(*[None] * arguments)
    except TypeError:
        return False
    return True


@torch.no_grad()
def _embed(network: nn.Module) -> tuple[object, set[nn.Module]]:
    """What it makes of the molecules, and the layers that were applied through ``linear``."""
    applied: set[nn.Module] = set()

    def linear(layer: nn.Linear, x: Tensor, after: ColumnMap | None = None, /) -> Tensor:
        applied.add(layer)
        return call_linear(layer, x, after)

    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    table = GraphTable.from_molecules(_MOLECULES)
    modes = {module: module.training for module in network.modules()}
    try:
        batch = table.gather(torch.arange(len(_MOLECULES))).to(device)
        embedding: object = network.eval()(batch, linear)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return embedding, applied
