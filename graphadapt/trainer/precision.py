"""Which device and which number format a run computes in."""

from contextlib import AbstractContextManager, nullcontext

import torch

from graphadapt.errors import ConfigError

__all__ = ["autocast", "resolve_device", "resolve_precision"]


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


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """``auto`` takes bfloat16 where the processor multiplies it natively."""
    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            able = torch.cpu.get_capabilities()
            native = bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
        name = "bfloat16" if native else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in ``dtype``; nothing changes for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
