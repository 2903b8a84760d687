"""PyTorch Geometric's way: a ``MessagePassing`` module over batches of ``Data`` objects.

Shapes: N nodes, E directed edges, G graphs, D width, T tasks.

The library is no dependency of graphadapt; it is imported when a network is built.
"""

import functools
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from peers.network import PeerNetwork, bond_embedding, mlp
from peers.training import LabelledGraphs, PeerSettings, PeerTraining, endless

__all__ = ["GeometricNetwork", "geometric_batches", "geometric_training", "load_geometric"]


def load_geometric() -> ModuleType:
    """The library, imported.

    Raises:
        SystemExit: if it is not installed; says what to install.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch.jit, which it uses and torch deprecates
            for part in ("data", "loader", "nn"):
                import_module(f"torch_geometric.{part}")
            return import_module("torch_geometric")
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"PyTorch Geometric cannot be measured: {error}; pip install torch_geometric, "
            "or leave this peer out"
        ) from error


@functools.cache
def written_convolution() -> type[nn.Module]:
    """A convolution as a user of the library writes one."""
    message_passing = load_geometric().nn.MessagePassing

    class BondConvolution(message_passing):
        def __init__(self, width: int) -> None:
            super().__init__(aggr="add")
            self.bonds = bond_embedding(width)
            self.mlp = mlp(width)
            self.epsilon = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
            heard = self.propagate(edge_index, x=x, bond=self.bonds(edge_attr))
            return self.mlp((1 + self.epsilon) * x + heard)

        def message(self, x_j: Tensor, bond: Tensor) -> Tensor:
            return torch.relu(x_j + bond)

    return BondConvolution


class ReadyConvolution(nn.Module):
    """The library's own ``GINEConv``; under autocast, bonds follow the nodes' precision."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bonds = bond_embedding(width)
        self.convolution = load_geometric().nn.GINEConv(mlp(width), train_eps=True)

    @property
    def mlp(self) -> nn.Sequential:
        return self.convolution.nn

    @property
    def epsilon(self) -> nn.Parameter:
        return self.convolution.eps

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.convolution(x, edge_index, self.bonds(edge_attr).to(x.dtype))


class PlainBatch(NamedTuple):
    """What the network reads of a ``Batch``; ``torch.compile`` cannot look into the object."""

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    batch: Tensor
    num_graphs: int


class GeometricNetwork(PeerNetwork):
    """The network over ``Batch`` objects, or what is read of them.

    Args:
        tasks: T.
        tuned: whether ``GINEConv`` passes the messages, instead of a convolution written by hand.
        sizes: ``width``, ``layers`` and ``dropout``.
    """

    def __init__(self, tasks: int, *, tuned: bool = False, **sizes: Any) -> None:
        super().__init__(tasks, ReadyConvolution if tuned else written_convolution(), **sizes)
        functions = load_geometric().nn
        self._pools = {"sum": functions.global_add_pool, "mean": functions.global_mean_pool}

    def atom_codes(self, graphs: Any) -> Tensor:
        return graphs.x

    def count(self, graphs: Any) -> int:
        return graphs.num_graphs

    def convolve(self, layer: int, x_ND: Tensor, graphs: Any) -> Tensor:
        return self.convolutions[layer](x_ND, graphs.edge_index, graphs.edge_attr)

    def spread(self, state_GD: Tensor, graphs: Any) -> Tensor:
        return state_GD[graphs.batch]

    def pool(self, x_ND: Tensor, graphs: Any, how: str) -> Tensor:
        # Without the size it would ask the device for the last graph's number.
        return self._pools[how](x_ND, graphs.batch, size=graphs.num_graphs)


def geometric_training(
    graphs: LabelledGraphs,
    settings: PeerSettings,
    device: torch.device | str = "cpu",
    **sizes: Any,
) -> PeerTraining:
    """The library training the network on these batches.

    Args:
        graphs: molecules and which make each batch.
        settings: as its examples do, or at its best.
        device: what computes.
        sizes: ``width``, ``layers`` and ``dropout`` of the network.

    Raises:
        SystemExit: if the library is not installed.
    """
    network = GeometricNetwork(graphs.labels.shape[1], tuned=settings.tuned, **sizes)
    batches = geometric_batches(graphs, settings, device)
    return PeerTraining(network, batches, settings, is_binary=graphs.is_binary, device=device)


def geometric_batches(
    graphs: LabelledGraphs, settings: PeerSettings, device: torch.device | str = "cpu"
) -> Iterator[tuple[Any, Tensor]]:
    """The batches for ever, each with its labels ``(G, T)``."""
    data = {row: _data(graphs, row) for row in graphs.rows.tolist()}
    make = _ready if settings.tuned and not settings.workers else _loaded
    return make(data, graphs, settings, device)


def _data(graphs: LabelledGraphs, row: int) -> Any:
    molecule = graphs.molecule(row)
    return load_geometric().data.Data(
        x=molecule.atoms,
        edge_index=molecule.ends,
        edge_attr=molecule.bonds,
        y=graphs.labels[row : row + 1],
    )


def _loaded(
    data: dict[int, Any], graphs: LabelledGraphs, settings: PeerSettings, device: Any
) -> Iterator[tuple[Any, Tensor]]:
    """Batches that the library's loader makes as they are needed."""
    loader = load_geometric().loader.DataLoader(
        data,
        batch_sampler=[rows.tolist() for rows in graphs.batches],
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        pin_memory=settings.tuned and torch.device(device).type == "cuda",
    )
    for batch in endless(loader):
        moved = batch.to(device, non_blocking=settings.tuned)
        yield (_plain(moved) if settings.tuned else moved), moved.y


def _ready(
    data: dict[int, Any], graphs: LabelledGraphs, settings: PeerSettings, device: Any
) -> Iterator[tuple[Any, Tensor]]:
    """Batches made beforehand, on the device."""
    join = load_geometric().data.Batch.from_data_list
    made = [join([data[row] for row in rows.tolist()]).to(device) for rows in graphs.batches]
    yield from endless([(_plain(batch), batch.y) for batch in made])


def _plain(batch: Any) -> PlainBatch:
    return PlainBatch(batch.x, batch.edge_index, batch.edge_attr, batch.batch, batch.num_graphs)
