"""Everything that ``graphadapt doctor`` finds, and what of it is a fault.

An extra that is not installed is no fault unless it was asked for. What is installed but cannot
work is one always: an import that fails, two ONNX Runtimes over each other, a Python out of range.
"""

import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from graphadapt.environment.compute import (
    Dgl,
    Kernels,
    Torch,
    auto_kernels,
    examine_dgl,
    examine_torch,
)
from graphadapt.environment.packages import (
    Package,
    extras_included,
    packages,
    python_fits,
    python_wanted,
)
from graphadapt.environment.providers import Provider, usable_providers
from graphadapt.errors import DependencyError

__all__ = ["Examination", "Finding", "examine"]

CUDA_PROVIDER, CPU_PROVIDER = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the user should know."""

    level: Literal["fault", "note"]
    """A ``fault`` keeps something installed, or asked for, from working."""

    about: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What is installed, what it can do, and what is wrong."""

    python: str
    platform: str
    packages: tuple[Package, ...]
    torch: Torch | None
    dgl: Dgl | None
    kernels: tuple[Kernels, ...]
    providers: tuple[Provider, ...]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether there is no fault."""
        return not any(finding.level == "fault" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested tables for JSON."""
        return asdict(self) | {"sound": self.sound}


def examine(extras: Sequence[str] = ()) -> Examination:
    """Look at everything that is installed.

    Args:
        extras: those that must be complete and work; others may be absent.

    Raises:
        ConfigError: if there is no extra of such a name.
    """
    wanted = extras_included(extras)
    found = packages()
    installed = {package.name for package in found if package.installed}
    findings = [*_python_findings(), *_package_findings(found, wanted)]
    torch, dgl, kernels = _compute(installed, findings)
    providers = _providers(installed, findings)
    if installed >= {"onnxruntime", "onnxruntime-gpu"}:
        findings.append(_two_runtimes())
    findings += _gpu_findings(torch, dgl, providers, installed, wanted)
    return Examination(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=found,
        torch=torch,
        dgl=dgl,
        kernels=kernels,
        providers=providers,
        findings=tuple(findings),
    )


def _python_findings() -> Iterator[Finding]:
    if not python_fits():
        yield Finding(
            "fault",
            "Python",
            f"Python {platform.python_version()} is not {python_wanted()}: DGL has no wheel for it",
        )


def _package_findings(found: Iterable[Package], wanted: frozenset[str]) -> Iterator[Finding]:
    for package in found:
        about = f"{package.name} {package.installed}".strip()
        if not package.installed and package.extra in wanted:
            extra = "" if package.extra == "base" else f"[{package.extra}]"
            text = f"missing; pip install 'graphadapt{extra}'"
            yield Finding("fault", about, text)
        elif package.installed and not package.fits:
            yield Finding("note", about, f"outside the tested range {package.wanted}")


def _compute(
    installed: set[str], findings: list[Finding]
) -> tuple[Torch | None, Dgl | None, tuple[Kernels, ...]]:
    if "torch" not in installed:
        return None, None, ()
    try:
        torch = examine_torch()
    except DependencyError as error:
        findings.append(Finding("fault", "torch", str(error)))
        return None, None, ()
    dgl = examine_dgl()
    if dgl.problem:
        level: Literal["fault", "note"] = "fault" if "dgl" in installed else "note"
        findings.append(Finding(level, "dgl", dgl.problem))
    return torch, dgl, auto_kernels(dgl, torch.gpus)


def _providers(installed: set[str], findings: list[Finding]) -> tuple[Provider, ...]:
    runtimes = installed & {"onnxruntime", "onnxruntime-gpu"}
    if not runtimes:
        return ()
    about = " and ".join(sorted(runtimes))
    try:
        providers = usable_providers()
    except DependencyError as error:
        findings.append(Finding("fault", about, str(error)))
        return ()
    if CPU_PROVIDER not in _usable(providers):
        findings.append(Finding("fault", about, "no session opens even on the CPU; install again"))
    return providers


def _two_runtimes() -> Finding:
    return Finding(
        "fault",
        "onnxruntime and onnxruntime-gpu",
        "both are installed over each other and the CPU files win; "
        "pip uninstall both, then install graphadapt[serve] or graphadapt[serve-gpu]",
    )


def _gpu_findings(
    torch: Torch | None,
    dgl: Dgl | None,
    providers: tuple[Provider, ...],
    installed: set[str],
    wanted: frozenset[str],
) -> Iterator[Finding]:
    if "onnxruntime-gpu" in installed and CUDA_PROVIDER not in _usable(providers):
        reason = next((p.problem for p in providers if p.name == CUDA_PROVIDER), "not offered")
        level: Literal["fault", "note"] = "fault" if "serve-gpu" in wanted else "note"
        text = f"no session runs on CUDA ({reason}); sessions run on the CPU"
        yield Finding(level, "onnxruntime-gpu", text)
    if torch is not None and torch.gpus and dgl is not None and dgl.version and not dgl.cuda:
        text = "this build has no CUDA: on the GPU other kernels pass the messages"
        yield Finding("note", f"dgl {dgl.version}", text)


def _usable(providers: Iterable[Provider]) -> set[str]:
    return {provider.name for provider in providers if provider.usable}
