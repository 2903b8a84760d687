"""The first provider of a chain that really starts: what a session says of itself decides.

A chain is tried from its front. ONNX Runtime leaves out a provider that does not start and runs on
the next one without a word; here each provider is asked for by itself, and counts only if the
session names it first. Nothing is passed over in strict mode.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from graphadapt.errors import ConfigError, DependencyError
from graphadapt.export.session import (
    CPU,
    CUDA,
    TENSORRT,
    SessionSettings,
    check_known,
    load_libraries,
    onnx_runtime,
    open_session,
)
from graphadapt.serve.capture_gate import GATE
from graphadapt.serve.shape_profile import ShapeProfile
from graphadapt.serve.tensorrt import check_precision, tensorrt_options

__all__ = ["Opened", "Options", "device_options", "open_chain", "provider_chain"]

_SHORT: Final = {"cpu": (CPU,), "cuda": (CUDA,), "tensorrt": (TENSORRT,), "gpu": (CUDA, CPU)}
"""What a user may write in the place of ONNX Runtime's names; ``gpu`` is a chain."""

_RECORDS_FROM: Final = (1, 30)
"""Version of ONNX Runtime from which on what it records may be replayed. In those before,
``GatherND`` and ``Concat`` read host memory again with every replay, long after it was given to
others: pull requests 32120 and 32121 of microsoft/onnxruntime."""

Options = Mapping[str, Mapping[str, str]]
"""ONNX Runtime's own options, by provider."""


class Opened(NamedTuple):
    """A session, and how the chain came to it."""

    session: Any
    providers: tuple[str, ...]
    """What the session says that it runs on, the preferred first."""

    passed_over: tuple[str, ...]
    """Why each provider before it in the chain does not serve, and why it records no graphs where
    it was to; empty where the first does all."""

    records: bool = False
    """Whether runs can be recorded as CUDA graphs."""


class _Asked(NamedTuple):
    """What is to be opened."""

    model: bytes
    graphs: bool
    half: bool
    profile: ShapeProfile | None


def provider_chain(asked: Sequence[str] | None) -> tuple[str, ...]:
    """ONNX Runtime's names of what was asked for, in order, each once; by default the CPU.

    Example:
        >>> provider_chain(["gpu"])
        ('CUDAExecutionProvider', 'CPUExecutionProvider')
    """
    names = [name for text in asked or ("cpu",) for name in _SHORT.get(text.lower(), (text,))]
    return tuple(dict.fromkeys(names))


def device_options(
    providers: Sequence[str], *, graphs: bool, tensorrt: Mapping[str, str] | None = None
) -> Options:
    """Options of the providers on a GPU: float32 products in full, graphs where shapes are fixed.

    Args:
        providers: of one session. Only the first captures: what stands behind it runs within.
        graphs: whether runs are to be captured as CUDA graphs and replayed.
        tensorrt: of TensorRT, whose provider must capture nothing: it keeps a single graph, and
            replays it for every shape.
    """
    switch = str(int(graphs and providers[0] == CUDA))
    every = {
        CUDA: {"use_tf32": "0", "enable_cuda_graph": switch},
        TENSORRT: {**(tensorrt or {}), "trt_cuda_graph_enable": "0"},
    }
    return {name: every[name] for name in providers if name in every}


def open_chain(
    model: bytes,
    chain: Sequence[str],
    settings: Mapping[str, SessionSettings] | None = None,
    *,
    strict: bool = False,
    graphs: bool = False,
    half: bool = False,
    profile: ShapeProfile | None = None,
) -> Opened:
    """Open a model on the first provider of a chain that starts.

    Args:
        model: content of the ONNX file.
        chain: providers by ONNX Runtime's names, the preferred first.
        settings: of a session, by the provider that it is to run on; those of others are left out.
        strict: whether the first of the chain has to serve.
        graphs: whether runs on a device are captured and replayed, where ONNX Runtime can.
        half: whether the model computes in float16.
        profile: shapes that its batches have, for TensorRT.

    Raises:
        DependencyError: if ONNX Runtime is missing, or no provider starts (in strict mode, the
            first does not); the text says why of each.
        ConfigError: if ONNX Runtime does not know a name.
    """
    _check_names(chain)
    asked = _Asked(model, graphs, half, profile)
    passed_over: list[str] = []
    for place, name in enumerate(chain):
        wanted = [name, *_behind(name, chain[place + 1 :])]
        try:
            opened = _opened(asked, wanted, (settings or {}).get(name))
        except DependencyError as error:
            if strict or place == len(chain) - 1:
                others = strict and place < len(chain) - 1
                raise _refusal([*passed_over, str(error)], others=others) from error
            passed_over.append(str(error))
            continue
        return opened._replace(passed_over=(*passed_over, *opened.passed_over))
    raise ConfigError("a chain of no providers opens nothing; name at least one")


def _opened(asked: _Asked, wanted: Sequence[str], settings: SessionSettings | None) -> Opened:
    """A session that records where that is asked for and can be; else one that does not."""
    reason = ""
    if asked.graphs and wanted[0] == CUDA:
        reason = _too_old()
        try:
            if not reason:
                return _session(asked, wanted, settings, records=True)
        except DependencyError as error:
            reason = str(error)
    opened = _session(asked, wanted, settings, records=False)
    if not reason:
        return opened
    return opened._replace(passed_over=(f"no CUDA graphs are recorded: {reason}",))


def _session(
    asked: _Asked, wanted: Sequence[str], settings: SessionSettings | None, *, records: bool
) -> Opened:
    tensorrt = None
    if wanted[0] == TENSORRT:
        check_known(onnx_runtime(), wanted)
        check_precision(half=asked.half)
        tensorrt = tensorrt_options(asked.model, half=asked.half, profile=asked.profile)
    options = device_options(wanted, graphs=records, tensorrt=tensorrt)
    with GATE.shared():  # it takes memory on the device
        session = open_session(asked.model, wanted, settings=settings, provider_options=options)
    return Opened(session, tuple(session.get_providers()), (), records)


def _too_old() -> str:
    """Why this ONNX Runtime must record nothing; empty if it may."""
    version = onnx_runtime().__version__
    if tuple(map(int, re.findall(r"\d+", version)[:2])) >= _RECORDS_FROM:
        return ""
    least = ".".join(map(str, _RECORDS_FROM))
    return f"ONNX Runtime {version} would replay them wrongly; install {least} or later"


def _check_names(chain: Sequence[str]) -> None:
    """A name that no build of ONNX Runtime has is a slip, not a missing device."""
    runtime = onnx_runtime()
    load_libraries(runtime, chain)
    unknown = [name for name in chain if name not in runtime.get_all_providers()]
    check_known(runtime, unknown)


def _behind(name: str, rest: Sequence[str]) -> list[str]:
    """Who runs what a provider has no kernel for: the rest of the chain, the CPU at last.

    TensorRT's nearest is CUDA, asked for or not: on the CPU such a node would stop every run.
    """
    nearest = [CUDA] if name == TENSORRT else []
    there = [other for other in (*nearest, *rest) if _is_there(other)]
    return [other for other in dict.fromkeys([*there, CPU]) if other != name]


def _is_there(name: str) -> bool:
    return name in onnx_runtime().get_available_providers()


def _refusal(reasons: list[str], *, others: bool) -> DependencyError:
    """Why no provider serves, and whether strict mode alone kept others from being tried."""
    ending = "; leave strict mode out to fall back" if others else ""
    return DependencyError("; ".join(reasons) + ending)
