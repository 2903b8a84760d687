"""Remember what was worked out from index tensors for as long as the same ones keep coming.

Every layer of a network passes messages over the same edges, forward and back, and a task graph
never changes at all: sorting its edges or building a DGL graph is wanted once.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

__all__ = ["DerivedCache"]

Value = TypeVar("Value")


class DerivedCache:
    """The latest ``size`` values, each found by the identity of the tensors it came from.

    A tensor that was written to since counts as another one. The cache holds on to its tensors, so
    that no newer tensor can be taken for one of them.
    """

    def __init__(self, size: int = 16) -> None:
        self.size = size
        self._entries: OrderedDict[Hashable, tuple[tuple[Tensor, ...], Any]] = OrderedDict()

    def get(
        self,
        kind: str,
        tensors: tuple[Tensor, ...],
        counts: tuple[int, ...],
        make: Callable[[], Value],
    ) -> Value:
        """The value remembered for these arguments, else ``make()``, remembered from now on."""
        key = (kind, counts, *((id(tensor), _version(tensor)) for tensor in tensors))
        if key not in self._entries:
            self._entries[key] = (tensors, make())
            if len(self._entries) > self.size:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        value: Value = self._entries[key][1]
        return value

    def __len__(self) -> int:
        return len(self._entries)


def _version(tensor: Tensor) -> int:
    """How often the tensor was written to; torch does not count that in inference mode."""
    return 0 if tensor.is_inference() else tensor._version
