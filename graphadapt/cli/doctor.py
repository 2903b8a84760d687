"""``graphadapt doctor``: what is installed, what of it works, what is in conflict."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from graphadapt.environment.examination import Examination
    from graphadapt.environment.packages import Package
    from graphadapt.report.table import Cell

__all__ = ["doctor"]

RUNTIMES = {"onnxruntime", "onnxruntime-gpu"}


@click.command()
@click.argument("extras", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(extras: tuple[str, ...], as_json: bool) -> None:
    """Report versions, usable backends and conflicts.

    EXTRAS, such as `train` or `serve-gpu`, must be complete and work. Without any, an extra that
    is not installed is no fault. The exit code is 1 if there is a fault: something installed, or
    asked for, that cannot work.
    """
    from graphadapt.environment.examination import examine

    found = examine(extras)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=1))
    else:
        click.echo("\n".join(_lines(found)))
    if not found.sound:
        raise SystemExit(1)


def _lines(found: "Examination") -> Iterator[str]:
    from graphadapt import __version__
    from graphadapt.report.table import format_table

    yield f"graphadapt {__version__}, Python {found.python}, {found.platform}"
    yield ""
    installed = {package.name for package in found.packages if package.installed}
    rows: list[list[Cell]] = [
        [
            package.extra,
            package.name,
            package.wanted,
            package.installed or None,
            _state(package, installed),
        ]
        for package in found.packages
    ]
    yield format_table(["extra", "package", "tested", "installed", ""], rows)
    yield ""
    yield from _compute_lines(found)
    yield from _provider_lines(found)
    yield ""
    for finding in found.findings:
        yield f"{finding.level.upper()}  {finding.about}: {finding.text}"
    faults = sum(finding.level == "fault" for finding in found.findings)
    yield f"{faults} fault{'s' if faults != 1 else ''}." if faults else "No faults."


def _state(package: "Package", installed: set[str]) -> str:
    if package.installed:
        return "" if package.fits else "not tested"
    for other in RUNTIMES & installed:
        if package.name in RUNTIMES:
            return f"{other} is installed, and only one may be"
    return f"missing: pip install 'graphadapt[{package.extra}]'"


def _compute_lines(found: "Examination") -> Iterator[str]:
    if found.torch is None:
        yield "torch: none, so no training and no export"
        return
    build = f"CUDA {found.torch.cuda_build}" if found.torch.cuda_build else "CPU"
    yield f"torch: {build} build, {found.torch.threads} threads, GPUs: " + (
        ", ".join(found.torch.gpus) or "none"
    )
    for device, precision in found.torch.precision.items():
        yield f"precision 'auto' on {device}: {precision}"
    if found.dgl is not None and found.dgl.version:
        how = "with its data loader left out" if found.dgl.repaired else "as it is"
        yield f"DGL: imports {how}; CUDA: {'yes' if found.dgl.cuda else 'no'}"
    for kernels in found.kernels:
        yield f"message passing 'auto' on {kernels.device}: {kernels.name} ({kernels.why})"


def _provider_lines(found: "Examination") -> Iterator[str]:
    if not found.providers:
        yield "ONNX Runtime: none that works, so no predictions"
    for provider in found.providers:
        state = "usable" if provider.usable else f"not usable: {provider.problem}"
        yield f"ONNX Runtime {provider.name}: {state}"
