"""An exported network under ONNX Runtime, on CUDA where this installation has it."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from gpu_arrays import Arrays
from measure import alternate

__all__ = ["onnx_rows"]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def onnx_rows(arrays: Arrays, blocks: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Rates of every provider at every batch size, or why there are none."""
    if not arrays.onnx:
        yield {"provider": CUDA, "skipped": "no bundle was given to --prepare"}
        return
    try:
        runtime = import_module("onnxruntime")
    except ModuleNotFoundError:
        yield {"provider": CUDA, "skipped": "ONNX Runtime is not installed"}
        return
    sessions = {CPU: runtime.InferenceSession(arrays.onnx, providers=[CPU])}
    if CUDA in runtime.get_available_providers():
        session = runtime.InferenceSession(arrays.onnx, providers=[CUDA, CPU])
        if CUDA in session.get_providers():
            sessions[CUDA] = session
    if CUDA not in sessions:
        known = ", ".join(runtime.get_available_providers())
        yield {"provider": CUDA, "skipped": f"this ONNX Runtime runs on {known}"}
    for size, feeds in arrays.feeds:
        work = {
            name: lambda session=session, feeds=feeds: session.run(None, feeds)
            for name, session in sessions.items()
        }
        for name, timing in alternate(work, blocks=blocks, repeats=repeats).items():
            yield {"provider": name, "batch": size, **timing.row(pieces=size)}
