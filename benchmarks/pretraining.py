"""What pretraining is worth: the same probes and adapters on networks that start differently.

    python benchmarks/pretraining.py --data FOLDER

Starts: `ours NAME` (weights that come with graphadapt, or a package of `graphadapt pretrain`),
`random NAME` (the same network, untrained), and the GCN and GraphSAGE that `pretrain-gnns` trained
by context prediction. Ways:
`probe` (a linear answer on frozen embeddings), `adapters` (at all linear layers and at the readout
of the frozen network), `full` (every weight, plain heads). Of the sets under FOLDER and MoleculeACE
only training cells train, validation chooses, test is reported.
"""

import argparse
import os
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frozen_probe import embed, linear_probe
from measure import markdown_table, save_results

from graphadapt.assemble import ModelInputs, assemble
from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.layered import LayeredBackbone
from graphadapt.backbone.package import bundled_weights, read_card
from graphadapt.backbone.pretrain_gnns import load_pretrain_gnns
from graphadapt.config import BackboneConfig, RunConfig
from graphadapt.data.bundled import BUNDLED, open_store
from graphadapt.data.dataset import Dataset
from graphadapt.data.load import load_source
from graphadapt.data.prepare import prepare
from graphadapt.data.store import is_store
from graphadapt.graphs.batch import GraphTable
from graphadapt.objective.metrics import evaluate_tasks
from graphadapt.readout.scaling import TargetScaling
from graphadapt.relation.build import build_relation
from graphadapt.run import Run
from graphadapt.trainer.run_folder import BEST
from graphadapt.trainer.start_weights import model_tensors, start_backbone

SETS = ("ogbg_molbbbp", "ogbg_moltox21", "ogbg_molsider", "ogbg_molmuv", BUNDLED)
WAYS = ("probe", "adapters", "full")
SITES = {
    "gnns": ["update"],
    "gin-virtual-node": ["expand", "contract"],
    "neural-fingerprint": ["expand", "contract", "readouts.*", "project"],
}
"""Layers that receive adapters."""


@dataclass(frozen=True)
class Start:
    """A network to begin with."""

    name: str
    make: Callable[[int, float], LayeredBackbone]
    """From a seed and a dropout."""

    sites: list[str]
    """Layers that receive adapters."""

    is_random: bool = False


def starts(packages: Iterable[Path], gnns: Path | None, wanted: Iterable[str]) -> list[Start]:
    """The starts that are asked for, by the first word or words of their names, and there."""
    found = [start for package in packages for start in _own(package)]
    for convolution in ("gcn", "graphsage"):
        path = None if gnns is None else gnns / f"{convolution}_contextpred.pth"
        if path is not None and path.exists():
            found.append(_published(convolution, path))
    return [start for start in found if start.name.startswith(tuple(wanted))]


def _own(package: Path) -> list[Start]:
    """A package's network as it is, and untrained."""
    settings = read_card(package)["backbone"]

    def network(seed: int, dropout: float, weights: str) -> LayeredBackbone:
        torch.manual_seed(seed)
        config = BackboneConfig(**settings, dropout=dropout, weights=weights)
        backbone = build_backbone(config)
        if weights:
            start_backbone(backbone, config)
        return backbone

    name, sites = package.stem, SITES[settings["kind"]]
    return [
        Start(f"random {name}", lambda seed, drop: network(seed, drop, ""), sites, is_random=True),
        Start(f"ours {name}", lambda seed, drop: network(seed, drop, str(package)), sites),
    ]


def _published(convolution: str, path: Path) -> Start:
    def make(seed: int, dropout: float) -> LayeredBackbone:
        network = load_pretrain_gnns(path, convolution)
        network.dropout.probability = dropout
        return network

    return Start(f"pretrain-gnns {convolution}", make, SITES["gnns"])


def settings(store: str, way: str, seed: int, options: argparse.Namespace) -> RunConfig:
    """The run of one start, whatever its network is; the same for all."""
    return RunConfig().with_settings(
        {
            "data.store": store,
            "backbone.train": "all" if way == "full" else "frozen",
            "adapters.count": 0 if way == "full" else options.adapters,
            "adapters.rank": options.rank,
            "objective.reduction": "cell",
            "sampler.batch_size": options.batch_size,
            "sampler.neighbourhood": 0.0,
            "sampler.random": 0.0,
            "trainer.epochs": options.epochs,
            "trainer.patience": options.patience,
            "trainer.weight_decay": 0.0,
            "trainer.warmup": 0.1,
            "trainer.device": options.device,
            "trainer.precision": options.precision,
            "trainer.seed": seed,
        }
    )


