"""Run benchmarks as a user does, and import them and their parts."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BLOCKER = """
import importlib.metadata, runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rdkit", "dgl", "ogb", "pyarrow", "matplotlib"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
        if name in ("graphadapt.export", "graphadapt.serve") and len(path) == 1:
            raise ModuleNotFoundError(f"{name} is installed only", name=name)
sys.meta_path.insert(0, Blocked())
version = importlib.metadata.version
def version_of_others(name):
    if name == "graphadapt":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = version_of_others
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="session", autouse=True)
def scripts(repository: Path) -> Iterator[None]:
    """Scripts and their parts as modules, as they import each other.

    Not a patch: its end would take back what ONNX Runtime's tools add to the path.
    """
    place = str(repository / "benchmarks")
    sys.path.insert(0, place)
    yield
    sys.path.remove(place)


@pytest.fixture(scope="session")
def run_benchmark(repository: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``benchmarks/NAME.py`` with arguments; a failure shows what it printed."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        script = repository / "benchmarks" / f"{name}.py"
        done = subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def run_bare(repository: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``benchmarks/NAME.py`` from a bare checkout, where RDKit, DGL and ogb are missing."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        script = repository / "benchmarks" / f"{name}.py"
        done = subprocess.run(
            [sys.executable, "-c", BLOCKER, *map(str, (script, *arguments))],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run
