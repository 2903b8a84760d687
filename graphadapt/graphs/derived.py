"""Remember what was worked out from index tensors for as long as the same ones keep coming.

Every layer of a network passes messages over the same edges, forward and back, and a task graph
never changes at all: sorting its edges or building a DGL graph is wanted once.

What a CUDA graph's replay writes, torch does not count. So a tensor that is filled anew by replays,
such as a batch gathered inside the graph, must never be a key: what was remembered for it would be
an earlier batch's. Batches therefore carry the order of their edges and nodes with them
(:class:`graphadapt.graphs.batch.GraphBatch`), and only constant tensors, such as a task graph's
edges, come here when a step is captured. A buffer that is refilled outside of graphs, by ``copy_``,
is safe: that counts as a write.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["DerivedCache"]

Value = TypeVar("Value")


def _is_capturing(tensor: Tensor) -> bool:
    """Whether a CUDA graph is being captured that may read the tensor."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


class DerivedCache:
    """The latest ``size`` values, each found by the identity of the tensors it came from.

    A tensor that was written to since counts as another one. The cache holds on to its tensors, so
    that no newer tensor can be taken for one of them.

    While a CUDA graph is captured, values known before are used, being right for constant tensors,
    and never let go, because replays read them. New ones are not remembered: they belong to the
    graph, and hold nothing until its first replay.

    Args:
        size: most values to hold on to, besides those that graphs read.
        is_capturing: whether a graph is being captured that may read the tensor.
    """

    def __init__(
        self, size: int = 16, is_capturing: Callable[[Tensor], bool] = _is_capturing
    ) -> None:
        self.size = size
        self._is_capturing = is_capturing
        self._entries: OrderedDict[Hashable, tuple[tuple[Tensor, ...], Any]] = OrderedDict()
        self._read_by_graphs: dict[Hashable, tuple[tuple[Tensor, ...], Any]] = {}

    def get(
        self,
        kind: str,
        tensors: tuple[Tensor, ...],
        counts: tuple[int, ...],
        make: Callable[[], Value],
    ) -> Value:
        """The value remembered for these arguments, else ``make()``, remembered from now on."""
        key = (kind, counts, *((id(tensor), _version(tensor)) for tensor in tensors))
        captures = self._is_capturing(tensors[0])
        if key not in self._entries:
            made = make()
            if captures:
                return made
            self._entries[key] = (tensors, made)
            if len(self._entries) > self.size:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        if captures:
            self._read_by_graphs[key] = self._entries[key]
        value: Value = self._entries[key][1]
        return value

    def __len__(self) -> int:
        return len(self._entries)


def _version(tensor: Tensor) -> int:
    """How often the tensor was written to; torch does not count that in inference mode."""
    return 0 if tensor.is_inference() else tensor._version
