"""One page of every benchmark's figures: what was asked, what was found, reached or missed.

    python benchmarks/results_page.py

Reads ``benchmarks/results/*.json`` and writes ``benchmarks/RESULTS.md``, which nobody edits by
hand. A benchmark without results stands there as not yet measured.
"""

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from accuracy.checks import moleculeace, ogb_base, prior_ablation
from accuracy.checks import quickstart as trained_quickstart
from accuracy.tables import quickstart_tables
from deployment.checks import (
    composed_speed,
    export_speed,
    parity_runs,
    precision_speed,
    selection_cost,
)
from deployment.serving_checks import gpu_answers, serve_speed
from deployment.tables import (
    composed_tables,
    engine_tables,
    parity_tables,
    precision_tables,
    rows_with,
)
from evidence.checks import Check, Results
from evidence.tables import markdown_table
from gpu.checks import gpu_suite
from preparation.checks import featurise_speed, prepare_speed
from preparation.tables import featurise_tables
from training_speed.checks import train_speed
from transfer.checks import pretrained_quickstart, pretraining, starts_of_quickstart

FOLDER = Path(__file__).resolve().parent

HEAD = """# Results

Made from `benchmarks/results/*.json` by `python benchmarks/results_page.py`; not edited by hand.
Figures that were missed stand beside those that were reached.
"""


class Benchmark(NamedTuple):
    """One section of the page."""

    title: str
    files: str
    """Pattern of its results; several files are several settings of one benchmark."""

    command: str
    """What measures it."""

    check: Callable[[Sequence[Results]], list[Check]]
    tables: Callable[[Results], list[str]]


def from_script(name: str) -> Callable[[Results], list[str]]:
    """The table that a benchmark's own script prints."""

    def tables(result: Results) -> list[str]:
        return [importlib.import_module(name).table(result.rows)]

    return tables


def plain_table(result: Results) -> list[str]:
    """All rows as they were saved."""
    return [markdown_table(result.rows)]


def quickstart(results: Sequence[Results]) -> list[Check]:
    """What was asked of it from the start, and since a pretrained network comes with it."""
    return [*trained_quickstart(results), *pretrained_quickstart(results)]


BENCHMARKS = (
    Benchmark(
        "Quickstart on MoleculeACE",
        "quickstart*.json",
        "python benchmarks/quickstart.py [--graph-only]",
        quickstart,
        quickstart_tables,
    ),
    Benchmark(
        "What pretraining is worth",
        "pretraining*.json",
        "python benchmarks/pretraining.py --data FOLDER",
        pretraining,
        from_script("pretraining"),
    ),
    Benchmark(
        "Quickstart's network, pretrained and random",
        "starts_of_quickstart.json",
        "python benchmarks/starts_of_quickstart.py",
        starts_of_quickstart,
        from_script("starts_of_quickstart"),
    ),
    Benchmark(
        "MoleculeACE, preset `full`",
        "moleculeace.json",
        "python benchmarks/moleculeace.py",
        moleculeace,
        from_script("moleculeace"),
    ),
    Benchmark(
        "Do the adapters and the prior earn their place?",
        "prior_ablation*.json",
        "python benchmarks/prior_ablation.py --backbone runs/moleculeace/graph-random-start-0 "
        "[--sites project --mixed-sampler]",
        prior_ablation,
        from_script("prior_ablation"),
    ),
    Benchmark(
        "The base: GIN with a virtual node on OGB's sets",
        "ogb_base*.json",
        "python benchmarks/ogb_base.py --data FOLDER",
        ogb_base,
        from_script("ogb_base"),
    ),
    Benchmark(
        "A merged bundle beside PyTorch",
        "export_speed*.json",
        "python benchmarks/export_speed.py",
        export_speed,
        engine_tables,
    ),
    Benchmark(
        "A composition beside the bare network and beside live adapters",
        "composed_speed*.json",
        "python benchmarks/composed_speed.py",
        composed_speed,
        composed_tables,
    ),
    Benchmark(
        "A bundle in eight-bit numbers",
        "precision_speed*.json",
        "python benchmarks/precision_speed.py RUN",
        precision_speed,
        precision_tables,
    ),
    Benchmark(
        "Half of the adapters",
        "selection_cost*.json",
        "python benchmarks/selection_cost.py RUN",
        selection_cost,
        plain_table,
    ),
    Benchmark(
        "Answers of every form, thousands of times",
        "parity_runs*.json",
        "python benchmarks/parity_runs.py",
        parity_runs,
        parity_tables,
    ),
    Benchmark(
        "The featuriser beside smiles2graph",
        "featurise_speed.json",
        "python benchmarks/featurise_speed.py --data FOLDER --check-all",
        featurise_speed,
        featurise_tables,
    ),
    Benchmark(
        "Preparation beside RDKit's parser",
        "prepare_speed.json",
        "python benchmarks/prepare_speed.py --data FOLDER",
        prepare_speed,
        from_script("prepare_speed"),
    ),
    Benchmark(
        "Training speed on a CPU",
        "train_speed*.json",
        "python benchmarks/train_speed.py --data FOLDER",
        train_speed,
        from_script("train_speed"),
    ),
    Benchmark(
        "Training on a GPU",
        "gpu_suite*.json",
        "python benchmarks/gpu_suite.py --prepare FILE --data FOLDER, then --arrays FILE",
        gpu_suite,
        from_script("gpu.tables"),
    ),
    Benchmark(
        "From SMILES to an answer",
        "serve_speed*.json",
        "python benchmarks/serve_speed.py",
        serve_speed,
        plain_table,
    ),
    Benchmark(
        "Answers on a GPU",
        "gpu_suite*.json",
        "python benchmarks/gpu_suite.py --prepare FILE --data FOLDER, then --arrays FILE",
        gpu_answers,
        rows_with("provider"),
    ),
)


