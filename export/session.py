"""An ONNX Runtime session that really runs where it was asked to. No torch."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from graphadapt.errors import ConfigError, DependencyError

__all__ = [
    "CPU",
    "CUDA",
    "TENSORRT",
    "Optimisation",
    "SessionSettings",
    "check_known",
    "load_libraries",
    "onnx_runtime",
    "open_session",
    "reason_of",
    "runtime_failures",
]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

Optimisation = Literal["all", "extended", "basic"]
"""How far ONNX Runtime rewrites the graph when it opens it."""

_LEVELS: Final = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
}

_PARTS_AT_A_TIME: Final = "4"
"""Threads that are done early take pieces from others; 3 % faster at the median, two threads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionSettings:
    """What a session is opened with; none of it changes an answer beyond rounding.

    Raises:
        ConfigError: for less than one thread, or a level that does not exist.
    """

    threads: int = 1
    """That work on one operator."""

    arena: bool = True
    """Whether memory is kept between runs; only of a session on the CPU."""

    optimisation: Optimisation = "all"

    def __post_init__(self) -> None:
        if type(self.threads) is not int or self.threads < 1:
            raise ConfigError(f"threads={self.threads} of a session cannot work; use 1 or more")
        if self.optimisation not in _LEVELS:
            levels = ", ".join(get_args(Optimisation))
            raise ConfigError(f"optimisation={self.optimisation!r} is not one of {levels}")


def open_session(
    model: bytes,
    providers: Sequence[str] = (CPU,),
    threads: int = 1,
    *,
    settings: SessionSettings | None = None,
    provider_options: Mapping[str, Mapping[str, str]] | None = None,
) -> Any:
    """Open a model for inference.

    ONNX Runtime opens a session on the CPU where another provider cannot start, and only logs it;
    here that is an error. Threads of a session spin within a run, where they wait for microseconds,
    but never between runs, where they would slow down whatever else runs.

    Args:
        model: content of the ONNX file.
        providers: by ONNX Runtime's names, the preferred first.
        threads: that work on one operator, at least 1.
        settings: everything, ``threads`` included, in the place of the default.
        provider_options: ONNX Runtime's own options by provider; those of others are left out.

    Raises:
        DependencyError: if ONNX Runtime or a provider is missing, the first does not start, or
            this version of ONNX Runtime cannot open the model.
    """
    runtime = onnx_runtime()
    load_libraries(runtime, providers)
    check_known(runtime, providers)
    options = _session_options(runtime, settings or SessionSettings(threads=threads))
    chosen = [dict((provider_options or {}).get(name, {})) for name in providers]
    session = _opened(runtime, model, options, list(providers), chosen)
    if session.get_providers()[0] != providers[0]:
        raise DependencyError(
            f"{providers[0]} was asked for but did not start; the session runs on "
            f"{session.get_providers()[0]} (see `graphadapt doctor`)"
        )
    return session


def check_known(runtime: Any, providers: Sequence[str]) -> None:
    """Refuse providers that this ONNX Runtime was built without.

    Raises:
        DependencyError: that lists what there is.
    """
    available = runtime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing:
        raise DependencyError(
            f"ONNX Runtime {runtime.__version__} has no {', '.join(missing)}; it has "
            f"{', '.join(available)} (install graphadapt[serve-gpu] for CUDA)"
        )


def load_libraries(runtime: Any, providers: Sequence[str]) -> None:
    """Load CUDA's libraries from where pip puts them, if one of the providers needs them.

    Until then ONNX Runtime may not know of a provider that its build has. What it prints is of no
    concern to a command's results.
    """
    if CUDA in providers or TENSORRT in providers:
        with redirect_stdout(sys.stderr):
            runtime.preload_dlls()


def onnx_runtime() -> Any:
    """The module.

    Raises:
        DependencyError: if it is not installed, saying what to install.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise DependencyError(
            "ONNX Runtime is not installed; install graphadapt[serve] or graphadapt[serve-gpu]"
        ) from error


def runtime_failures(*names: str) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises, by its own names; some are no errors that Python knows."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(getattr(state, name) for name in names)


def reason_of(error: Exception) -> str:
    """The first line of what ONNX Runtime says."""
    return (str(error).splitlines() or ["no reason given"])[0]


def _session_options(runtime: Any, settings: SessionSettings) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = settings.arena
    options.graph_optimization_level = getattr(
        runtime.GraphOptimizationLevel, _LEVELS[settings.optimisation]
    )
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.dynamic_block_base", _PARTS_AT_A_TIME)
    return options


def _opened(
    runtime: Any, model: bytes, options: Any, providers: list[str], chosen: list[dict[str, str]]
) -> Any:
    """The session; why there is none is the first line of what ONNX Runtime says."""
    settings = {"providers": providers, "provider_options": chosen, "enable_fallback": 0}
    try:
        return runtime.InferenceSession(model, options, **settings)
    except _not_opened() as error:
        what = f"{providers[0]} did not start"
        if providers[0] == CPU:
            what = f"ONNX Runtime {runtime.__version__} cannot open the model"
        raise DependencyError(f"{what}: {reason_of(error)}") from error


def _not_opened() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises where a device, an operator or a version is missing."""
    names = ("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf")
    own = runtime_failures(*names, "NotImplemented", "RuntimeException")
    return (RuntimeError, ValueError, *own)
