"""Exported bundles under ONNX Runtime, on CUDA where this installation has it."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import graphadapt
from gpu.arrays import Arrays
from gpu.plan import SuitePlan

__all__ = ["CPU", "CUDA", "TENSORRT", "onnx_rows", "tensorrt_rows"]

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))


def onnx_rows(arrays: Arrays, plan: SuitePlan) -> Iterator[dict[str, Any]]:
    """Rates of every bundle on CUDA, and in the small mode on the CPU; or why there are none."""
    yield from rows_of(arrays, plan, (CPU, CUDA) if plan.device.type == "cpu" else (CUDA,))


def tensorrt_rows(arrays: Arrays, plan: SuitePlan) -> Iterator[dict[str, Any]]:
    """The same on TensorRT, which builds a program for minutes first."""
    yield from rows_of(arrays, plan, (TENSORRT,))


def rows_of(arrays: Arrays, plan: SuitePlan, providers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rates of every bundle on each provider, one session at a time."""
    if not arrays.bundles:
        yield {"provider": CUDA, "skipped": "no bundle was given to --prepare"}
        return
    try:
        runtime = import_module("onnxruntime")
    except ModuleNotFoundError:
        yield {"provider": CUDA, "skipped": "ONNX Runtime is not installed"}
        return
    let_a_bare_checkout_serve()
    answers = import_module("gpu.answers")
    load_libraries = import_module("graphadapt.export.session").load_libraries
    for provider in providers:
        load_libraries(runtime, (provider,))
        known = runtime.get_available_providers()
        if provider not in known:
            text = f"this ONNX Runtime runs on {', '.join(known)}"
            yield {"provider": provider, "skipped": text}
            continue
        for bundle in arrays.bundles:
            yield from answers.answer_rows(arrays, bundle, provider, plan)


def let_a_bare_checkout_serve() -> None:
    """Find ``graphadapt.export`` and ``graphadapt.serve`` beside the package.

    Only an installation puts these two folders into it.
    """
    try:
        import_module("graphadapt.serve")
    except ModuleNotFoundError as error:
        if error.name != "graphadapt.serve":
            raise
        graphadapt.__path__.append(str(Path(graphadapt.__file__).parents[1]))
