"""What does a bundle in eight-bit numbers gain on a CPU, and what does it lose?

    python benchmarks/precision_speed.py RUN
    python benchmarks/precision_speed.py RUN --small

RUN is a trained run whose data is at hand; its network is exported in float32 and in int8. What
int8 loses is measured against the float32 file on the run's validation cells and, once, on its test
cells. Time is measured on molecules of MoleculeACE, in alternating blocks of one run: batches from
ready arrays beside PyTorch eager in float32 and in bfloat16, each engine at its better setting; and
all molecules in one call, from ready arrays and from SMILES.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from deployment.engine_times import Way, peers_of, thread_setting, times_row, timing_rows
from deployment.torch_ways import eager_ways, half_ways
from deployment.trained_network import Sample, sample
from evidence.results import save_results
from evidence.tables import markdown_table
from evidence.timing import alternate, timing_options
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.contract import MODEL_FILE
from graphadapt.export.repeated_runs import ParityPlan, opener
from graphadapt.export.run_bundle import ExportOptions, export_run
from graphadapt.export.validation_loss import metric_losses, score_file
from graphadapt.freeze import FrozenModel
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.process_map import available_cores
from graphadapt.run import Run
from graphadapt.serve.predictor import Predictor

WHOLE, EIGHT_BIT = "bundle float32", "bundle int8"
PRECISIONS = {WHOLE: "fp32", EIGHT_BIT: "int8"}
BATCHES = {1: 40, 32: 10, 256: 3}
"""How many different batches of each size."""


def main() -> None:
    options = parse()
    run = Run.open(options.run)
    counts = {1: 2, 32: 2, 256: 1} if options.small else BATCHES
    with tempfile.TemporaryDirectory() as place:
        bundles, frozen = export_both(run, Path(place), small=options.small)
        rows = [*loss_rows(run, bundles)]
        for size, count in counts.items():
            known = sample(size * count, run.inputs.blocks, options.seed)
            rows += batch_rows(frozen, bundles, known, size, options.blocks)
        known = sample(options.molecules, run.inputs.blocks, options.seed)
        rows += bulk_rows(bundles, known, options.blocks)
    rows = [{"run": run.folder.resolve().name, **row} for row in rows]
    print(markdown_table(rows))
    save_results(options.output, rows, seeds=[options.seed])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a trained run")
    parser.add_argument("--molecules", type=int, default=2000, help="answered in bulk")
    timing_options(
        parser,
        blocks=9,
        output=Path("benchmarks/results/precision_speed.json"),
        small="few molecules, one block",
    )
    options = parser.parse_args()
    if options.small:
        options.molecules, options.blocks = 40, 1
    return options


def export_both(run: Run, place: Path, *, small: bool) -> tuple[dict[str, Path], FrozenModel]:
    """Folders of both bundles, and the network that they were made from."""
    plan = ParityPlan(repeats=2 if small else 10)
    bundles = {name: place / precision for name, precision in PRECISIONS.items()}
    frozen = None
    for name, folder in bundles.items():
        options = ExportOptions(
            precision=PRECISIONS[name], force=True, calibrate="none", applicability=False
        )
        _, frozen = export_run(run, folder, options=options, plan=plan, shown=False)
    assert frozen is not None
    return bundles, frozen


def loss_rows(run: Run, bundles: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """What every mean metric loses: points of 1, or a share of an RMSE."""
    for part in ("valid", "test"):
        means = []
        for folder in bundles.values():
            contract, contents = read_bundle_files(folder)
            ask = opener(contents[MODEL_FILE], contract.outputs)(1)
            means.append(score_file(run, contract.task_names, ask, contract.reads, part).mean)
        before, after = means
        for metric, loss in metric_losses(before, after).items():
            values = {"float32": before[metric], "int8": after[metric], "loss": loss}
            yield {"part": part, "metric": metric, **values}


def batch_rows(
    frozen: FrozenModel, bundles: Mapping[str, Path], known: Sample, size: int, blocks: int
) -> Iterator[dict[str, Any]]:
    """Every engine on batches of one size, then PyTorch beside each bundle."""
    cuts, table = known.batches(size), GraphTable.from_molecules(known.molecules, known.features)
    every, found = torch.arange(len(table)), {}
    ready = [table.gather(every[cut]) for cut in cuts]
    graphs = [partial(lambda batch: batch, batch) for batch in ready]
    for threads in sorted({1, available_cores()}):
        torch.set_num_threads(threads)
        setting = thread_setting(threads)
        work = eager_ways(frozen, graphs, setting) | half_ways(frozen, graphs, setting)
        for name, folder in bundles.items():
            work[Way(name, setting)] = onnx_work(Predictor(folder, threads=threads), known, size)
        found |= alternate(work, blocks=blocks, repeats=1)
    yield from timing_rows(found, len(cuts), batch=size)
    for own in bundles:
        for peer in peers_of(found, *bundles):
            yield times_row(found, peer, own, batch=size)


def onnx_work(predictor: Predictor, known: Sample, size: int) -> Callable[[], None]:
    """A call that answers all batches of one size, arrays ready."""
    features = known.features
    ready = [
        predictor.arrange(known.molecules[cut], None if features is None else features[cut])
        for cut in known.batches(size)
    ]

    def over_all() -> None:
        for batches in ready:
            predictor.run(batches, size)

    return over_all


def bulk_rows(bundles: Mapping[str, Path], known: Sample, blocks: int) -> Iterator[dict[str, Any]]:
    """All molecules in one call, with the predictor's own settings."""
    predictors = {name: Predictor(folder) for name, folder in bundles.items()}
    count = len(known.smiles)
    arrays = {
        Way(name, "bulk"): onnx_work(predictor, known, count)
        for name, predictor in predictors.items()
    }
    texts = {
        Way(name, "bulk"): partial(predictor.predict, known.smiles)
        for name, predictor in predictors.items()
    }
    for start, work in {"arrays": arrays, "smiles": texts}.items():
        found = alternate(work, blocks=blocks, repeats=1)
        for way, timing in found.items():
            yield {"bulk": count, "from": start, "engine": way.engine, **timing.row(count)}
        yield {"bulk": count, "from": start, **times_row(found, WHOLE, EIGHT_BIT)}


if __name__ == "__main__":
    main()
