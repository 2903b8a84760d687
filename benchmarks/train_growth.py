"""How time and memory of training grow with the number of molecules, in a process for each.

    python benchmarks/train_growth.py STORE --threads N

measures one store and prints JSON; ``train_speed.py`` calls it so. A process of its own is what
makes the highest use of memory that of one size alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evidence.straight_line import straight_line
from graphadapt.data.store import GraphStore
from graphadapt.progress import track
from graphadapt.trainer.threads import use_threads
from training_speed.molecules import write_resampled
from training_speed.own_training import OwnTraining

__all__ = ["growth_rows", "peak_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--set", nargs="+", default=[], help="settings of the run, KEY=VALUE")
    options = parser.parse_args()
    use_threads(options.threads)
    settings = dict(pair.split("=", 1) for pair in options.set)
    print(json.dumps(measured(options.store, options.steps, options.warmup, settings)))


def measured(store: Path, steps: int, warmup: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Seconds to get ready, seconds a molecule, and the most memory that was held."""
    settings = {name: json.loads(text) for name, text in settings.items()}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        training = OwnTraining({"data.store": str(store), **settings}, Path(folder) / "run")
        ready = time.perf_counter() - start
        for _ in range(warmup):
            training.step()
        start = time.perf_counter()
        molecules = sum(training.step() for _ in range(steps))
        seconds = time.perf_counter() - start
    trained = len(training.run.dataset.rows("train"))
    return {
        "training_molecules": trained,
        "atoms_per_molecule": training.run.feed.table.num_atoms / len(training.run.feed.table),
        "ready_s": ready,
        "epoch_s": seconds / molecules * trained,
        "peak_mb": peak_bytes() / 1e6,
    }


def peak_bytes() -> int:
    """Most memory that this process ever held, files that it has mapped included."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says begins with the parent's
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def growth_rows(
    pool: GraphStore,
    sizes: Sequence[int],
    wanted: np.ndarray | None,
    settings: dict[str, Any],
    *,
    rounds: int,
    steps: int,
    threads: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """A row for each size, medians over rounds that begin with another size each; then the fits."""
    with tempfile.TemporaryDirectory() as folder:
        stores = [Path(folder) / str(size) for size in sizes]
        for store, size in zip(track(stores, len(stores), "stores"), sizes, strict=True):
            write_resampled(pool, store, size, wanted, seed)
        found: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        turns = [
            (index + turn) % len(sizes) for turn in range(rounds) for index in range(len(sizes))
        ]
        for index in track(turns, len(turns), "growth"):
            found[sizes[index]].append(in_child(stores[index], steps, threads, settings))
    rows = [
        {"molecules": size, "rounds": rounds, "threads": threads, "steps": steps, **medians(each)}
        for size, each in found.items()
    ]
    yield from rows
    for what in ("epoch_s", "peak_mb"):
        line = straight_line(sizes, [row[what] for row in rows])
        yield {"line": what, "largest": max(sizes), "smallest": min(sizes), **line._asdict()}


def in_child(store: Path, steps: int, threads: int, settings: dict[str, Any]) -> dict[str, float]:
    """What this script says of a store in a new process."""
    pairs = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    command = [sys.executable, __file__, store, "--steps", steps, "--threads", threads]
    command += ["--set", *pairs] if pairs else []
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def medians(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of every measured value, and the spread of the epoch's time over rounds."""
    middle = {name: float(np.median([each[name] for each in found])) for name in found[0]}
    epochs = [each["epoch_s"] for each in found]
    return {**middle, "epoch_s_low": min(epochs), "epoch_s_high": max(epochs)}


if __name__ == "__main__":
    main()
