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

import export_checks
import export_tables
import results_checks as checks
from gpu_checks import gpu_suite
from measure import markdown_table
from pretraining_checks import pretrained_quickstart, pretraining, starts_of_quickstart
from results_checks import Check, Results
from serve_checks import gpu_answers, serve_speed

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


def featurise_tables(result: Results) -> list[str]:
    timed = [row for row in result.rows if "way" in row]
    rates = {(row["set"], row["way"]): row["per_second"] for row in timed}
    speed = [
        {
            "set": row["set"],
            "molecules": row["molecules"],
            "blocks": row["n"],
            "smiles2graph, molecules/s": round(rates[row["set"], "ogb smiles2graph"]),
            "graphadapt, molecules/s": round(row["per_second"]),
            "times faster (quartiles)": checks.spread(row, "times_smiles2graph"),
        }
        for row in timed
        if row["way"] == "graphadapt"
    ]
    same = [row for row in result.rows if "different" in row]
    return [markdown_table(found) for found in (speed, same) if found]


def quickstart(results: Sequence[Results]) -> list[Check]:
    """What was asked of it from the start, and since a pretrained network comes with it."""
    return [*checks.quickstart(results), *pretrained_quickstart(results)]


def quickstart_tables(result: Results) -> list[str]:
    scores = [
        {
            "molecules are read as": checks.reading(result),
            "mean test RMSE": round(checks.means(row)["rmse"], 4),
            "cliff RMSE": round(checks.means(row)["cliff_rmse"], 4),
            "whole quickstart, s": row["seconds"],
        }
        for row in result.rows
    ]
    engines = [
        {
            "batch": each["batch"],
            "times faster than PyTorch": round(each["speedup"], 2),
            "largest error, log units": f"{each['largest_error']:.1e}",
        }
        for row in result.rows
        for each in row.get("comparison", ())
    ]
    return [markdown_table(found) for found in (scores, engines) if found]


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
        checks.moleculeace,
        from_script("moleculeace"),
    ),
    Benchmark(
        "Do the adapters and the prior earn their place?",
        "prior_ablation*.json",
        "python benchmarks/prior_ablation.py --backbone runs/moleculeace/graph-random-start-0 "
        "[--sites project --mixed-sampler]",
        checks.prior_ablation,
        from_script("prior_ablation"),
    ),
    Benchmark(
        "The base: GIN with a virtual node on OGB's sets",
        "ogb_base*.json",
        "python benchmarks/ogb_base.py --data FOLDER",
        checks.ogb_base,
        from_script("ogb_base"),
    ),
    Benchmark(
        "A merged bundle beside PyTorch",
        "export_speed*.json",
        "python benchmarks/export_speed.py",
        export_checks.export_speed,
        export_tables.engine_tables,
    ),
    Benchmark(
        "A composition beside the bare network and beside live adapters",
        "composed_speed*.json",
        "python benchmarks/composed_speed.py",
        export_checks.composed_speed,
        export_tables.composed_tables,
    ),
    Benchmark(
        "A bundle in eight-bit numbers",
        "precision_speed*.json",
        "python benchmarks/precision_speed.py RUN",
        export_checks.precision_speed,
        export_tables.precision_tables,
    ),
    Benchmark(
        "Half of the adapters",
        "selection_cost*.json",
        "python benchmarks/selection_cost.py RUN",
        export_checks.selection_cost,
        plain_table,
    ),
    Benchmark(
        "Answers of every form, thousands of times",
        "parity_runs*.json",
        "python benchmarks/parity_runs.py",
        export_checks.parity_runs,
        export_tables.parity_tables,
    ),
    Benchmark(
        "The featuriser beside smiles2graph",
        "featurise_speed.json",
        "python benchmarks/featurise_speed.py --data FOLDER --check-all",
        checks.featurise_speed,
        featurise_tables,
    ),
    Benchmark(
        "Preparation beside RDKit's parser",
        "prepare_speed.json",
        "python benchmarks/prepare_speed.py --data FOLDER",
        checks.prepare_speed,
        from_script("prepare_speed"),
    ),
    Benchmark(
        "Training speed on a CPU",
        "train_speed*.json",
        "python benchmarks/train_speed.py --data FOLDER",
        checks.train_speed,
        from_script("train_speed"),
    ),
    Benchmark(
        "Training on a GPU",
        "gpu_suite*.json",
        "python benchmarks/gpu_suite.py --arrays FILE",
        gpu_suite,
        from_script("gpu_tables"),
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
        "python benchmarks/gpu_suite.py --arrays FILE",
        gpu_answers,
        export_tables.rows_with("provider"),
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
