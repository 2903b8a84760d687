"""Task embeddings that hear from the tasks they are related to.

Shapes: T tasks, E directed edges of the task graph with its self-loops, p embedding width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from graphadapt.errors import ConfigError
from graphadapt.graphs.message_passing import KernelName, message_kernels
from graphadapt.prior.task_graph import normalised_relation, spectral_start, task_edges

__all__ = ["TaskPropagation"]


class TaskPropagation(nn.Module):
    r"""Rounds of message passing over the relation graph of the tasks.

    .. math::
        H^0 = S + \varphi\,\Theta, \qquad H^{l+1} = \tanh(\hat A H^l W^l) + H^l, \qquad
        \hat A = D^{-1/2} (A + I) D^{-1/2}

    ``S`` is where the embeddings start and never moves, ``Θ`` is learned and starts at zero, and
    φ says how far the labels may pull tasks from where the relation puts them. At φ = 1 this is
    plainly a learned embedding that starts at ``S``, with weight decay towards ``S``. Smoothing
    such an embedding decides little, because the data can undo it; at φ = 0 nothing but the
    relation tells one task's route from another's.

    ``S`` is random at unit scale, or spectral (:func:`spectral_start`), where related tasks are
    close before the first round; a task that the leading directions do not reach keeps its random
    row. ``W`` starts as a random rotation, which keeps the angles between smoothed tasks, and
    tanh keeps messages centred. A task without relations hears itself alone. Computed in the
    parameters' precision under autocast too.

    Args:
        relation_TT: A, symmetric, in ``[0, 1]``, with a zero diagonal; edges are fixed.
        width: p.
        layers: rounds; 0 leaves ``H^0``.
        start: what ``S`` is.
        free: φ, at least 0; at 0 there is no ``Θ``.
        message_passing: kernels to use.

    Raises:
        ConfigError: if A is not such a matrix, or a setting is out of range.

    References:
        Kipf and Welling, Semi-supervised classification with graph convolutional networks, 2017,
        for ``Â``.
    """

    start: Tensor
    source: Tensor
    target: Tensor
    weight: Tensor

    def __init__(
        self,
        relation_TT: Tensor,
        width: int,
        layers: int,
        *,
        start: Literal["random", "spectral"] = "random",
        free: float = 1.0,
        message_passing: KernelName = "auto",
    ) -> None:
        super().__init__()
        _check_settings(width, layers, start, free)
        normalised_TT = normalised_relation(relation_TT)
        edges = task_edges(normalised_TT)
        start_Tp = torch.randn(len(relation_TT), width)
        if start == "spectral":
            spectral_Tp = spectral_start(normalised_TT, width).to(start_Tp.dtype)
            start_Tp = torch.where(spectral_Tp.any(1, keepdim=True), spectral_Tp, start_Tp)
        self.free = free
        self.message_passing: KernelName = message_passing
        self.register_buffer("start", start_Tp)
        self.embedding = nn.Parameter(torch.zeros_like(start_Tp)) if free > 0 else None
        self.weights = nn.ParameterList(
            nn.init.orthogonal_(torch.empty(width, width)) for _ in range(layers)
        )
        # Made from the relation, which a run keeps by itself, so not part of a checkpoint.
        self.register_buffer("source", edges.source, persistent=False)
        self.register_buffer("target", edges.target, persistent=False)
        self.register_buffer("weight", edges.weight.to(start_Tp.dtype), persistent=False)

    def forward(self) -> Tensor:
        """Task embeddings ``H^L``, ``(T, p)``."""
        task_Tp = self.start
        if self.embedding is not None:
            task_Tp = task_Tp + self.free * self.embedding
        kernels = message_kernels(self.message_passing, task_Tp.device)
        with torch.autocast(task_Tp.device.type, enabled=False):
            for weight_pp in self.weights:
                heard_Tp = kernels.weighted_sum(
                    task_Tp, self.source, self.target, self.weight, len(task_Tp)
                )
                task_Tp = (heard_Tp @ weight_pp).tanh() + task_Tp
        return task_Tp


def _check_settings(width: int, layers: int, start: str, free: float) -> None:
    if width < 1 or layers < 0:
        raise ConfigError(f"width={width}, layers={layers}: use a width >= 1 and layers >= 0")
    if start not in ("random", "spectral"):
        raise ConfigError(f"start={start!r} is neither 'random' nor 'spectral'")
    if not free >= 0:
        raise ConfigError(f"free={free} is not at least 0; 1.0 leaves embeddings to the data")
