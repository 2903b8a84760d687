"""How much a step computes and moves: floating-point operations, bytes, and kernels started."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Traffic", "work_of"]

LAUNCHERS = ("triton_message", "triton_norm", "triton_segments")
"""Modules of graphadapt.graphs that start Triton's programs."""

FREE = ("aten::empty", "aten::new_empty", "aten::detach")


class Traffic(TorchDispatchMode):
    """Count operations that are no views, and the bytes of what they are given and give.

    Each input is counted as read once and each output as written once: less than a kernel really
    moves where it reads something twice, more where a cache holds it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.kernels = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        results = function(*args, **(kwargs or {}))
        if not _is_view(function) and not function._schema.name.startswith(FREE):
            self.count((args, kwargs, results))
        return results

    def count(self, given: Any) -> None:
        self.kernels += 1
        self.bytes += sum(t.nbytes for t in tree_leaves(given) if isinstance(t, torch.Tensor))


def _is_view(function: Any) -> bool:
    """Whether results share memory that nothing is written to."""
    shared = [each.alias_info for each in function._schema.arguments if each.alias_info is not None]
    return bool(shared) and not any(each.is_write for each in shared)


@contextmanager
def counted_launches(traffic: Traffic) -> Iterator[None]:
    """Count Triton's programs as well, which torch does not see."""
    patches = []
    for name in LAUNCHERS:
        try:
            module = import_module(f"graphadapt.graphs.{name}")
        except ImportError:
            continue
        launch = module.launch

        def counting(
            program: Any, grid: Any, *given: Any, launch: Any = launch, **more: Any
        ) -> None:
            traffic.count(given)
            launch(program, grid, *given, **more)

        patches.append(patch.object(module, "launch", counting))
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def work_of(step: Callable[[], object]) -> dict[str, float]:
    """What one step computes and moves; it is taken twice."""
    with FlopCounterMode(display=False) as flops:
        step()
    traffic = Traffic()
    with counted_launches(traffic), traffic:
        step()
    return {"flop": flops.get_total_flops(), "bytes": traffic.bytes, "kernels": traffic.kernels}
