"""A layer's matrix products by each library that PyTorch has for them on a CPU.

Shapes: N atoms of a batch, D width, F output width.

PyTorch takes float32 products from the library that it was built with (MKL on x86), bfloat16's from
oneDNN where that has kernels for the processor; oneDNN's float32 products are there for whoever
calls them. Forward products only, of operands that have their format already.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evidence.timing import alternate, ratio
from graphadapt.data.store import GraphStore
from training_speed.adapters import a_step
from training_speed.own_training import several
from training_speed.plan import Plan

__all__ = ["product_rows"]

USUAL, ONEDNN = "float32, as PyTorch takes it", "float32, oneDNN"
REDUCED = "bfloat16, as PyTorch takes it"

ALLOWED = {USUAL: 1e-5, ONEDNN: 1e-5, REDUCED: 3e-2}
"""Most that a product may be off, as a share of the largest entry."""

CALLS = 8
"""Products of one timed call."""


@torch.no_grad()
def product_rows(plan: Plan, store: GraphStore) -> Iterator[dict[str, Any]]:
    """Rates of both maps of a layer, and how many times as fast as float32's usual ones."""
    random = torch.Generator().manual_seed(plan.seed)
    atoms = round(store.columns.atom_offsets[-1] / len(store) * plan.batches[0])
    for inputs, outputs in ((plan.width, 2 * plan.width), (2 * plan.width, plan.width)):
        x_ND = torch.randn(atoms, inputs, generator=random)
        weight_FD = torch.randn(outputs, inputs, generator=random)
        ways = ways_of(x_ND, weight_FD)
        found = alternate(
            {name: several(product, CALLS) for name, product in ways.items()},
            blocks=plan.blocks,
            repeats=plan.repeats,
        )
        exact_NF = x_ND.double() @ weight_FD.double().T
        for name, calls in found.items():
            timing = a_step(calls, CALLS)
            off = (ways[name]().double() - exact_NF).abs().max() / exact_NF.abs().max()
            if not off <= ALLOWED[name]:  # NaN is off too
                raise SystemExit(f"a product by {name} is off by {off:.1e}; do not use it")
            yield {
                "product_by": name,
                "atoms": atoms,
                "map": f"{inputs} to {outputs}",
                **timing.row(),
                "flop_per_s": 2 * atoms * inputs * outputs / timing.median,
                **ratio(found[USUAL], calls).row("times"),
            }


def ways_of(x_ND: Tensor, weight_FD: Tensor) -> dict[str, Callable[[], Tensor]]:
    """One product in each way that there is."""
    ways = {USUAL: partial(functional.linear, x_ND, weight_FD)}
    if torch.backends.mkldnn.is_available():
        onednn = torch.ops.mkldnn._linear_pointwise
        ways[ONEDNN] = partial(onednn, x_ND, weight_FD, None, "none", [], "")
    ways[REDUCED] = partial(functional.linear, x_ND.bfloat16(), weight_FD.bfloat16())
    return ways
