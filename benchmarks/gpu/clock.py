"""Time on a device, without the host in between, and what the device can do at most."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

__all__ = ["ceilings", "device_seconds", "is_usable", "wait"]


CYCLES = 2e9
"""Of a GPU's clock in a second, at most."""

LONGEST_SLEEP = 0.3
"""Seconds that a GPU is kept busy at most while calls are queued."""


def wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_usable(device: torch.device) -> bool:
    """Whether the device still computes: after some errors a GPU never does in the same process."""
    try:
        wait(device)
        return float(torch.ones(2, device=device).sum()) == 2
    except RuntimeError:
        return False


def device_seconds(
    work: Callable[[], object], device: torch.device, repeats: int = 20, warmup: int = 3
) -> float:
    """Median seconds of one call on the device; on a GPU between events around each call.

    A GPU is kept busy until all calls are queued, so that it never waits for the host between two
    kernels of a call: what is timed is what it computes.
    """
    for _ in range(warmup):
        work()
    wait(device)
    host = _host_seconds(work)
    wait(device)
    if device.type != "cuda":
        return statistics.median(_host_seconds(work) for _ in range(repeats))
    marks = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(repeats)
    ]
    torch.cuda._sleep(int(CYCLES * min(LONGEST_SLEEP, 2 * repeats * host)))
    for start, end in marks:
        start.record()
        work()
        end.record()
    wait(device)
    return statistics.median(start.elapsed_time(end) / 1e3 for start, end in marks)


def _host_seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


PRODUCTS = (
    ("bfloat16", torch.bfloat16, "highest"),
    ("float32", torch.float32, "highest"),
    ("tf32", torch.float32, "high"),
)


def ceilings(device: torch.device, size: int, megabytes: int) -> Iterator[dict[str, Any]]:
    """Rates of a large matrix product in every precision, and of a copy, read and written bytes.

    Args:
        device: what computes.
        size: rows and columns of the matrices, which hold random numbers.
        megabytes: what is copied.
    """
    before = torch.get_float32_matmul_precision()
    for name, dtype, precision in PRODUCTS:
        torch.set_float32_matmul_precision(precision)
        a, b = torch.randn(2, size, size, device=device).to(dtype)
        seconds = device_seconds(lambda a=a, b=b: torch.mm(a, b), device)
        yield {"ceiling": f"{name} product", "flop_per_s": 2 * size**3 / seconds}
    torch.set_float32_matmul_precision(before)
    source = torch.randn(megabytes * 250_000, device=device)
    target = torch.empty_like(source)
    seconds = device_seconds(lambda: target.copy_(source), device)
    yield {"ceiling": "copy", "bytes_per_s": 2 * source.nbytes / seconds}
