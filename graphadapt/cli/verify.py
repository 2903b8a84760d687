"""``graphadapt verify``: whether an exported bundle is intact and answers right on this machine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from graphadapt.export.verify import Verification

__all__ = ["verify"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Runs of each batch size and number of threads that are compared with the kept answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was checked as JSON.")
def verify(bundle: Path, repeats: int, as_json: bool) -> None:
    """Check BUNDLE: files, model, tasks and answers.

    Every file's sha256, the whole ONNX model, its operators and weights are held against the
    contract; probe molecules are answered over and over, and compared with answers that were kept
    from the trained network itself. Needs onnx, but not torch.
    """
    from graphadapt.export.repeated_runs import ParityPlan
    from graphadapt.export.verify import verify_bundle

    found = verify_bundle(bundle, ParityPlan(repeats=repeats), shown=True)
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else _summary(found))


def _summary(found: "Verification") -> str:
    rows = [f"{name}: {what}" for name, what in found.checks.items()]
    return "\n".join([f"{found.folder} is sound", *rows])
