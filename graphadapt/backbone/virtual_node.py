"""A node joined to all others of its graph, which carries messages across it in one step.

Shapes: N nodes, G graphs, D width, L layers of the network.
"""

import torch
from torch import Tensor, nn

from graphadapt.backbone.dropout import Dropout
from graphadapt.backbone.protocol import LinearCall
from graphadapt.graphs.batch import GraphBatch

__all__ = ["VirtualNode", "VirtualNodeUpdate"]


class VirtualNode(nn.Module):
    """A first state, the same for all graphs and zero at random weights, and the layers' updates.

    Args:
        width: D.
        layers: L; there are L - 1 updates.
        dropout: chance to drop an entry of an updated state, in ``[0, 1)``.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(width))
        self.updates = nn.ModuleList(VirtualNodeUpdate(width, dropout) for _ in range(layers - 1))

    def start(self, batch: GraphBatch, like: Tensor) -> Tensor:
        """Every graph's first state ``(G, D)``, in the precision of ``like``."""
        return self.first.to(like.dtype).repeat(batch.num_graphs, 1)


class VirtualNodeUpdate(nn.Module):
    r"""Pass what a graph's nodes sum up to through a small network.

    .. math:: s'_g = \mathrm{drop}(\mathrm{relu}(\mathrm{norm}(
        W_2 \, \mathrm{relu}(\mathrm{norm}(W_1 (s_g + \sum_{v \in g} x_v))))))

    ``expand`` is :math:`W_1`, ``contract`` is :math:`W_2`; both can be adapter sites.

    Args:
        width: D; the hidden layer has 2D.
        dropout: chance to drop an entry of the result, in ``[0, 1)``.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 2 * width)
        self.expand_norm = nn.BatchNorm1d(2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.contract_norm = nn.BatchNorm1d(width)
        self.dropout = Dropout(dropout)

    def forward(self, state_GD: Tensor, summed_GD: Tensor, linear: LinearCall) -> Tensor:
        """The next states ``(G, D)`` from the present ones and the nodes' sums."""
        hidden = torch.relu(self.expand_norm(linear(self.expand, state_GD + summed_GD)))
        return self.dropout(torch.relu(self.contract_norm(linear(self.contract, hidden))))
