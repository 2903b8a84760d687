"""What ONNX Runtime's TensorRT provider has to be told, and what it cannot do.

Its options are those of ONNX Runtime 1.23 to 1.31.
"""

import hashlib
import os
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from graphadapt.data.bundled import cache_folder
from graphadapt.errors import DependencyError
from graphadapt.export.session import TENSORRT, onnx_runtime
from graphadapt.serve.shape_profile import ShapeProfile

__all__ = ["check_precision", "engine_folder", "tensorrt_options"]

_TF32: Final = "NVIDIA_TF32_OVERRIDE"
"""The environment variable by which alone TensorRT is kept from rounding float32 products."""

_PACKAGES: Final = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")


def check_precision(*, half: bool) -> None:
    """Refuse to compute a float32 model in TF32, which keeps ten bits of a product's factors.

    Args:
        half: whether the model computes in float16, and says what that costs.

    Raises:
        DependencyError: that says what to set.
    """
    if not half and os.environ.get(_TF32) != "0":
        raise DependencyError(
            f"{TENSORRT} rounds the products of a float32 model to TF32, and has no option against "
            f"it; set {_TF32}=0 before the start, or export with --precision fp16"
        )


def tensorrt_options(
    model: bytes, *, half: bool, profile: ShapeProfile | None = None
) -> dict[str, str]:
    """Options for one model: float16 only where the model is, shapes, and where engines are kept.

    Args:
        model: content of the ONNX file.
        half: whether it computes in float16.
        profile: shapes to build for; without one ONNX Runtime builds as they come.
    """
    options = {"trt_fp16_enable": str(int(half))} | ({} if profile is None else profile.options())
    folder = engine_folder(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return options  # engines are built with every start
    for kind in ("engine", "timing"):
        options |= {f"trt_{kind}_cache_enable": "1", f"trt_{kind}_cache_path": str(folder)}
    return options


def engine_folder(model: bytes) -> Path:
    """Where the engines of one model are kept, apart from other models' and other versions'.

    ONNX Runtime tells engines apart by the names of nodes, not by weights.
    """
    digest = hashlib.sha256(model).hexdigest()[:16]
    built_by = "-".join((onnx_runtime().__version__, *_versions(_PACKAGES)))
    return cache_folder() / "tensorrt" / f"{digest}-{built_by}"


def _versions(packages: Iterable[str]) -> list[str]:
    """Of those that are installed."""
    found = []
    for name in packages:
        try:
            found.append(version(name))
        except PackageNotFoundError:
            continue
    return found
