"""Whether Triton can be used, without importing it before it is needed.

Triton comes with the CUDA builds of torch for Linux; elsewhere it is usually missing.
"""

import importlib.util
import os
from typing import TYPE_CHECKING

import torch

from graphadapt.errors import DependencyError

if TYPE_CHECKING:
    from graphadapt.graphs.triton_kernels import TritonKernels

__all__ = ["load_triton_kernels", "triton_is_interpreted", "triton_supports"]

_OLDEST = (7, 0)
"""Compute capability that Triton's compiler begins at."""

_ELSE = "set backbone.message_passing to 'auto' or 'tensor'"


def triton_is_interpreted() -> bool:
    """Whether Triton runs its programs on the CPU, one after the other: for tests only."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "y", "yes")


def triton_supports(device: torch.device | str) -> bool:
    """Whether Triton can be imported and compiles for the device.

    Without any GPU to ask, the answer for ``cuda`` is what it would be on a current one.
    """
    device = torch.device(device)
    if device.type != "cuda" or not _imports():
        return False
    if not torch.cuda.is_available():
        return True
    return torch.cuda.get_device_capability(device.index) >= _OLDEST


def load_triton_kernels(device: torch.device | str) -> "TritonKernels":
    """The Triton kernels for a device.

    Raises:
        DependencyError: if Triton is missing, cannot be imported or does not compile for the
            device.
    """
    device = torch.device(device)
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and not triton_is_interpreted()):
        raise DependencyError(
            f"Triton compiles for a GPU, and {device.type!r} was given; {_ELSE} "
            "(TRITON_INTERPRET=1 runs its kernels on a CPU, slowly, for tests)"
        )
    if importlib.util.find_spec("triton") is None:
        raise DependencyError(
            f"Triton is not installed; install the version that your torch asks for, or {_ELSE}"
        )
    if not _imports() or (device.type == "cuda" and not triton_supports(device)):
        raise DependencyError(
            f"Triton cannot be imported, or compiles for no GPU as old as this one; {_ELSE}"
        )
    from graphadapt.graphs.triton_kernels import TritonKernels

    return TritonKernels()


def _imports() -> bool:
    try:
        import graphadapt.graphs.triton_kernels  # noqa: F401
    except (ImportError, OSError):
        return False
    return True
