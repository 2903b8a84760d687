"""How fast does a merged bundle answer beside PyTorch, and are the answers the same?

    python benchmarks/export_speed.py [--kind gin-virtual-node] [--features]
    python benchmarks/export_speed.py --small

Molecules are MoleculeACE's, which come with the package; the network is OGB's size, trained for a
few steps. PyTorch is the frozen model itself in float32, eager and through ``torch.compile``
(``torch_ways`` says how; compiling is not timed). Engines are timed in alternating blocks of one
run; threads of ONNX Runtime do not spin between runs. Three stages are timed: from arrays that each
engine takes, from featurised molecules, from SMILES; ``torch.compile`` changes only the first.
Batches are many and different, as no service sees the same one twice.

Every stage is timed with one thread and with all; ``times`` compares each engine's better setting,
PyTorch's also over its two message-passing kernels and over what is compiled.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from deployment.engine_times import Way, peers_of, thread_setting, times_row, timing_rows
from deployment.torch_ways import compiled_ways, eager_ways
from deployment.trained_network import (
    KINDS,
    Sample,
    featurised,
    network,
    sample,
    train,
    whole_inputs,
)
from evidence.results import save_results
from evidence.tables import markdown_table
from evidence.timing import alternate, timing_options
from graphadapt.export.bundle import write_bundle
from graphadapt.export.parity_record import Parity
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.restate import restate
from graphadapt.freeze import FrozenModel
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.process_map import available_cores
from graphadapt.serve.predictor import Predictor

BUNDLE = "bundle"
BATCHES = {1: 40, 32: 10, 256: 3}
"""How many different batches of each size."""

COMPILE = ("all", "network", "none")
STAGES = ("arrays", "molecules", "smiles")


@dataclass(frozen=True)
class Engines:
    """One network in every form that is timed."""

    frozen: FrozenModel
    bundle: Path
    blocks: tuple[FeatureBlock, ...]
    compiled: str
    backend: str


def main() -> None:
    options = parse()
    name = options.kind + ("-counts" if options.features else "")
    output = options.output or Path(f"benchmarks/results/export_speed_{name}.json")
    torch.manual_seed(options.seed)
    blocks = (FeatureBlock(kind="counts"),) if options.features else ()
    counts = {1: 2, 32: 2, 256: 1} if options.small else BATCHES
    samples = {size: sample(size * count, blocks, options.seed) for size, count in counts.items()}
    frozen = network(options.kind, blocks, small=options.small)
    train(frozen, blocks, steps=2 if options.small else 80, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        plan = ParityPlan(repeats=options.repeats)
        parity = write_bundle(frozen, bundle, feature_blocks=blocks, plan=plan, shown=True).parity
        backend = "eager" if options.small else "inductor"
        engines = Engines(frozen, bundle, blocks, options.compile, backend)
        rows = list(timed_rows(engines, samples, options.blocks))
    rows = [{"model": name, **row} for row in [*rows, proof_row(parity)]]
    print(markdown_table(rows[:-1]))
    print(
        f"\nlargest error {parity.largest_error:.1e} of the answers' scale against float64: "
        f"{parity.repeats} runs at each of batch {parity.batch_sizes} on {parity.threads} threads "
        f"(PyTorch itself in float32: {parity.float32_error:.1e})"
    )
    save_results(output, rows, seeds=[options.seed])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, default="gin-virtual-node")
    parser.add_argument("--features", action="store_true", help="join count fingerprints (2048)")
    timing_options(parser, blocks=9)
    parser.add_argument("--repeats", type=int, default=200, help="runs of the parity proof")
    parser.add_argument(
        "--compile", choices=COMPILE, default="all", help="what torch.compile is given"
    )
    options = parser.parse_args()
    if options.small:
        options.blocks, options.repeats, options.compile = 1, 2, "network"
    return options


def proof_row(parity: Parity) -> dict[str, Any]:
    return {
        "stage": "parity",
        "largest_error": parity.largest_error,
        "repeats": parity.repeats,
        "threads": list(parity.threads),
        "float32_error_of_pytorch": parity.float32_error,
    }


def timed_rows(
    engines: Engines, samples: dict[int, Sample], blocks: int
) -> Iterator[dict[str, Any]]:
    """Every stage at every batch size: all ways, then each peer beside the bundle."""
    cores = available_cores()
    predictors = {
        threads: Predictor(engines.bundle, threads=threads) for threads in sorted({1, cores})
    }
    for size, known in samples.items():
        for stage in STAGES:
            found, place = {}, {"batch": size, "from": stage}
            for threads, predictor in predictors.items():
                torch.set_num_threads(threads)
                work = all_work(engines, predictor, known, size, stage, thread_setting(threads))
                found |= alternate(work, blocks=blocks, repeats=1)
            yield from timing_rows(found, len(known.batches(size)), **place)
            for peer in peers_of(found, BUNDLE):
                yield times_row(found, peer, BUNDLE, **place)


def all_work(
    engines: Engines, predictor: Predictor, known: Sample, size: int, stage: str, setting: str
) -> dict[Way, Callable[[], object]]:
    """One stage by every engine, on one number of threads."""
    batches = torch_batches(known, size, stage, engines.blocks)
    work = eager_ways(engines.frozen, batches, setting)
    if stage == "arrays" and engines.compiled != "none":
        plain = restate(engines.frozen)
        arrays = [whole_inputs(plain, *given(known, cut)) for cut in known.batches(size)]
        start = time.perf_counter()
        work |= compiled_ways(
            engines.frozen,
            batches,
            plain,
            arrays,
            setting,
            backend=engines.backend,
            model_too=engines.compiled == "all",
        )
        print(f"batch {size}, {setting}: compiled in {time.perf_counter() - start:.0f} s")
    return work | onnx_work(predictor, known, size, stage, setting)


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


def given(known: Sample, cut: slice) -> tuple[list[Any], Any]:
    return known.molecules[cut], None if known.features is None else known.features[cut]


def onnx_work(
    predictor: Predictor, known: Sample, size: int, stage: str, setting: str
) -> dict[Way, Callable[[], object]]:
    """The stage by the bundle."""
    cuts = known.batches(size)
    ready = [predictor.arrange(*given(known, cut)) for cut in cuts] if stage == "arrays" else []

    def over_all() -> None:
        for batches in ready:
            predictor.run(batches, size)
        for cut in cuts if stage == "molecules" else ():
            predictor.answer(*given(known, cut))
        for cut in cuts if stage == "smiles" else ():
            predictor.predict(known.smiles[cut])

    return {Way(BUNDLE, f"merged, {setting}"): over_all}


if __name__ == "__main__":
    main()
