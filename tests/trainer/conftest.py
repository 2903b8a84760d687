"""A stand-in for CUDA graphs: operations written down on a tape, and done again from it."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = (
    *("_local_scalar_dense", "bincount", "equal", "is_nonzero", "item"),
    *("masked_select", "nonzero", "unique", "_unique"),
)
"""Operations that make the host wait for a GPU."""


def waits(name, args, kwargs):
    """Whether an operation looks at a value, or has a shape that depends on values."""
    if name.startswith("repeat_interleave"):
        return kwargs.get("output_size") is None
    if name.startswith(("index", "_unsafe_index")) and isinstance(args[1], list | tuple):
        return any(each is not None and each.dtype == torch.bool for each in args[1])
    return name.startswith(WAITS)


class Watch(TorchDispatchMode):
    """Collect what waits for a GPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name, kwargs = function._schema.name.removeprefix("aten::"), kwargs or {}
        if waits(name, args, kwargs):
            self.found.append(f"{name} waits for the device")
        return function(*args, **kwargs)


def storage(tensor):
    return tensor.untyped_storage()


class Tape(TorchDispatchMode):
    """Write down every operation with its very tensors; what was written to is put back at the end.

    Numbers are kept as they are, as in a CUDA graph: a learning rate that is no tensor never
    changes again.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.before = [], {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        assert not waits(function._schema.name.removeprefix("aten::"), args, kwargs)
        given = {**dict(zip([a.name for a in function._schema.arguments], args)), **kwargs}  # noqa: B905
        for argument in function._schema.arguments:
            # The schema of batch norm does not say that it writes its running statistics.
            if argument.name.startswith("running_") or (
                argument.alias_info is not None and argument.alias_info.is_write
            ):
                for tensor in tree_leaves(given.get(argument.name)):
                    if isinstance(tensor, torch.Tensor):
                        self._remember(tensor)
        results = function(*args, **kwargs)
        self.calls.append((function, args, kwargs, results))
        return results

    def _remember(self, tensor):
        held = storage(tensor)
        if held.nbytes() and held.data_ptr() not in self.before:
            self.before[held.data_ptr()] = (held, held.clone())

    def put_back(self):
        for held, before in self.before.values():
            held.copy_(before)

    @torch.no_grad()
    def play(self):
        for function, args, kwargs, results in self.calls:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and storage(old).data_ptr() != (
                    storage(new).data_ptr()
                ):
                    old.detach().copy_(new)


class TapeRecorder:
    """What ``CudaRecorder`` does, on a CPU."""

    def __init__(self, complaint=""):
        self.complaint = complaint
        self.recordings = 0

    def beside(self):
        return nullcontext()

    @contextmanager
    def watched(self):
        found = [self.complaint] if self.complaint else []
        with Watch() as watch:
            yield found
        found += watch.found

    def record(self, work):
        self.recordings += 1
        generator = torch.get_rng_state()
        with Tape() as tape:
            result = work()
        tape.put_back()
        torch.set_rng_state(generator)
        return tape.play, result


@pytest.fixture
def tape_recorder():
    """Makes a recorder; with a complaint, one under which nothing is ever recorded."""
    return TapeRecorder