@dataclass(frozen=True)
class Section:
    """A benchmark with the results that were found for it."""

    benchmark: Benchmark
    results: list[Results]

    @property
    def checks(self) -> list[Check]:
        return self.benchmark.check(self.results)

    def text(self) -> str:
        benchmark = self.benchmark
        parts = [f"## {benchmark.title}", "\n".join(f"- {check.sentence}" for check in self.checks)]
        if not self.results:
            parts.append(f"To measure it: `{benchmark.command}`")
        for result in self.results:
            if len(self.results) > 1:
                parts.append(f"### `{result.name}`")
            parts += [*benchmark.tables(result), provenance(result.document)]
        return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=FOLDER / "results")
    parser.add_argument("--output", type=Path, default=FOLDER / "RESULTS.md")
    options = parser.parse_args()
    if not options.results.is_dir():
        parser.error(f"--results {options.results} is no folder")
    options.output.write_text(page(options.results), encoding="utf-8")


def page(folder: Path) -> str:
    """The whole page for the results in a folder, in Markdown.

    A file that belongs to no benchmark stops it, because it would be lost silently.
    """
    files = {each: sorted(folder.glob(each.files)) for each in BENCHMARKS}
    strangers = set(folder.glob("*.json")).difference(*files.values())
    if strangers:
        names = ", ".join(sorted(path.name for path in strangers))
        raise SystemExit(f"no benchmark of the page reads {names}; add it to BENCHMARKS")
    sections = [Section(each, [Results.read(path) for path in files[each]]) for each in files]
    asked = [
        {"what": section.benchmark.title, **check.row}
        for section in sections
        for check in section.checks
    ]
    return "\n".join([HEAD, markdown_table(asked) + "\n", *(each.text() for each in sections)])


def provenance(document: Mapping[str, Any]) -> str:
    """Command, date, machine, versions and seeds, a line each; what was not saved is left out."""
    lines = []
    if document.get("command"):
        lines.append(f"`{document['command']}`")
    if document.get("date"):
        lines.append(f"date: {document['date']}")
    if document.get("machine"):
        lines.append("machine: " + machine_line(document["machine"]))
    if document.get("versions"):
        lines.append("versions: " + ", ".join(f"{k} {v}" for k, v in document["versions"].items()))
    if document.get("seeds"):
        lines.append("seeds: " + ", ".join(map(str, document["seeds"])))
    return "\n".join(f"- {line}" for line in lines) or "Machine and versions were not recorded."


def machine_line(machine: Mapping[str, Any]) -> str:
    parts = [machine.get("processor"), f"{machine.get('cores')} cores"]
    if machine.get("memory_gb"):
        parts.append(f"{machine['memory_gb']} GB")
    parts += [*(machine.get("gpus") or ["no GPU"]), machine.get("system")]
    return ", ".join(str(part) for part in parts if part)


if __name__ == "__main__":
    main()
