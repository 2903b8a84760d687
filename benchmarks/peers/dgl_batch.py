"""DGL's classic way: graphs built beforehand, joined by ``dgl.batch``, messages by ``update_all``.

Shapes: N nodes, E directed edges, G graphs, D width, T tasks.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from graphadapt.graphs.dgl_bridge import load_dgl
from peers.network import PeerNetwork, bond_embedding, mlp
from peers.training import LabelledGraphs, PeerSettings, PeerTraining, endless

__all__ = ["DglNetwork", "dgl_training"]


class WrittenConvolution(nn.Module):
    """Messages by a function of the edges, as DGL's guide teaches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bonds = bond_embedding(width)
        self.mlp = mlp(width)
        self.epsilon = nn.Parameter(torch.zeros(1))

    def forward(self, graph: Any, x_ND: Tensor) -> Tensor:
        with graph.local_scope():
            graph.ndata["x"] = x_ND
            graph.edata["bond"] = self.bonds(graph.edata["bonds"])
            self.hear(graph)
            return self.mlp((1 + self.epsilon) * x_ND + graph.ndata["heard"])

    def hear(self, graph: Any) -> None:
        graph.update_all(_message, load_dgl().function.sum("message", "heard"))


class FusedConvolution(WrittenConvolution):
    """Messages by DGL's built-in functions; under autocast, bonds follow the nodes' precision."""

    def hear(self, graph: Any) -> None:
        function = load_dgl().function
        graph.edata["bond"] = graph.edata["bond"].to(graph.ndata["x"].dtype)
        graph.apply_edges(function.u_add_e("x", "bond", "message"))
        graph.edata["message"] = torch.relu(graph.edata["message"])
        graph.update_all(function.copy_e("message", "kept"), function.sum("kept", "heard"))


def _message(edges: Any) -> dict[str, Tensor]:
    return {"message": torch.relu(edges.src["x"] + edges.data["bond"])}


class DglNetwork(PeerNetwork):
    """The network over batched DGL graphs with ``atoms`` at their nodes and ``bonds`` at edges.

    Args:
        tasks: T.
        tuned: whether built-in functions pass the messages, instead of one written by hand.
        sizes: ``width``, ``layers`` and ``dropout``.
    """

    def __init__(self, tasks: int, *, tuned: bool = False, **sizes: Any) -> None:
        super().__init__(tasks, FusedConvolution if tuned else WrittenConvolution, **sizes)
        self._dgl = load_dgl()

    def atom_codes(self, graphs: Any) -> Tensor:
        return graphs.ndata["atoms"]

    def count(self, graphs: Any) -> int:
        return graphs.batch_size

    def convolve(self, layer: int, x_ND: Tensor, graphs: Any) -> Tensor:
        return self.convolutions[layer](graphs, x_ND)

    def spread(self, state_GD: Tensor, graphs: Any) -> Tensor:
        return self._dgl.broadcast_nodes(graphs, state_GD)

    def pool(self, x_ND: Tensor, graphs: Any, how: str) -> Tensor:
        # DGL 2.1 has no segment sum in bfloat16 on a CPU.
        wide_ND = x_ND.to(torch.promote_types(x_ND.dtype, torch.float32))
        with graphs.local_scope():
            graphs.ndata["pooled"] = wide_ND
            return self._dgl.readout_nodes(graphs, "pooled", op=how)


def dgl_training(
    graphs: LabelledGraphs,
    settings: PeerSettings,
    device: torch.device | str = "cpu",
    **sizes: Any,
) -> PeerTraining:
    """DGL training the network on these batches.

    Args:
        graphs: molecules and which make each batch.
        settings: as its guide does, or at its best.
        device: what computes; a CUDA build of DGL is needed for a GPU.
        sizes: ``width``, ``layers`` and ``dropout`` of the network.
    """
    network = DglNetwork(graphs.labels.shape[1], tuned=settings.tuned, **sizes)
    data = {row: (_graph(graphs, row), graphs.labels[row]) for row in graphs.rows.tolist()}
    make = _ready if settings.tuned and not settings.workers else _loaded
    batches = make(data, graphs, settings, device)
    return PeerTraining(network, batches, settings, is_binary=graphs.is_binary, device=device)


def _graph(graphs: LabelledGraphs, row: int) -> Any:
    molecule = graphs.molecule(row)
    graph = load_dgl().graph(tuple(molecule.ends), num_nodes=len(molecule.atoms))
    graph.ndata["atoms"], graph.edata["bonds"] = molecule.atoms, molecule.bonds
    return graph


def _join(pairs: Sequence[tuple[Any, Tensor]]) -> tuple[Any, Tensor]:
    graphs, labels = zip(*pairs, strict=True)
    return load_dgl().batch(graphs), torch.stack(labels)


def _loaded(
    data: dict[int, Any], graphs: LabelledGraphs, settings: PeerSettings, device: Any
) -> Iterator[tuple[Any, Tensor]]:
    """Batches joined as they are needed."""
    loader = DataLoader(
        data,
        batch_sampler=[rows.tolist() for rows in graphs.batches],
        collate_fn=_join,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )
    for graph, labels in endless(loader):
        yield graph.to(device), labels.to(device)


def _ready(
    data: dict[int, Any], graphs: LabelledGraphs, settings: PeerSettings, device: Any
) -> Iterator[tuple[Any, Tensor]]:
    """Batches joined beforehand, on the device, with 32-bit indices."""
    made = [_join([data[row] for row in rows.tolist()]) for rows in graphs.batches]
    yield from endless([(graph.int().to(device), labels.to(device)) for graph, labels in made])
