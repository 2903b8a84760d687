"""What does a composition cost: merged, beside the bare network, and with all adapters live?

    python benchmarks/composed_speed.py
    python benchmarks/composed_speed.py --small

The model is of OGB's size with K R = 128 of adapters at ten sites and the readout, at most 4.80
million parameters in all (``composed_network``). On the same molecules, in alternating blocks of
one run, with one thread and with all, each engine at its better setting:

``bare``      the same network without adapters, as a merged file
``merged``    the composition, merged
``adapters``  the bundle's own form for switching: factors in an adapter file
``live``      all factors constant, mixing weights given at every call (``live_network``)
``PyTorch``   the composed model itself, eager, routing worked out beforehand

Then compositions are switched in the adapters form: one open bundle, one molecule, arrays ready.
Pairs of calls are timed, each pair with another composition than the one before; what switching
costs is the first call of a pair less the second.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deployment.composed_network import bare_model, composed_model, compositions, parameters
from deployment.engine_times import Way, peers_of, thread_setting, times_row, timing_rows
from deployment.live_network import live_file
from deployment.trained_network import Sample, sample, whole_inputs
from evidence.results import save_results
from evidence.tables import markdown_table
from evidence.timing import alternate, timing_options
from graphadapt.export.adapter_bundle import write_adapter_bundle
from graphadapt.export.adapter_files import run_options
from graphadapt.export.bundle import trace
from graphadapt.export.collate import Inputs
from graphadapt.export.contract import MODEL_FILE
from graphadapt.export.probes import Probes
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.restate import restate
from graphadapt.export.session import open_session
from graphadapt.freeze import FrozenModel, freeze
from graphadapt.graphs.batch import GraphTable
from graphadapt.model import ComposedModel
from graphadapt.molecules.process_map import available_cores
from graphadapt.serve.predictor import Predictor

BARE, MERGED, ADAPTERS, LIVE, EAGER = "bare", "merged", "adapters", "live", "PyTorch"
BATCHES = {1: 40, 32: 10, 256: 3}
"""How many different batches of each size."""


class File(NamedTuple):
    """An ONNX file, and what every call of it is given beside the molecules."""

    model: bytes
    options: Any = None
    gates: Mapping[str, Any] = {}


def main() -> None:
    options = parse()
    model = composed_model("gin-virtual-node", small=options.small, seed=options.seed)
    mixes = compositions(model, 3)
    frozen = {name: freeze(model, composition_T=w) for name, w in mixes.items()}
    counts = {1: 2, 32: 2, 256: 1} if options.small else BATCHES
    samples = {size: sample(size * count, (), options.seed) for size, count in counts.items()}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        write_adapter_bundle(frozen, bundle, plan=ParityPlan(repeats=2 if options.small else 10))
        files = all_files(model, frozen["all"], mixes["all"], bundle)
        rows = [{"model": "gin-virtual-node", **parameters(model)}]
        rows += speed_rows(model, mixes["all"], files, samples, options.blocks)
        rows += switch_rows(bundle, samples[1], options.pairs)
    print(markdown_table(rows))
    save_results(options.output, rows, seeds=[options.seed])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing_options(parser, blocks=15, output=Path("benchmarks/results/composed_speed.json"))
    parser.add_argument("--pairs", type=int, default=600, help="of calls, each after a switch")
    options = parser.parse_args()
    if options.small:
        options.blocks, options.pairs = 1, 6
    return options


def all_files(
    model: ComposedModel, merged: FrozenModel, composition_T: Tensor, bundle: Path
) -> dict[str, File]:
    """Every form of one composition, and the network without it."""
    probes = Probes()
    (adapter, *_) = sorted(bundle.glob("*.onnx_adapter"))
    plain = {
        name: trace(restate(each), each, probes)
        for name, each in {BARE: bare_model(model), MERGED: merged}.items()
    }
    return {
        **{name: File(content) for name, content in plain.items()},
        ADAPTERS: File((bundle / MODEL_FILE).read_bytes(), run_options(adapter)),
        LIVE: File(*live_arguments(model, merged, composition_T)),
    }


def live_arguments(
    model: ComposedModel, merged: FrozenModel, composition_T: Tensor
) -> tuple[bytes, None, Mapping[str, Any]]:
    content, gates = live_file(model, merged, composition_T)
    return content, None, gates


def speed_rows(
    model: ComposedModel,
    composition_T: Tensor,
    files: Mapping[str, File],
    samples: Mapping[int, Sample],
    blocks: int,
) -> Iterator[dict[str, Any]]:
    """Every engine at every batch size, then how many times longer than merged each takes."""
    plain = restate(bare_model(model))
    for size, known in samples.items():
        cuts = known.batches(size)
        arrays = [whole_inputs(plain, known.molecules[cut]) for cut in cuts]
        found, answers = {}, dict[str, Any]()
        for threads in sorted({1, available_cores()}):
            torch.set_num_threads(threads)
            work = {
                Way(name, thread_setting(threads)): onnx_work(file, arrays, threads)
                for name, file in files.items()
            }
            work |= eager_work(model, composition_T, known, size, thread_setting(threads))
            answers = {way.engine: answer() for way, answer in work.items()}
            found |= alternate(work, blocks=blocks, repeats=1)
        yield from timing_rows(found, len(cuts), batch=size)
        for peer in peers_of(found, MERGED):
            row = times_row(found, peer, MERGED, batch=size)
            yield {**row, "off": off(answers[peer], answers[MERGED])}


def off(answers: Any, others: Any) -> float:
    """Largest difference as a share of the largest answer."""
    return float(np.abs(answers - others).max() / np.abs(others).max())


def onnx_work(file: File, arrays: Sequence[Inputs], threads: int) -> Callable[[], Any]:
    """A call that answers every batch in turn and gives the last answer."""
    session = open_session(file.model, threads=threads)
    inputs = [{**batch, **file.gates} for batch in arrays]

    def over_all() -> Any:
        return [session.run(None, batch, file.options)[0] for batch in inputs][-1]

    return over_all


def eager_work(
    model: ComposedModel, composition_T: Tensor, known: Sample, size: int, setting: str
) -> dict[Way, Callable[[], Any]]:
    """The composed model in float32, with each of its two kernels."""
    table, every = GraphTable.from_molecules(known.molecules), torch.arange(len(known.molecules))
    batches = [table.gather(every[cut]) for cut in known.batches(size)]
    with torch.inference_mode():
        gates = model.gates()

    @torch.inference_mode()
    def over_all(kernels: str) -> Any:
        model.backbone.message_passing = kernels
        answers = []
        for batch in batches:
            embedding, _ = model.encode(batch, composition_T, gates)
            answers.append(model.answer(embedding, None, gates).logits)
        return answers[-1].numpy()

    return {
        Way(EAGER, f"{kernels} kernels, {setting}"): partial(over_all, kernels)
        for kernels in ("tensor", "dgl")
    }


def switch_rows(bundle: Path, known: Sample, pairs: int) -> Iterator[dict[str, Any]]:
    """Extra time of the first call after a switch."""
    with Predictor(bundle) as predictor:
        ready = [predictor.arrange([molecule]) for molecule in known.molecules]
        names = predictor.compositions

        def seconds(batch: Any, name: str) -> float:
            start = time.perf_counter()
            predictor.run(batch, 1, composition=name)
            return time.perf_counter() - start

        turns = list(islice(zip(cycle(ready), cycle(names), strict=False), pairs))
        for batch, name in turns[: 2 * len(names)]:
            seconds(batch, name)
        timed = [(seconds(batch, name), seconds(batch, name)) for batch, name in turns]
    extra = sorted(1e3 * (first - second) for first, second in timed)
    yield {
        "switching": f"{len(names)} compositions, one open bundle",
        "n": len(timed),
        "ms": 1e3 * statistics.median(second for _, second in timed),
        "extra_p50_ms": statistics.median(extra),
        "extra_p95_ms": extra[int(0.95 * (len(extra) - 1))],
    }


if __name__ == "__main__":
    main()
