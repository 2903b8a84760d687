"""Which ONNX Runtime providers really answer: opened one by one on a model of one node.

A provider that is compiled in may still miss its libraries or its device; ONNX Runtime then opens
a CPU session and only logs it. So every provider gets a session, an answer is computed, and the
session is asked what it runs on. That happens in a process of its own, because a provider may
print, load libraries or crash.
"""

import base64
import contextlib
import io
import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from graphadapt.errors import DependencyError

__all__ = ["IDENTITY_MODEL", "Provider", "usable_providers"]

IDENTITY_MODEL = base64.b64decode(
    "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBaVoPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBI="
)
"""An ONNX model, opset 18, that answers its input of one float."""

PROBE_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Provider:
    """One way for ONNX Runtime to compute."""

    name: str
    """As ONNX Runtime calls it, such as ``CUDAExecutionProvider``."""

    usable: bool
    """Whether a session runs on it and answers."""

    problem: str = ""
    """Why not."""


def usable_providers() -> tuple[Provider, ...]:
    """Every provider of the installed ONNX Runtime, and whether it answers.

    Raises:
        DependencyError: if ONNX Runtime is missing, or cannot be imported.
    """
    try:
        probe = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import _probe; _probe()"],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DependencyError(
            f"ONNX Runtime did not open a model of one node within {PROBE_SECONDS} s; "
            "look at the GPU driver, or install graphadapt[serve] for the CPU alone"
        ) from None
    lines = probe.stdout.splitlines()
    if probe.returncode != 0 or not lines:
        last = (probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"])[-1]
        raise DependencyError(f"ONNX Runtime cannot be used: {last}")
    return tuple(Provider(**found) for found in json.loads(lines[-1]))


def _probe() -> None:
    """Print the providers as one line of JSON, the last on standard output."""
    with contextlib.redirect_stdout(io.StringIO()):  # ONNX Runtime prints some of its errors
        import onnxruntime

        # CUDA libraries may have come as Python packages, and its provider be known only with them
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        found = [asdict(_try(name)) for name in onnxruntime.get_available_providers()]
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def _try(name: str) -> Provider:
    import numpy as np
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the result says it
    try:
        session = onnxruntime.InferenceSession(
            IDENTITY_MODEL, options, providers=[name], enable_fallback=0
        )
        session.run(None, {"x": np.ones(1, np.float32)})
    except (RuntimeError, ValueError, state.EPFail, state.Fail, state.RuntimeException) as error:
        return Provider(name, False, (str(error).splitlines() or ["no reason given"])[0])
    if name not in session.get_providers():
        taken = ", ".join(session.get_providers())
        return Provider(name, False, f"its libraries or device are missing; it ran on {taken}")
    return Provider(name, True)
