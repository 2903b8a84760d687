"""How time and memory of preparation grow with the number of molecules, and whether it goes on.

    python benchmarks/prepare_growth.py TASK

prepares what TASK (JSON) says and prints what it took; ``prepare_speed.py`` calls it so. A process
of its own is what makes the highest use of memory that of one preparation alone.
"""

import hashlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evidence.straight_line import straight_line
from evidence.tables import markdown_table
from graphadapt.data.featurised import CHUNK
from graphadapt.data.prepare import prepare
from graphadapt.data.source import MoleculeSource
from graphadapt.data.split import TRAIN
from graphadapt.data.store import TaskInfo
from graphadapt.progress import track

TASKS = 128
"""As ogbg-molpcba has."""


def main() -> None:
    print(json.dumps(prepared(json.loads(sys.argv[1]))))


def labelled_source(texts: Sequence[str], seed: int, *, curated: bool = True) -> MoleculeSource:
    """Molecules with labels, of which two in five are missing, and a split."""
    drawn = np.random.default_rng(seed).integers(0, 5, (len(texts), TASKS), np.int8)
    labels_GT = np.array([0, 1, 0, np.nan, np.nan], np.float32)[drawn]
    return MoleculeSource(
        name="benchmark",
        smiles=list(texts),
        labels=labels_GT,
        tasks=tuple(TaskInfo(f"task-{index}", "binary") for index in range(TASKS)),
        row_numbers=np.arange(1, len(texts) + 1),
        split=np.full(labels_GT.shape, TRAIN, np.uint8),
        curated=curated,
    )


def prepared(task: Mapping[str, Any]) -> dict[str, float]:
    """Draw molecules, prepare them, and say what it took."""
    known = json.loads(Path(task["texts"]).read_text("utf-8"))
    drawn = random.Random(task["seed"]).choices(known, k=task["molecules"])
    # Each molecule has a text of its own, as it has when it is read from a file.
    source = labelled_source([text.encode().decode() for text in drawn], task["seed"])
    before, start, spent = memory("VmRSS"), time.perf_counter(), cpu_seconds()
    prepare(source, task["store"], processes=task["processes"], shown=False)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": cpu_seconds() - spent,
        "before_mb": before / 1e6,
        "peak_mb": memory("VmHWM") / 1e6,
    }


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def memory(name: str) -> int:
    """Bytes that this process holds (``VmRSS``) or ever held (``VmHWM``), mapped files included.

    Where the system does not tell, what it ever held, which may begin with the parent's.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields[name].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True)
class Growth:
    """Preparations in child processes, of molecules drawn with replacement."""

    texts: Path
    """JSON list of SMILES to draw from."""

    store: Path
    seed: int

    @classmethod
    def of(cls, texts: Iterable[str], workplace: Path, seed: int) -> "Growth":
        path = workplace / "texts.json"
        path.write_text(json.dumps(list(texts)), "utf-8")
        return cls(path, workplace / "grown", seed)

    def rows(self, sizes: Sequence[int], processes: int, repeats: int) -> Iterator[dict[str, Any]]:
        """Each size in one process, the largest also in several; then lines through the former.

        Every round goes through all of them, so that a slow spell meets different sizes.
        """
        cases = [(size, 1) for size in sizes]
        if processes > 1:
            cases.append((max(sizes), processes))
        found: dict[tuple[int, int], list[dict[str, float]]] = {case: [] for case in cases}
        for case in track(cases * repeats, len(cases) * repeats, "growth"):
            found[case].append(self.measured(*case)[0])
        medians = {case: in_the_middle(each) for case, each in found.items()}
        for (size, count), row in medians.items():
            yield {"part": "growth", "molecules": size, "processes": count, **row}
        for what in ("seconds", "peak_mb"):
            line = straight_line(sizes, [medians[size, 1][what] for size in sizes])
            yield {"part": "line", "line": what, "largest": max(sizes), **line._asdict()}

    def resumed(self, molecules: int) -> dict[str, Any]:
        """Kill a preparation when half of its files are there, and do the same again."""
        whole, whole_bytes = self.measured(molecules)
        files = max(1, molecules // CHUNK // 2)
        with subprocess.Popen(self.command(molecules), stdout=subprocess.DEVNULL) as running:
            while self.files_there() < files and running.poll() is None:
                time.sleep(0.002)
            running.kill()
        kept = self.files_there() * CHUNK
        again, again_bytes = self.measured(molecules)
        return {
            "part": "resume",
            "molecules": molecules,
            "kept": min(kept, molecules),
            "whole_s": whole["seconds"],
            "again_s": again["seconds"],
            "same_bytes": whole_bytes == again_bytes,
        }

    def measured(self, molecules: int, processes: int = 1) -> tuple[dict[str, float], str]:
        """What a new process says, and a digest of the store, which is gone afterwards."""
        command = self.command(molecules, processes)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        digest = hashlib.sha256()
        for path in sorted(self.store.iterdir()):
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        shutil.rmtree(self.store)
        return json.loads(done.stdout), digest.hexdigest()

    def command(self, molecules: int, processes: int = 1) -> list[str]:
        task = {"texts": str(self.texts), "store": str(self.store), "seed": self.seed}
        task |= {"molecules": molecules, "processes": processes}
        return [sys.executable, __file__, json.dumps(task)]

    def files_there(self) -> int:
        """Finished files of a preparation that is under way or was killed."""
        return len(list(self.store.with_name(f".{self.store.name}.unfinished").glob("*.npz")))


def in_the_middle(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Medians of every measured value, and the range of the time."""
    seconds = [each["seconds"] for each in found]
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    return {**medians, "n": len(found), "seconds_low": min(seconds), "seconds_high": max(seconds)}


def growth_tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Growth, its lines and the resumed preparation, as Markdown."""
    grown = [growth_line(row) for row in rows if row["part"] == "growth"]
    if grown:
        yield markdown_table(grown)
    yield from (line_text(row) for row in rows if row["part"] == "line")
    yield from (resume_text(row) for row in rows if row["part"] == "resume")


def growth_line(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "molecules": f"{row['molecules']:,}",
        "processes": row["processes"],
        "runs": row["n"],
        "seconds (range)": "{seconds:.3g} ({seconds_low:.3g} to {seconds_high:.3g})".format(**row),
        "CPU seconds": f"{row['cpu_seconds']:.3g}",
        "molecules/s": round(row["molecules"] / row["seconds"]),
        "MB before (texts, labels)": round(row["before_mb"]),
        "MB at most": round(row["peak_mb"]),
    }


def line_text(row: Mapping[str, Any]) -> str:
    what, unit, small = {"seconds": ("time", "s", "µs"), "peak_mb": ("memory", "MB", "bytes")}[
        row["line"]
    ]
    return (
        f"A straight line through {what} in one process: {row['start']:.3g} {unit} and "
        f"{row['slope'] * 1e6:.0f} {small} a molecule; furthest from it {row['furthest']:.1%}."
    )


def resume_text(row: Mapping[str, Any]) -> str:
    return (
        f"Killed with {row['kept']:,} of {row['molecules']:,} molecules featurised and begun "
        f"again: {row['again_s']:.3g} s where the whole takes {row['whole_s']:.3g} s, and "
        + ("the same bytes." if row["same_bytes"] else "other bytes.")
    )


if __name__ == "__main__":
    main()
