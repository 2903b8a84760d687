"""Your own graph network as a backbone: composed with adapters, trained, frozen.

    python examples/own_backbone.py [--small]

A backbone is any ``nn.Module`` with a ``width`` that calls its linear layers as ``linear(layer,
x)``; that is how adapters get in, without hooks, swapped modules or renamed checkpoint keys.
Freezing gives plain weights back, for PyTorch. ONNX bundles are written for graphadapt's own
backbones only.
"""

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.sites import SiteBanks, find_sites
from graphadapt.backbone.encoders import AtomEncoder
from graphadapt.backbone.protocol import LinearCall, call_linear
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.data.split import TRAIN
from graphadapt.data.store import TaskInfo
from graphadapt.freeze import freeze
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.model import READOUT, ComposedModel
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.objective.losses import task_losses, weighted_task_loss
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.readout.head import TaskReadout
from graphadapt.readout.scaling import TargetScaling
from graphadapt.relation.estimate import label_relation
from graphadapt.routing.composition import uniform_composition
from graphadapt.routing.router import Router
from graphadapt.routing.task_routing import TaskRouting

TARGETS = ("CHEMBL233_Ki", "CHEMBL236_Ki", "CHEMBL237_Ki")
ADAPTERS, RANK, PRIOR_WIDTH = 6, 4, 16


class NeighbourMean(nn.Module):
    """Average what the neighbours say, layer after layer, and average the atoms at the end."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.atoms = AtomEncoder(width)
        self.messages = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.updates = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))

    def forward(self, batch: GraphBatch, linear: LinearCall = call_linear) -> Tensor:
        """Embed every graph of the batch, ``(G, width)``."""
        x_ND = self.atoms(batch.atoms)
        for message, update in zip(self.messages, self.updates, strict=True):
            said_ND = linear(message, x_ND).relu()  # never message(x_ND): adapters would be passed
            heard_ND = mean_by(said_ND[batch.source], batch.target, batch.num_nodes)
            x_ND = x_ND + linear(update, torch.cat([x_ND, heard_ND], dim=1)).relu()
        return mean_by(x_ND, batch.graph_of_node, batch.num_graphs)


def mean_by(x: Tensor, group: Tensor, count: int) -> Tensor:
    """Mean of the rows of every group; zeros for an empty one."""
    size = x.new_zeros(count).index_add(0, group, x.new_ones(len(x)))
    return x.new_zeros(count, x.shape[1]).index_add(0, group, x) / size.clamp(min=1).unsqueeze(1)


def compose(
    backbone: NeighbourMean, tasks: tuple[TaskInfo, ...], labels_GT: NDArray[np.float32]
) -> ComposedModel:
    """Put adapters at the backbone's updates and at the readout, routed by the tasks' relations."""
    names, width = [task.name for task in tasks], backbone.width
    relation = label_relation(
        labels_GT, ~np.isnan(labels_GT), names, shrinkage=20, minimum_overlap=10, neighbours=8
    )
    sites = find_sites(backbone, ["updates.*"])  # by name; no match lists the layers there are
    return ComposedModel(
        tasks=tasks,
        backbone=backbone,
        features=None,
        readout=TaskReadout(width, len(tasks), AdapterBank(ADAPTERS, width, width, RANK)),
        banks=SiteBanks(sites, ADAPTERS, RANK),
        routing=TaskRouting(
            TaskPropagation(torch.from_numpy(relation.weights), PRIOR_WIDTH, layers=2),
            {site: Router(ADAPTERS, PRIOR_WIDTH) for site in (*sites, READOUT)},
            {},  # an AdapterGraph for each site would let tasks and adapters exchange messages
            temperature=1.0,
            threshold=0.05,
        ),
        scaling=TargetScaling.fit(labels_GT, np.zeros(len(tasks), np.bool_)),
    )


def fit(model: ComposedModel, table: GraphTable, labels_GT: Tensor, steps: int) -> list[float]:
    """A bare training loop, for the losses; ``graphadapt.trainer`` does much more."""
    targets_GT = model.scaling.standardise(labels_GT)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        random = np.random.default_rng([0, step])
        rows = torch.from_numpy(random.choice(len(table), 64, replace=False))
        # Now all tasks, now two of them: adapters inside the network meet many compositions.
        w = uniform_composition(TARGETS if step % 2 else random.permutation(TARGETS)[:2], TARGETS)
        answer = model.train()(table.gather(rows), w)
        is_binary_T = torch.zeros(len(TARGETS), dtype=torch.bool)
        loss = weighted_task_loss(*task_losses(answer.logits, targets_GT[rows], is_binary_T), w)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Compose, show that fresh adapters change nothing, train, freeze, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="Few molecules and steps.")
    count, width, steps = (80, 16, 8) if parser.parse_args().small else (1000, 64, 150)
    torch.manual_seed(0)
    source = moleculeace_source(TARGETS)
    source = source.take(np.random.default_rng(0).choice(len(source), count, replace=False))
    labels_GT = np.where(source.split == TRAIN, source.labels, np.float32(np.nan))
    table = GraphTable.from_molecules([featurise_smiles(text) for text in source.smiles])
    batch, everyone = table.gather(torch.arange(count)), uniform_composition(TARGETS, TARGETS)

    backbone = NeighbourMean(width, layers=3)
    model = compose(backbone, source.tasks, labels_GT).eval()
    print("adapters sit at", ", ".join(model.sites), "and the readout")
    plain_GT = functional.linear(backbone(batch), model.readout.weight, model.readout.bias)
    moved = (model(batch, everyone).logits - plain_GT).abs().max()
    print(f"fresh adapters move an answer by {moved:.1e} at most")

    losses = fit(model, table, torch.from_numpy(labels_GT), steps)
    print(f"loss {np.mean(losses[:3]):.3f} to {np.mean(losses[-3:]):.3f} in {steps} steps")

    with torch.inference_mode():
        answers_GT = model.eval().scaling.restore(model(batch, everyone).logits)
        frozen = freeze(model, composition_T=everyone)
        moved = (frozen(batch) - answers_GT).abs().max()
    sizes = [sum(weight.numel() for weight in each.parameters()) for each in (model, frozen)]
    print(f"frozen: {sizes[0]:,} weights become {sizes[1]:,}")
    print(f"freezing moves an answer by {moved:.1e} at most")


if __name__ == "__main__":
    main()
