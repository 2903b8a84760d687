"""Whether a network of the caller's own can be a run's backbone; asked before anything is written.

Shapes: G graphs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphadapt.adapters.sites import find_sites
from graphadapt.backbone.protocol import ColumnMap, call_linear
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.featurise import featurise_smiles

__all__ = ["check_own_backbone"]

_MOLECULES = ("CCO", "c1ccccc1")


def check_own_backbone(network: object, sites: Sequence[str] = ()) -> None:
    """Embed two molecules, without a trace in the network.

    Args:
        network: is to be a :class:`~graphadapt.backbone.protocol.Backbone`.
        sites: patterns of the linear layers that are to carry adapters.

    Raises:
        ConfigError: if it is no ``nn.Module``, its ``width`` is not that of its embedding, a
            pattern matches no linear layer, or the network applies a matched one by itself.
    """
    kind = f"own_backbone of type {type(network).__name__}"
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{kind} is no nn.Module; make it one, with a `width` and a `forward`")
    width = getattr(network, "width", None)
    if not isinstance(width, int):
        raise ConfigError(
            f"{kind} has width={width!r}; set it to the columns of its graph embedding"
        )
    embedding, applied = _embed(network)
    wanted = (len(_MOLECULES), width)
    if tuple(embedding.shape) != wanted:
        raise ConfigError(
            f"{kind} embeds {wanted[0]} molecules as {tuple(embedding.shape)}, and width={width} "
            f"promises {wanted}; set width to the columns, and give a row for each graph"
        )
    passed = [name for name, layer in find_sites(network, sites).items() if layer not in applied]
    if passed:
        raise ConfigError(
            f"{kind} applies {passed[0]} by itself, where adapters would never be met; call "
            "`linear(layer, x)` instead of `layer(x)`"
        )


@torch.no_grad()
def _embed(network: nn.Module) -> tuple[Tensor, set[nn.Module]]:
    """The molecules' embedding, and the layers that were applied through ``linear``."""
    applied: set[nn.Module] = set()

    def linear(layer: nn.Linear, x: Tensor, after: ColumnMap | None = None, /) -> Tensor:
        applied.add(layer)
        return call_linear(layer, x, after)

    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    table = GraphTable.from_molecules([featurise_smiles(text) for text in _MOLECULES])
    modes = {module: module.training for module in network.modules()}
    try:
        embedding: Tensor = network.eval()(
            table.gather(torch.arange(len(_MOLECULES))).to(device), linear
        )
    finally:
        for module, mode in modes.items():
            module.training = mode
    return embedding, applied
