"""A composed model of OGB's size: adapters at every convolution's maps, and what comes of freezing.

Shapes: D width, K adapters, R rank, Q = KR, T tasks.

K R = 128 at all ten maps of the convolutions, where nearly all of the arithmetic is, and at the
readout; with the network's other maps, those of the virtual node, the model would have more than
4.80 million parameters.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deployment.trained_network import fit, network, plain_model, train
from graphadapt.assemble import ModelInputs, assemble
from graphadapt.config import RunConfig
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.freeze import FrozenModel
from graphadapt.model import ComposedModel
from graphadapt.routing.composition import uniform_composition

__all__ = ["MOST_PARAMETERS", "bare_model", "composed_model", "compositions", "parameters"]

MOST_PARAMETERS = 4_800_000

SITES = {"neural-fingerprint": ["expand", "contract", "readouts.*"]}
"""Patterns of the sites by kind of network; others take those of the convolutions."""

STEPS = {True: 2, False: 80}
"""Of training the network and then its adapters, small and not."""


def composed_model(kind: str, *, small: bool, seed: int = 0) -> ComposedModel:
    """A network trained for some steps, then its adapters on the frozen network for as many."""
    torch.manual_seed(seed)
    plain = network(kind, (), small=small)
    train(plain, (), steps=STEPS[small], seed=seed)
    assert plain.backbone is not None
    size = {"adapters.count": 4, "adapters.rank": 2} if small else {"adapters.count": 16}
    settings = {**size, "adapters.sites": SITES.get(kind, ["convolutions.*"])}
    tasks = moleculeace_source().tasks
    unrelated_TT = np.zeros((len(tasks), len(tasks)), np.float32)
    config = RunConfig().with_settings({"backbone.kind": kind, **settings})
    model = assemble(config, ModelInputs(tasks), unrelated_TT, own_backbone=plain.backbone)
    model.readout.load_state_dict(plain.head.state_dict(), strict=False)
    names = [task.name for task in tasks]
    w = uniform_composition(names, names)
    moving = [weight for weight in model.parameters() if weight.requires_grad]
    fit(lambda batch: model(batch, w).logits, moving, (), steps=STEPS[small], seed=seed + 1)
    return model.requires_grad_(False).eval()


def compositions(model: ComposedModel, count: int) -> dict[str, Tensor]:
    """All tasks alike, then each of the first tasks alone."""
    names = [task.name for task in model.tasks]
    alone = {name: uniform_composition([name], names) for name in names[: count - 1]}
    return {"all": uniform_composition(names, names), **alone}


def bare_model(model: ComposedModel) -> FrozenModel:
    """The same network without its adapters."""
    head = nn.Linear(model.backbone.width, len(model.tasks))
    head.load_state_dict({"weight": model.readout.weight, "bias": model.readout.bias})
    return plain_model(model.backbone, None, head)


def parameters(model: ComposedModel) -> dict[str, Any]:
    """Sizes that a table shows."""
    bank = model.bank(model.sites[0])
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "sites": len(model.sites),
        "count_times_rank": bank.count * bank.rank,
    }