def train(start: Start, dataset: Dataset, config: RunConfig, folder: Path, dropout: float) -> Run:
    """Adapters and heads, or all weights; goes on where a stopped one was."""
    seed, train_cells = config.trainer.seed, dataset.cells("train")
    if config.adapters.count:
        config = config.with_settings({"adapters.sites": start.sites})
    inputs = ModelInputs(dataset.tasks)
    names = [task.name for task in dataset.tasks]
    relation = build_relation(config.relation.prior, dataset.labels, train_cells, names, seed)
    backbone = start.make(seed, dropout)
    torch.manual_seed(seed)
    model = assemble(config, inputs, relation.weights, backbone)
    scaling = TargetScaling.fit(dataset.labels_of("train"), dataset.is_binary)
    model.scaling.load_state_dict(scaling.state_dict())
    relations = dict.fromkeys(("prior", "sampler", "regulariser"), relation)
    run = Run(folder, config, inputs, relations, model)
    run.__dict__["dataset"] = dataset
    folder.mkdir(parents=True, exist_ok=True)
    run.train(resume=True)
    model.load_state_dict(model_tensors(folder / BEST))
    return run


def probe(start: Start, dataset: Dataset, seed: int, device: str) -> dict[str, float]:
    """Test metrics of a linear answer."""
    table = GraphTable.from_store(dataset.store)
    answers_GT = linear_probe(embed(start.make(seed, 0.0), table, device=device), dataset)
    return scores_on_test(answers_GT, dataset)


def scores_on_test(answers_GT: np.ndarray, dataset: Dataset) -> dict[str, float]:
    """Means over tasks on the test cells."""
    store = dataset.store
    found = evaluate_tasks(
        answers_GT,
        dataset.labels,
        dataset.cells("test"),
        dataset.tasks,
        metric=store.metric,
        flags=dataset.flags,
    )
    return dict(found.mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, nargs="+", default=[*bundled_weights().values()])
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAPHADAPT_DATA"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="Or folders of stores.")
    parser.add_argument("--starts", nargs="+", default=["random", "ours", "pretrain-gnns"])
    parser.add_argument("--ways", nargs="+", default=["probe", "adapters"], choices=WAYS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--patience", type=int, default=0, help="Epochs; 0 never stops early.")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.2, help="Where all weights move.")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--runs", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/pretraining.json"))
    options = parser.parse_args()
    named = [name for name in options.sets if name != BUNDLED and not is_store(Path(name))]
    if options.data is None and named:
        parser.error(f"{named[0]} is looked for in the folder of --data, or $GRAPHADAPT_DATA")
    rows: list[dict[str, Any]] = []
    gnns = None if options.data is None else Path(options.data) / "pretrained"
    for start in starts(options.weights, gnns, options.starts):
        for name in options.sets:
            for row in compare(start, name, options):
                rows.append(row)
                save_results(options.output, rows, seeds=options.seeds)
    print(table(rows))


def compare(start: Start, name: str, options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """Rows of one start on one set, by way and seed."""
    where = store_of(name, options)
    for seed in options.seeds:
        config = settings(where, "probe", seed, options)
        dataset = Dataset.select(open_store(where), config.data, seed)
        for way in options.ways:
            if way == "probe" and seed != options.seeds[0] and is_the_same(start, dataset):
                continue
            row = {"start": start.name, "set": Path(name).name, "way": way, "seed": seed}
            if way == "probe":
                device = "cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu"
                yield {**row, "test": probe(start, dataset, seed, device)}
                continue
            folder = options.runs / "-".join(map(str, row.values())).replace(" ", "-")
            config = settings(where, way, seed, options)
            run = train(start, dataset, config, folder, options.dropout if way == "full" else 0.0)
            yield {**row, "test": dict(run.evaluate("test").mean)}


def is_the_same(start: Start, dataset: Dataset) -> bool:
    """Whether a probe has nothing random in it: known weights, and the set's own validation."""
    return not start.is_random and np.array_equal(dataset.split, dataset.store.split)


def store_of(name: str, options: argparse.Namespace) -> str:
    """A prepared store: as it is named, bundled, or made from the folder of data on first use."""
    if name == BUNDLED:
        return name
    if is_store(Path(name)):
        return str(Path(name).resolve())
    store = options.runs / "stores" / name
    if not is_store(store):
        prepare(load_source(Path(options.data) / "ogb" / name), store)
    return str(store.resolve())


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and deviation over seeds of each set's own metric, in Markdown."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    lines = []
    for way, start in dict.fromkeys((row["way"], row["start"]) for row in rows):
        own = [row for row in rows if (row["way"], row["start"]) == (way, start)]
        line: dict[str, Any] = {"way": way, "start": start}
        for name in sets:
            tests = [row["test"] for row in own if row["set"] == name]
            line |= {f"{name} {_metric(name, tests)}": _spread(tests, _metric(name, tests))}
        lines.append(line)
    return markdown_table(lines)


def _metric(name: str, tests: list[dict[str, float]]) -> str:
    if any("rmse" in test for test in tests):
        return "rmse"
    return "ap" if "muv" in name else "rocauc"


def _spread(tests: list[dict[str, float]], metric: str) -> str:
    values = [test[metric] for test in tests if metric in test]
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread} ({len(values)})"


if __name__ == "__main__":
    main()
