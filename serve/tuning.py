"""How a bundle answers fastest on one machine, kept in ``tuning.json`` beside it.

The file is no part of the bundle: it is bound to the model by its sha256, and to the machine and
the ONNX Runtime that it was measured with. Where any of them differs it is left aside, and what is
said why. So it can be copied along, or be damaged, without harm.
"""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from graphadapt.errors import ConfigError
from graphadapt.export.contract import TUNING_FILE, BundleContract, fingerprint
from graphadapt.export.session import CPU, SessionSettings
from graphadapt.molecules.process_map import available_cores
from graphadapt.serve.bundle_reader import Bundle
from graphadapt.typed_tables import build_table

__all__ = [
    "ATOMS_PER_RUN",
    "Tuning",
    "TuningFound",
    "Tunings",
    "check_keepable",
    "chosen_tunings",
    "default_tuning",
    "machine",
    "read_tuning",
    "write_tuning",
]

ATOMS_PER_RUN: Final = 1024
"""Atoms in one run on a CPU; more gain little, and fewer can be shared out."""

ATOMS_PER_LARGE_RUN: Final = 16_384
"""Atoms in one run where a run costs the same whether it is full or not, or reads no graph."""

_KIND: Final = "graphadapt tuning"
_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """What answers fastest; none of it changes an answer beyond rounding.

    Raises:
        ConfigError: if there is no worker, or no atom in a run.
    """

    one: SessionSettings
    """Of the session that answers while nothing else is asked."""

    many: SessionSettings
    """Of the session that answers batches side by side."""

    workers: int
    """Batches that are answered side by side."""

    atoms_per_run: int

    def __post_init__(self) -> None:
        if min(self.workers, self.atoms_per_run) < 1:
            raise ConfigError(
                f"threads={self.workers} and atoms_per_run={self.atoms_per_run} must be at least 1"
            )

    def insisting(self, threads: int | None, atoms_per_run: int | None) -> Self:
        """The tuning with what a caller insists on; threads that are given work on a batch each.

        Args:
            threads: in the place of the workers; None leaves all threads as they are.
            atoms_per_run: in its place; None leaves it.
        """
        tuning = self
        if threads is not None:
            tuning = replace(tuning, workers=threads, many=replace(tuning.many, threads=1))
            one = replace(tuning.one, threads=min(tuning.one.threads, threads))
            tuning = replace(tuning, one=one)
        if atoms_per_run is not None:
            tuning = replace(tuning, atoms_per_run=atoms_per_run)
        return tuning


class Tunings(NamedTuple):
    """What to run with, by where a session turns out to run."""

    cpu: Tuning
    device: Tuning

    def of(self, provider: str) -> Tuning:
        """By the name of the session's first provider."""
        return self.cpu if provider == CPU else self.device


class TuningFound(NamedTuple):
    """What lies beside a bundle."""

    tuning: Tuning | None
    """None where there is none, or none that holds here."""

    aside: str
    """Why a file that is there was left aside; empty otherwise."""


def default_tuning(contract: BundleContract, *, on_cpu: bool = True) -> Tuning:
    """What to do without a measurement: one thread a batch, and on a CPU a batch a core.

    On a device, a second batch waits ready while one is run.
    """
    plain = SessionSettings()
    small = on_cpu and contract.reads != ("features",)
    return Tuning(
        one=plain,
        many=plain,
        workers=available_cores() if on_cpu else 2,
        atoms_per_run=ATOMS_PER_RUN if small else ATOMS_PER_LARGE_RUN,
    )


def chosen_tunings(bundle: Bundle, tuning: Tuning | None = None) -> tuple[Tunings, tuple[str, ...]]:
    """What is given, else measured, else the default; and why what was measured is left aside."""
    if tuning is not None:
        return Tunings(tuning, tuning), ()
    found = read_tuning(bundle)
    cpu = found.tuning or default_tuning(bundle.contract)
    device = default_tuning(bundle.contract, on_cpu=False)
    return Tunings(cpu, device), (found.aside,) if found.aside else ()


def machine() -> dict[str, Any]:
    """What a measurement holds for: processor, cores that may be used, and ONNX Runtime."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "onnxruntime": _runtime_version(),
    }


def read_tuning(bundle: Bundle) -> TuningFound:
    """The settings that were measured for this model on this machine, if there are any."""
    try:
        text = (bundle.folder / TUNING_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return TuningFound(None, "")
    except (OSError, UnicodeDecodeError) as error:
        return _aside(f"cannot be read: {error}")
    try:
        table = json.loads(text)
        reason = _foreign(table, bundle)
        if reason:
            return _aside(reason)
        return TuningFound(build_table(Tuning, table["tuning"]), "")
    except (ValueError, RecursionError) as error:  # a setting that cannot work is a ValueError too
        return _aside(f"is damaged: {error}")


def check_keepable(bundle: Bundle) -> None:
    """Refuse, before minutes of measuring, a bundle beside which nothing can be kept.

    Raises:
        ConfigError: if its folder cannot be written.
    """
    if not os.access(bundle.folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{bundle.folder} is read-only for this user, so {TUNING_FILE} cannot be kept there; "
            "tune a copy of the bundle"
        )


def write_tuning(bundle: Bundle, tuning: Tuning, tried: Sequence[Mapping[str, Any]]) -> Path:
    """Write what was measured beside the bundle, whole or not at all.

    Args:
        bundle: what was measured.
        tuning: the fastest settings.
        tried: a row for everything that was tried, for the record.

    Raises:
        ConfigError: if the folder cannot be written.
    """
    table = {
        "kind": _KIND,
        "format": _FORMAT,
        "model": bundle.sha256,
        "machine": machine(),
        "tuning": asdict(tuning),
        "tried": [dict(row) for row in tried],
    }
    path = bundle.folder / TUNING_FILE
    beside = path.with_name(f".{TUNING_FILE}.{os.getpid()}")
    try:
        text = json.dumps({**table, "sha256": fingerprint(table)}, indent=1)
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    return path


def _foreign(table: Any, bundle: Bundle) -> str:
    """Why a table does not hold for this bundle here; empty if it does."""
    if not isinstance(table, dict) or table.get("kind") != _KIND:
        return "was not written by graphadapt"
    if table.get("format") != _FORMAT:
        return f"is of format {table.get('format')!r}, this graphadapt reads {_FORMAT}"
    content = {name: value for name, value in table.items() if name != "sha256"}
    if table.get("sha256") != fingerprint(content):
        return "was changed after it was written"
    if not all(isinstance(table.get(name), dict) for name in ("machine", "tuning")):
        return "says nothing of a machine, or of settings"
    if table.get("model") != bundle.sha256:
        return "was measured with another model"
    here = machine()
    others = [name for name, value in here.items() if table["machine"].get(name) != value]
    return f"was measured with another {' and '.join(others)}" if others else ""


def _aside(reason: str) -> TuningFound:
    return TuningFound(None, f"{TUNING_FILE} {reason}; it is left aside (`graphadapt tune` renews)")


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _runtime_version() -> str:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""
