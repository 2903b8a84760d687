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
    for provider in (CPU, CUDA):
        yield from provider_rows(runtime, arrays, provider, blocks, repeats)


def provider_rows(
    runtime: Any, arrays: Arrays, provider: str, blocks: int, repeats: int
) -> Iterator[dict[str, Any]]:
    """Rates of one provider, whose session is the only live one: sessions spin while they wait."""
    if provider not in runtime.get_available_providers():
        known = ", ".join(runtime.get_available_providers())
        yield {"provider": provider, "skipped": f"this ONNX Runtime runs on {known}"}
        return
    session = runtime.InferenceSession(arrays.onnx, providers=list(dict.fromkeys((provider, CPU))))
    if provider not in session.get_providers():
        yield {"provider": provider, "skipped": "its session fell back on the CPU"}
        return
    for size, feeds in arrays.feeds:
        timed = alternate(
            {provider: lambda feeds=feeds: session.run(None, feeds)}, blocks=blocks, repeats=repeats
        )
        yield {"provider": provider, "batch": size, **timed[provider].row(pieces=size)}
