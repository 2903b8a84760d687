"""An ONNX Runtime session that really runs where it was asked to. No torch."""

import importlib
from collections.abc import Sequence
from typing import Any

from graphadapt.errors import DependencyError

__all__ = ["CPU", "open_session"]

CPU = "CPUExecutionProvider"


def open_session(model: bytes, providers: Sequence[str] = (CPU,), threads: int = 1) -> Any:
    """Open a model for inference.

    ONNX Runtime opens a session on the CPU where another provider cannot start, and only logs it;
    here that is an error. Threads of a session spin within a run, where they wait for microseconds,
    but never between runs, where they would slow down whatever else runs.

    Args:
        model: content of the ONNX file.
        providers: by ONNX Runtime's names, the preferred first.
        threads: that work on one operator, at least 1.

    Raises:
        DependencyError: if ONNX Runtime or a provider is missing, or the first does not start.
    """
    runtime = _runtime()
    available = runtime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing:
        raise DependencyError(
            f"ONNX Runtime {runtime.__version__} has no {', '.join(missing)}; it has "
            f"{', '.join(available)} (install graphadapt[serve-gpu] for CUDA)"
        )
    if "CUDAExecutionProvider" in providers:
        runtime.preload_dlls()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = runtime.InferenceSession(model, options, providers=list(providers))
    if session.get_providers()[0] != providers[0]:
        raise DependencyError(
            f"{providers[0]} was asked for but did not start; the session runs on "
            f"{session.get_providers()[0]} (see `graphadapt doctor`)"
        )
    return session


def _runtime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise DependencyError(
            "ONNX Runtime is not installed; install graphadapt[serve] or graphadapt[serve-gpu]"
        ) from error
