"""Ways in which PyTorch itself answers a frozen network's batches on a CPU.

Eager is the frozen model as it is, with either of its kernels. ``torch.compile`` is given the model
as it is too, and the network that the bundle was made from: plain tensors, norms folded in, on the
very arrays that the bundle reads. That one compiles as a single graph, so it is the strongest
setting that can be had, with all of the export's own work in it. Compiling is never timed: every
batch is answered once before, under each number of threads.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as shapes

from deployment.engine_times import Way
from graphadapt.export.network import PlainModel
from graphadapt.freeze import FrozenModel
from graphadapt.graphs.batch import GraphBatch

__all__ = ["COMPILED", "EAGER", "HALF", "KERNELS", "compiled_ways", "eager_ways", "half_ways"]

EAGER, HALF, COMPILED = "PyTorch", "PyTorch bfloat16", "torch.compile"
KERNELS = ("tensor", "dgl")

RECOMPILED = 64
"""Times that one function may be compiled, for single molecules and for numbers of threads."""

MakeBatch = Callable[[], GraphBatch]
Work = dict[Way, Callable[[], object]]


def eager_ways(frozen: FrozenModel, batches: Sequence[MakeBatch], setting: str) -> Work:
    """The model in float32, with each of its two kernels."""
    return {
        Way(EAGER, f"{kernels} kernels, {setting}"): over_all(frozen, batches, kernels)
        for kernels in KERNELS
    }


def half_ways(frozen: FrozenModel, batches: Sequence[MakeBatch], setting: str) -> Work:
    """The model in bfloat16 by autocast, its weights cast at each use and cast beforehand."""
    cast = copy.deepcopy(frozen)
    for layer in cast.modules():
        if isinstance(layer, nn.Linear):
            layer.to(torch.bfloat16)
    models = {"": frozen, ", weights cast beforehand": cast}
    return {
        Way(HALF, f"{kernels} kernels{how}, {setting}"): over_all(
            model, batches, kernels, halved=True
        )
        for how, model in models.items()
        for kernels in KERNELS
    }


def over_all(
    frozen: FrozenModel, batches: Sequence[MakeBatch], kernels: str, *, halved: bool = False
) -> Callable[[], None]:
    """A call that answers every batch."""

    @torch.inference_mode()
    def answer() -> None:
        assert frozen.backbone is not None
        frozen.backbone.message_passing = kernels
        with halving(halved):
            for make_batch in batches:
                frozen(make_batch())

    return answer


def halving(halved: bool) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if halved else nullcontext()


def compiled_ways(
    frozen: FrozenModel,
    batches: Sequence[MakeBatch],
    plain: PlainModel,
    arrays: Sequence[Mapping[str, np.ndarray]],
    setting: str,
    *,
    backend: str = "inductor",
    model_too: bool = True,
) -> Work:
    """``torch.compile`` of the model, and of the bundle's own network, both with any shape.

    Args:
        frozen: the model; its tensor kernels are compiled.
        batches: what it reads.
        plain: the network that the bundle was made from.
        arrays: what that reads, as the bundle does.
        setting: number of threads.
        backend: what compiles; ``eager`` only shows that the bundle's network is one graph.
        model_too: whether the model is compiled beside the bundle's network.
    """
    inputs = [{name: torch.from_numpy(batch[name]) for name in plain.reads} for batch in arrays]
    whole = torch.compile(plain, dynamic=True, backend=backend, fullgraph=True)
    work: Work = {Way(COMPILED, f"the bundle's network, {setting}"): each_of(whole, inputs)}
    if model_too:
        model = copy.deepcopy(frozen)
        assert model.backbone is not None
        model.backbone.message_passing = "tensor"
        parts = torch.compile(model, dynamic=True, backend=backend)
        graphs = [make_batch() for make_batch in batches]
        work[Way(COMPILED, f"the model, {setting}")] = each_of(parts, graphs)
    with any_shape():
        for answer in work.values():
            answer()
    return work


def each_of(network: Callable[[Any], Tensor], batches: Sequence[Any]) -> Callable[[], None]:
    @torch.inference_mode()
    def answer() -> None:
        for batch in batches:
            network(batch)

    return answer


@contextmanager
def any_shape() -> Iterator[None]:
    """Lengths that happen to be equal are not taken for the same, which would compile anew."""
    before = torch._dynamo.config.recompile_limit, shapes.use_duck_shape
    torch._dynamo.config.recompile_limit, shapes.use_duck_shape = RECOMPILED, False
    try:
        yield
    finally:
        torch._dynamo.config.recompile_limit, shapes.use_duck_shape = before
