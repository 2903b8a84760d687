"""Your own graph network as a backbone: composed with adapters, trained, opened again, frozen.

    python examples/own_backbone.py [--folder own_backbone] [--small]

A backbone is any ``nn.Module`` with a ``width`` that calls its linear layers as ``linear(layer,
x)``; that is how adapters get in, without hooks, swapped modules or renamed checkpoint keys.
Freezing gives plain weights back, for PyTorch. ONNX bundles are written for graphadapt's own
backbones only.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.backbone.encoders import AtomEncoder
from graphadapt.backbone.protocol import LinearCall, call_linear
from graphadapt.config import RunConfig
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.data.prepare import prepare
from graphadapt.freeze import freeze
from graphadapt.graphs.batch import GraphBatch
from graphadapt.report.evaluation import task_table
from graphadapt.run import Run
from graphadapt.trainer.run_folder import read_metrics

TARGETS = ("CHEMBL233_Ki", "CHEMBL236_Ki", "CHEMBL237_Ki")


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


def settings(store: Path, *, small: bool) -> RunConfig:
    """Defaults of graphadapt/config.py, but for what few molecules and little time ask for."""
    return RunConfig().with_settings(
        {
            "data.store": str(store),
            "adapters.count": 6,
            "adapters.rank": 4,
            "adapters.sites": ["updates.*"],  # by name; no match lists the layers there are
            "sampler.batch_size": 32,
            "sampler.task_count": 2,  # adapters inside the network meet many compositions
            "trainer.epochs": 2 if small else 20,
            "trainer.precision": "float32",  # so that the last digits can be compared below
        }
    )


def main() -> None:
    """Compose, show that fresh adapters change nothing, train, open again, freeze, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("own_backbone"), help="Must be new.")
    parser.add_argument("--small", action="store_true", help="Few molecules and epochs.")
    options = parser.parse_args()
    folder: Path = options.folder
    if folder.exists():
        parser.error(f"{folder} exists already; name a new one with --folder")
    count, width = (160, 16) if options.small else (1500, 64)
    source = moleculeace_source(TARGETS)
    rows = np.random.default_rng(0).choice(len(source), count, replace=False)
    prepare(source.take(np.sort(rows)), folder / "store")

    # Your network comes with its first weights: random ones here, pretrained ones if you have them.
    torch.manual_seed(0)
    backbone = NeighbourMean(width, layers=3)
    config = settings(folder / "store", small=options.small)
    run = Run.create(config, folder / "run", own_backbone=backbone)
    model, batch = run.model.eval(), run.feed.table.gather(torch.arange(count))
    print("adapters sit at", ", ".join(model.sites), "and the readout")
    plain_GT = functional.linear(backbone(batch), model.readout.weight, model.readout.bias)
    moved = (model(batch, run.everyone).logits - plain_GT).abs().max()
    print(f"fresh adapters move an answer by {moved:.1e} at most")

    # Run.open(run.folder, "none", own_backbone=...).train(resume=True) goes on with a stopped run.
    run.train()
    losses = [line["loss"] for line in read_metrics(run.folder)]
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} epochs")

    # The folder holds its weights, not its code: whoever opens it brings the network again.
    run = Run.open(folder / "run", own_backbone=NeighbourMean(width, layers=3))
    print(task_table(run.evaluate("test")))

    with torch.inference_mode():
        answers_GT = run.feed.predict(run.model, torch.arange(count), run.everyone)
        frozen = freeze(run.model, composition_T=run.everyone)
        moved = (frozen(batch) - answers_GT).abs().max()
    sizes = [sum(weight.numel() for weight in each.parameters()) for each in (run.model, frozen)]
    print(f"frozen: {sizes[0]:,} weights become {sizes[1]:,}")
    print(f"freezing moves an answer by {moved:.1e} at most")


if __name__ == "__main__":
    main()
