"""Which device and which number format a run computes in."""

import time
from contextlib import AbstractContextManager, nullcontext

import torch

from graphadapt.errors import ConfigError

__all__ = ["autocast", "resolve_device", "resolve_precision"]

WORTH_WHILE = 1.2
"""How many times faster bfloat16 must be to make up for its roundings and casts."""


def resolve_device(name: str) -> torch.device:
    """``auto`` takes CUDA where a usable GPU is visible.

    Raises:
        ConfigError: if CUDA is asked for and cannot be had.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "trainer.device='cuda', but torch sees no usable GPU; use 'cpu' or 'auto', "
            "or run `graphadapt doctor`"
        )
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """``auto`` takes bfloat16 where it pays.

    A GPU that multiplies it natively does. Of CPUs that do, some are faster than in float32 and
    some slower, so a layer's product is timed in both (a few hundredths of a second).

    Returns:
        ``float32`` or ``bfloat16``.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        pays = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        native = any(able.get(key) for key in ("avx512_bf16", "amx_bf16", "bf16"))
        pays = native and _seconds(torch.float32) > WORTH_WHILE * _seconds(torch.bfloat16)
    return "bfloat16" if pays else "float32"


def _seconds(dtype: torch.dtype) -> float:
    """Least time of a product as large as a layer's."""
    x, weight = torch.ones(4096, 300, dtype=dtype), torch.ones(300, 600, dtype=dtype)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(x, weight)
        times.append(time.perf_counter() - start)
    return min(times)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in ``precision``; nothing changes for ``float32``."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
