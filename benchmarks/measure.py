"""Time several ways of doing one thing fairly, and save what was found with where and how.

Scripts beside this file import it as ``from measure import ...``.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = [
    "Ratio",
    "Timing",
    "alternate",
    "alternate_turns",
    "machine",
    "markdown_table",
    "ratio",
    "save_results",
    "saved_rows",
    "timing_options",
    "versions",
]

PACKAGES = (
    "graphadapt",
    "numpy",
    "rdkit",
    "torch",
    "dgl",
    "ogb",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch_geometric",
    "triton",
)


@dataclass(frozen=True)
class Timing:
    """Seconds of every timed call, block by block."""

    blocks: tuple[tuple[float, ...], ...]

    @property
    def calls(self) -> list[float]:
        return [seconds for block in self.blocks for seconds in block]

    @property
    def median(self) -> float:
        return statistics.median(self.calls)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third; their distance is the spread."""
        return _quartiles(self.calls)

    def row(self, pieces: int = 1) -> dict[str, float]:
        """Columns for a table of results; ``pieces`` of work were done by each call."""
        low, high = self.quartiles
        return {
            "n": len(self.calls),
            "median_s": self.median,
            "iqr_s": high - low,
            "per_second": pieces / self.median,
        }


@dataclass(frozen=True)
class Ratio:
    """How many times longer one thing takes than another, with quartiles over blocks."""

    median: float
    low: float
    high: float

    def row(self, name: str) -> dict[str, float]:
        """Columns for a table of results."""
        return {name: self.median, f"{name}_low": self.low, f"{name}_high": self.high}

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def alternate(
    work: Mapping[str, Callable[[], object]],
    *,
    blocks: int = 5,
    repeats: int = 3,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time each piece of work in turn, in blocks, so that a slow spell meets all of them.

    Every block starts with another one. Each turn is ``warmup`` untimed calls, then ``repeats``
    timed ones.
    """
    return alternate_turns(
        {name: partial(_turn, each, repeats, warmup, clock) for name, each in work.items()}, blocks
    )


def alternate_turns(
    turns: Mapping[str, Callable[[], Sequence[float]]], blocks: int
) -> dict[str, Timing]:
    """As :func:`alternate`, of work that says itself how long each of its calls took."""
    names = list(turns)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    for block in range(blocks):
        first = block % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(tuple(turns[name]()))
    return {name: Timing(tuple(timed)) for name, timed in found.items()}


def ratio(slow: Timing, fast: Timing) -> Ratio:
    """Block medians of ``slow`` over those of ``fast``, each pair from the same block."""
    pairs = zip(slow.blocks, fast.blocks, strict=True)
    ratios = [statistics.median(a) / statistics.median(b) for a, b in pairs]
    return Ratio(statistics.median(ratios), *_quartiles(ratios))


def machine() -> dict[str, Any]:
    """What the numbers depend on; GPUs only where torch is loaded already."""
    torch = sys.modules.get("torch")
    gpus = range(torch.cuda.device_count()) if torch is not None else range(0)
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpus": [torch.cuda.get_device_name(index) for index in gpus],
        "system": platform.platform(),
    }


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Python's version and those of the installed packages."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save_results(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    command: str | None = None,
    seeds: Sequence[int] = (),
) -> None:
    """Write rows as JSON with command (by default, this process's), machine, versions, seeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "command": command or shlex.join(["python", *sys.argv]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "seeds": list(seeds),
        "rows": [dict(row) for row in rows],
    }
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def saved_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows that :func:`save_results` wrote; none where there is no file yet."""
    path = Path(path)
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def markdown_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None, digits: int = 4
) -> str:
    """Rows as a Markdown table; columns are by default all that occur, in order."""
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row.get(name, ""), digits) for name in names] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def timing_options(
    parser: argparse.ArgumentParser,
    *,
    blocks: int,
    output: Path | None = None,
    small: str = "a tiny network, one block",
) -> None:
    """Add what every benchmark that times in blocks can be told.

    Args:
        parser: of its command line.
        blocks: by default.
        output: of the results; None where it follows from other options.
        small: what the small mode is.
    """
    parser.add_argument("--blocks", type=int, default=blocks)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help=small)
    parser.add_argument("--output", type=Path, default=output, help="a JSON file")


def _turn(
    work: Callable[[], object], repeats: int, warmup: int, clock: Callable[[], float]
) -> list[float]:
    for _ in range(warmup):
        work()
    return [_seconds(work, clock) for _ in range(repeats)]


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _cell(value: Any, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    if sys.platform == "win32":
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
