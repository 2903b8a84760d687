"""Quickstart from nothing: how long it takes, what it reaches, how much faster the bundle answers.

    python benchmarks/quickstart.py [--graph-only]

Everything is made anew in a temporary folder, the bundled molecules' graphs included.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from evidence.results import save_results
from graphadapt.cli.settings import parse_settings
from graphadapt.quickstart import Quickstart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph-only", action="store_true", help="Leave fingerprints out.")
    parser.add_argument("--set", nargs="+", default=[], help="Settings, for a small trial.")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    name = "quickstart_graph_only" if options.graph_only else "quickstart"
    output = options.output or Path(f"benchmarks/results/{name}.json")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAPHADAPT_CACHE"] = str(Path(folder) / "cache")
        save_results(output, [figures(Path(folder), options.graph_only, options.set)], seeds=[0])


def figures(folder: Path, graph_only: bool, pairs: list[str]) -> dict[str, Any]:
    """What one quickstart reports of itself, without places on this machine."""
    settings = parse_settings(pairs)
    found = Quickstart(folder / "quickstart", graph_only=graph_only, settings=settings).run()
    return {key: value for key, value in found.items() if key != "bundles"}


if __name__ == "__main__":
    main()
