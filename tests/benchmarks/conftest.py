"""Run benchmarks as a user does, and import what they share."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def measure(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure", repository / "benchmarks/measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


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
