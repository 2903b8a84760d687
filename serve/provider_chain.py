"""The first provider of a chain that really starts: what a session says of itself decides.

A chain is tried from its front. ONNX Runtime leaves out a provider that does not start and runs on
the next one without a word; here each provider is asked for by itself, and counts only if the
session names it first. Nothing is passed over in strict mode.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from graphadapt.errors import ConfigError, DependencyError
from graphadapt.export.session import (
    CPU,
    CUDA,
    TENSORRT,
    SessionSettings,
    check_known,
    onnx_runtime,
    open_session,
)

__all__ = ["Opened", "Options", "device_options", "open_chain", "provider_chain"]

_SHORT: Final = {"cpu": (CPU,), "cuda": (CUDA,), "tensorrt": (TENSORRT,), "gpu": (CUDA, CPU)}
"""What a user may write in the place of ONNX Runtime's names; ``gpu`` is a chain."""

Options = Mapping[str, Mapping[str, str]]
"""ONNX Runtime's own options, by provider."""


class Opened(NamedTuple):
    """A session, and how the chain came to it."""

    session: Any
    providers: tuple[str, ...]
    """What the session says that it runs on, the preferred first."""

    passed_over: tuple[str, ...]
    """Why each provider before it in the chain does not serve; empty where the first does."""


def provider_chain(asked: Sequence[str] | None) -> tuple[str, ...]:
    """ONNX Runtime's names of what was asked for, in order, each once; by default the CPU.

    Example:
        >>> provider_chain(["gpu"])
        ('CUDAExecutionProvider', 'CPUExecutionProvider')
    """
    names = [name for text in asked or ("cpu",) for name in _SHORT.get(text.lower(), (text,))]
    return tuple(dict.fromkeys(names))


def device_options(providers: Sequence[str], *, graphs: bool) -> Options:
    """Options of the providers on a GPU: float32 products in full, graphs where shapes are fixed.

    Args:
        providers: of one session. Only the first captures: what stands behind it runs within.
        graphs: whether runs are to be captured as CUDA graphs and replayed.
    """
    switches = {name: str(int(graphs and name == providers[0])) for name in providers}
    every = {
        CUDA: lambda switch: {"use_tf32": "0", "enable_cuda_graph": switch},
        TENSORRT: lambda switch: {"trt_cuda_graph_enable": switch},
    }
    return {name: every[name](switch) for name, switch in switches.items() if name in every}


def open_chain(
    model: bytes,
    chain: Sequence[str],
    settings: Mapping[str, SessionSettings] | None = None,
    *,
    strict: bool = False,
    graphs: bool = False,
) -> Opened:
    """Open a model on the first provider of a chain that starts.

    Args:
        model: content of the ONNX file.
        chain: providers by ONNX Runtime's names, the preferred first.
        settings: of a session, by the provider that it is to run on; those of others are left out.
        strict: whether the first of the chain has to serve.
        graphs: whether runs on a device are captured and replayed.

    Raises:
        DependencyError: if ONNX Runtime is missing, or no provider starts (in strict mode, the
            first does not); the text says why of each.
        ConfigError: if ONNX Runtime does not know a name.
    """
    _check_names(chain)
    passed_over: list[str] = []
    for place, name in enumerate(chain):
        wanted = [name, *_behind(name, chain[place + 1 :])]
        its_own = (settings or {}).get(name)
        try:
            options = device_options(wanted, graphs=graphs)
            session = open_session(model, wanted, settings=its_own, provider_options=options)
        except DependencyError as error:
            if strict or place == len(chain) - 1:
                others = strict and place < len(chain) - 1
                raise _refusal([*passed_over, str(error)], others=others) from error
            passed_over.append(str(error))
            continue
        return Opened(session, tuple(session.get_providers()), tuple(passed_over))
    raise ConfigError("a chain of no providers opens nothing; name at least one")


def _check_names(chain: Sequence[str]) -> None:
    """A name that no build of ONNX Runtime has is a slip, not a missing device."""
    runtime = onnx_runtime()
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
