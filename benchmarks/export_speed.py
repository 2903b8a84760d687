"""How fast does a merged bundle answer beside PyTorch, and are the answers the same?

    python benchmarks/export_speed.py [--kind gin-virtual-node] [--features]
    python benchmarks/export_speed.py --small

Molecules are MoleculeACE's, which come with the package; the network is OGB's size, trained for a
few steps, because random weights lose more to float32 than trained ones. PyTorch is the frozen
model itself in eager mode and float32. Both engines are timed in alternating blocks of one run;
threads of ONNX Runtime do not spin between runs. Three stages are timed: from arrays that each
engine takes, from featurised molecules, from SMILES. Batches are many and different, as no service
sees the same one twice.

Every stage is timed with one thread and with all; ``best`` compares each engine's better setting,
PyTorch's also over its two message-passing kernels.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Timing, alternate, markdown_table, ratio, save_results
from torch import nn

from graphadapt.backbone.factory import build_backbone
from graphadapt.config import BackboneConfig
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.export.bundle import write_bundle
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.freeze import FrozenModel
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import FeaturisedMolecule
from graphadapt.molecules.parallel import featurise_many
from graphadapt.readout.features import FeatureEmbedding
from graphadapt.serve.predictor import Predictor

KINDS = ("gin", "gin-virtual-node", "gcn", "gcn-virtual-node", "neural-fingerprint")
BATCH_SIZES = (1, 32)
STAGES = ("arrays", "molecules", "smiles")


@dataclass(frozen=True)
class Sample:
    """Molecules in every form that a stage starts from."""

    smiles: list[str]
    molecules: list[Any]
    features: Any

    def batches(self, size: int) -> list[slice]:
        return [slice(start, start + size) for start in range(0, len(self.smiles), size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, default="gin-virtual-node")
    parser.add_argument("--features", action="store_true", help="join count fingerprints (2048)")
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=200, help="runs of the parity proof")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a tiny network, one block")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    name = options.kind + ("-counts" if options.features else "")
    output = options.output or Path(f"benchmarks/results/export_speed_{name}.json")
    if options.small:
        options.blocks, options.repeats = 1, 2
    torch.manual_seed(options.seed)
    blocks = (FeatureBlock(kind="counts"),) if options.features else ()
    counts = {1: 6, 32: 2} if options.small else {1: 40, 32: 10}
    samples = {size: sample(size * count, blocks, options.seed) for size, count in counts.items()}
    frozen = network(options.kind, blocks, small=options.small)
    train(frozen, blocks, steps=2 if options.small else 80, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        plan = ParityPlan(repeats=options.repeats)
        parity = write_bundle(frozen, bundle, feature_blocks=blocks, plan=plan, shown=True).parity
        rows = list(timed_rows(frozen, bundle, blocks, samples, options.blocks))
    for row in rows:
        row["model"] = name
    print(markdown_table(rows))
    print(
        f"\nlargest error {parity.largest_error:.1e} of the answers' scale against float64: "
        f"{parity.repeats} runs at each of batch {parity.batch_sizes} on {parity.threads} threads "
        f"(PyTorch itself in float32: {parity.float32_error:.1e})"
    )
    proof = {"model": name, "stage": "parity", "largest_error": parity.largest_error}
    proof |= {"repeats": parity.repeats, "threads": list(parity.threads)}
    proof |= {"float32_error_of_pytorch": parity.float32_error}
    save_results(output, [*rows, proof], seeds=[options.seed])


def sample(count: int, blocks: Sequence[FeatureBlock], seed: int) -> Sample:
    every = moleculeace_source().smiles
    picked = np.random.default_rng(seed).choice(len(every), count, replace=False)
    smiles = [every[row] for row in picked]
    return Sample(smiles, *featurised(smiles, blocks))


def featurised(smiles: Sequence[str], blocks: Sequence[FeatureBlock]) -> tuple[list[Any], Any]:
    found = featurise_many(smiles, blocks, processes=1)
    rows = [each for each in found if isinstance(each, FeaturisedMolecule)]
    features = np.stack([np.concatenate(each.features) for each in rows]) if blocks else None
    return [each.arrays for each in rows], features


def network(kind: str, blocks: Sequence[FeatureBlock], *, small: bool) -> FrozenModel:
    """OGB's 5 layers of 300 (the neural fingerprint at its own sizes), MoleculeACE's tasks."""
    sizes: dict[str, Any] = {"layers": 2, "width": 16} if small else {"layers": 5, "width": 300}
    if kind == "neural-fingerprint" and not small:
        sizes = {"layers": 3, "width": 128}
    backbone = build_backbone(BackboneConfig(kind=kind, message_passing="tensor", **sizes))
    features, width = None, backbone.width
    if blocks:
        total = sum(block.width for block in blocks)
        hidden = (32, 16) if small else (1024, 512)
        ones = torch.ones(total)
        features = FeatureEmbedding(ones.bool(), ones * 0, ones, hidden=hidden)
        width += hidden[-1]
    tasks = moleculeace_source().tasks
    composition = {task.name: 1 / len(tasks) for task in tasks}
    head = nn.Linear(width, len(tasks))
    return FrozenModel(backbone, features, head, tasks=tasks, composition=composition, kept={})


def train(frozen: FrozenModel, blocks: Sequence[FeatureBlock], *, steps: int, seed: int) -> None:
    """Fit labels, centred, for a while."""
    source = moleculeace_source()
    rows = np.random.default_rng(seed).choice(len(source.smiles), 64 * steps, replace=False)
    table = GraphTable.from_molecules(*featurised([source.smiles[row] for row in rows], blocks))
    labels = torch.from_numpy(np.asarray(source.labels[rows], np.float32))
    labels = labels - torch.nanmean(labels, dim=0).nan_to_num()
    optimiser = torch.optim.AdamW(frozen.requires_grad_(True).train().parameters(), 1e-3)
    for picked in torch.arange(len(rows)).split(64):
        wanted = labels[picked]
        error = torch.where(wanted.isnan(), 0.0, frozen(table.gather(picked)) - wanted.nan_to_num())
        optimiser.zero_grad()
        (error**2).sum().div((~wanted.isnan()).sum()).backward()
        optimiser.step()
    frozen.requires_grad_(False).eval()


def timed_rows(
    frozen: FrozenModel,
    bundle: Path,
    blocks: Sequence[FeatureBlock],
    samples: dict[int, Sample],
    block_count: int,
) -> Iterator[dict[str, Any]]:
    cores = len(os.sched_getaffinity(0))
    predictors = {threads: Predictor(bundle, threads=threads) for threads in sorted({1, cores})}
    for size in BATCH_SIZES:
        for stage in STAGES:
            found: dict[str, Timing] = {}
            for threads, predictor in predictors.items():
                torch.set_num_threads(threads)
                work = torch_work(frozen, samples[size], size, stage, blocks)
                work |= onnx_work(predictor, samples[size], size, stage)
                timed = alternate(work, blocks=block_count, repeats=1)
                setting = "1 thread" if threads == 1 else f"{threads} threads"
                found |= {f"{way}, {setting}": timing for way, timing in timed.items()}
            yield from table_rows(found, size, stage, len(samples[size].batches(size)))


def table_rows(
    found: dict[str, Timing], size: int, stage: str, batches: int
) -> Iterator[dict[str, Any]]:
    """Milliseconds a batch of every way, then each engine's best beside the other's."""
    best: dict[str, str] = {}
    for way, timing in found.items():
        engine = way.partition(" ")[0]
        if engine not in best or timing.median < found[best[engine]].median:
            best[engine] = way
    for way, timing in found.items():
        engine, _, setting = way.partition(" ")
        low, high = timing.quartiles
        yield {
            "batch": size,
            "from": stage,
            "engine": engine,
            "setting": setting,
            "n": len(timing.calls) * batches,
            "ms": 1e3 * timing.median / batches,
            "ms_low": 1e3 * low / batches,
            "ms_high": 1e3 * high / batches,
            "best": way == best[engine],
        }
    times = ratio(found[best["PyTorch"]], found[best["bundle"]])
    yield {"batch": size, "from": stage, "engine": "times faster", **times.row("times")}


def torch_work(
    frozen: FrozenModel, known: Sample, size: int, stage: str, blocks: Sequence[FeatureBlock]
) -> dict[str, Callable[[], object]]:
    """The stage by PyTorch, with each of the two kernels."""
    batches = torch_batches(known, size, stage, blocks)

    def answer(kernels: str) -> Callable[[], None]:
        @torch.inference_mode()
        def over_all() -> None:
            assert frozen.backbone is not None
            frozen.backbone.message_passing = kernels
            for make_batch in batches:
                frozen(make_batch())

        return over_all

    return {f"PyTorch {kernels} kernels": answer(kernels) for kernels in ("tensor", "dgl")}


def torch_batches(
    known: Sample, size: int, stage: str, blocks: Sequence[FeatureBlock]
) -> list[Callable[[], GraphBatch]]:
    """What makes each batch: nothing if it is ready, a gather, or everything from the SMILES."""
    whole = GraphTable.from_molecules(known.molecules, known.features)
    every = torch.arange(len(whole))

    def from_smiles(cut: slice) -> GraphBatch:
        table = GraphTable.from_molecules(*featurised(known.smiles[cut], blocks))
        return table.gather(torch.arange(len(table)))

    cuts = known.batches(size)
    if stage == "smiles":
        return [partial(from_smiles, cut) for cut in cuts]
    if stage == "molecules":
        return [partial(whole.gather, every[cut]) for cut in cuts]
    ready = [whole.gather(every[cut]) for cut in cuts]
    return [partial(lambda batch: batch, batch) for batch in ready]


def onnx_work(
    predictor: Predictor, known: Sample, size: int, stage: str
) -> dict[str, Callable[[], object]]:
    """The stage by the bundle."""
    cuts = known.batches(size)

    def given(cut: slice) -> tuple[list[Any], Any]:
        return known.molecules[cut], None if known.features is None else known.features[cut]

    ready = [predictor.arrange(*given(cut)) for cut in cuts] if stage == "arrays" else []

    def over_all() -> None:
        for batches in ready:
            predictor.run(batches, size)
        for cut in cuts if stage == "molecules" else ():
            predictor.answer(*given(cut))
        for cut in cuts if stage == "smiles" else ():
            predictor.predict(known.smiles[cut])

    return {"bundle merged": over_all}


if __name__ == "__main__":
    main()
