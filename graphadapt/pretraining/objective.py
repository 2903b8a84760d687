"""What every pretraining objective promises, and what it may look at.

Shapes: G graphs, N nodes, D width of the nodes, F width of the graph embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphadapt.graphs.batch import GraphBatch
from graphadapt.pretraining.corpus import Molecules
from graphadapt.pretraining.masking import Hidden

__all__ = ["Evidence", "LossSum", "PretrainingObjective", "View", "answer_head", "r_squared"]

Evidence = Mapping[str, NDArray[Any]]
"""What metrics are made from, one array a name, its rows collected over batches."""


@dataclass(frozen=True, slots=True)
class View:
    """What the backbone says of molecules of which it saw a part."""

    molecules: Molecules
    """Whole, with their targets."""

    hidden: Hidden | None
    """What was hidden; None if nothing was."""

    nodes: Tensor
    """``(N, D)`` states of the nodes."""

    graphs: Tensor
    """``(G, F)`` embeddings."""

    others: Tensor | None = None
    """``(G, F)`` embeddings of the same molecules with other parts hidden, where asked for."""

    @property
    def batch(self) -> GraphBatch:
        """The molecules as they are, nothing hidden."""
        return self.molecules.batch


class LossSum(NamedTuple):
    """A loss as a sum over parts, so that processes can join theirs into one mean."""

    total: Tensor
    """Scalar with gradient."""

    parts: Tensor
    """Scalar number of parts that were summed."""


class PretrainingObjective(nn.Module, ABC):
    """Something to predict from a view, as a module with the layers that predict it.

    Losses are divided by :attr:`constant`, the mean loss of the best answer that looks at nothing:
    so all objectives start near 1, and their weights can be compared.
    """

    constant: Tensor
    """Scalar, above 0; 1 until :meth:`fit`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("constant", torch.ones(()))

    @abstractmethod
    def fit(self, molecules: Molecules) -> None:
        """Take constants from training molecules: scales, biases, :attr:`constant`."""

    @abstractmethod
    def forward(self, view: View) -> LossSum:
        """Loss of a view; no parts means that it holds nothing to predict."""

    @abstractmethod
    def evidence(self, view: View) -> dict[str, Tensor]:
        """What :meth:`metrics` needs of one batch; rows of all batches are joined by name."""

    @abstractmethod
    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Readable figures over all of the evidence."""

    @torch.no_grad()
    def set_constant(self, value: float) -> None:
        """Set :attr:`constant`, kept above zero where nothing varies."""
        self.constant.fill_(max(value, 1e-3))


def answer_head(width: int, answers: int, hidden: int = 0) -> nn.Sequential:
    """A linear map, or one after a hidden layer; its last layer is ``[-1]``."""
    if not hidden:
        return nn.Sequential(nn.Linear(width, answers))
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, answers))


def r_squared(answer_GM: NDArray[Any], truth_GM: NDArray[Any]) -> NDArray[np.float64]:
    r"""Share of every column's variance that is explained, ``(M,)``; NaN where nothing varies.

    .. math:: R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2
    """
    truth_GM = truth_GM.astype(np.float64)
    left_M = np.square(truth_GM - answer_GM).sum(axis=0)
    whole_M = np.square(truth_GM - truth_GM.mean(axis=0)).sum(axis=0)
    return np.where(whole_M > 0, 1 - left_M / np.where(whole_M > 0, whole_M, 1), np.nan)
