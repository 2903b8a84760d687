"""Save what was found, with where, how and by which versions; read it again."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["machine", "save_results", "saved_rows", "versions"]

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
