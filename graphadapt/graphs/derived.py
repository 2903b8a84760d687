"""Remember what was worked out from index tensors for as long as the same ones keep coming.

Every layer of a network passes messages over the same edges, forward and back, and a task graph
never changes at all: sorting its edges or building a DGL graph is wanted once.

What a CUDA graph's replay writes, torch does not count. So a tensor that is filled anew by replays,
such as a batch gathered inside the graph, must never be a key: what was remembered for it would be
an earlier batch's. Batches therefore carry the order of their edges and nodes with them
(:class:`graphadapt.graphs.batch.GraphBatch`), and only constant tensors, such as a task graph's
edges, come here when a step is captured. A buffer that is refilled outside of graphs, by ``copy_``,
is safe: that counts as a write.

A graph's replays read remembered values by their place in memory, so these must live as long as the
graph does. Whoever captures one collects them with :func:`held_for_replays`.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

__all__ = ["DerivedCache", "RecentValues", "forget_derived", "held_for_replays"]

Value = TypeVar("Value")

_COLLECTING: list[list[object]] = []
"""What captures under way have read so far, the innermost last."""

_HELD_FOR_GOOD: dict[int, object] = {}
"""What captures have read that nobody collected for, each once."""


@contextmanager
def held_for_replays() -> Iterator[list[object]]:
    """Collect the remembered values that a capture inside reads; keep the list with its graph."""
    held: list[object] = []
    _COLLECTING.append(held)
    try:
        yield held
    finally:
        _COLLECTING.pop()


def _is_capturing(device: torch.device) -> bool:
    """Whether a CUDA graph is being captured that may read the device's memory."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _hold(value: object) -> None:
    if _COLLECTING:
        _COLLECTING[-1].append(value)
    else:
        _HELD_FOR_GOOD[id(value)] = value


class RecentValues(Generic[Value]):
    """The latest ``size`` values, each found by a key.

    While a CUDA graph is captured, values known before are used, being right for constants, and
    held for the graph's replays. New ones are not remembered: they belong to the graph, and hold
    nothing until its first replay.

    Args:
        size: most values to hold on to, besides those that graphs read.
        is_capturing: whether a graph is being captured that may read a device's memory.
    """

    def __init__(
        self, size: int = 16, is_capturing: Callable[[torch.device], bool] = _is_capturing
    ) -> None:
        self.size = size
        self._is_capturing = is_capturing
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()
        _RECENT.add(self)

    def recall(self, key: Hashable, device: torch.device, make: Callable[[], Value]) -> Value:
        """The value of the key, else ``make()``, remembered from now on.

        Args:
            key: what the value is made from.
            device: where its tensors are.
            make: makes it.
        """
        captures = self._is_capturing(device)
        if key not in self._entries:
            made = make()
            if captures:
                return made
            self._entries[key] = made
            if len(self._entries) > self.size:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        if captures:
            _hold(self._entries[key])
        return self._entries[key]

    def clear(self) -> None:
        """Let go of all values but those that graphs read."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


_RECENT: "weakref.WeakSet[RecentValues[Any]]" = weakref.WeakSet()


def forget_derived() -> None:
    """Let go of what was remembered anywhere: it is worked out again where it is needed again."""
    for recent in _RECENT:
        recent.clear()


class DerivedCache(RecentValues[tuple[tuple[Tensor, ...], Any]]):
    """The latest ``size`` values, each found by the identity of the tensors it came from.

    A tensor that was written to since counts as another one. The cache holds on to its tensors, so
    that no newer tensor can be taken for one of them.
    """

    def get(
        self,
        kind: str,
        tensors: tuple[Tensor, ...],
        counts: tuple[int, ...],
        make: Callable[[], Value],
    ) -> Value:
        """The value remembered for these arguments, else ``make()``, remembered from now on."""
        key = (kind, counts, *((id(tensor), _version(tensor)) for tensor in tensors))
        value: Value
        _, value = self.recall(key, tensors[0].device, lambda: (tensors, make()))
        return value


def _version(tensor: Tensor) -> int:
    """How often the tensor was written to; torch does not count that in inference mode."""
    return 0 if tensor.is_inference() else tensor._version
