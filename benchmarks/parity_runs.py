"""Is any answer of any form ever wrong, over batch sizes and numbers of threads?

    python benchmarks/parity_runs.py
    python benchmarks/parity_runs.py --small

A race between threads shows only now and then, so thousands of calls are made: networks of four
kinds, small ones and one of OGB's size, each with adapters inside; every form in every precision it
is made in; several batch sizes and numbers of threads. The molecules are the probes, from one atom
to two hundred, but in large batches of the padded form, which pads all to the largest, those of up
to 64 atoms. A call is wrong if any of its answers is further from the frozen model in float64 than
the bundle itself allows when it is verified: in float32 1e-5 of the answers' scale, or twice what
PyTorch loses; in lower precision twice what the file was off when it was written.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deployment.composed_network import composed_model, compositions
from deployment.trained_network import sample
from evidence.results import save_results
from evidence.tables import markdown_table
from graphadapt.errors import BundleError
from graphadapt.export.adapter_bundle import write_adapter_bundle
from graphadapt.export.adapter_files import adapter_paths
from graphadapt.export.bundle import Lower, write_bundle
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.collate import inputs_for
from graphadapt.export.contract import BundleContract
from graphadapt.export.contract_parts import Precision, PrecisionName
from graphadapt.export.probes import Probes
from graphadapt.export.repeated_runs import (
    BATCH_SIZES,
    ORDINARY_ATOMS,
    ParityPlan,
    probe_batches,
    share_off,
    thread_counts,
)
from graphadapt.export.rounding import BOUNDS, round_model
from graphadapt.export.verify import ProbeCase, allowed_error, probe_cases
from graphadapt.freeze import FrozenModel, freeze, reestimate_norms
from graphadapt.graphs.batch import GraphTable
from graphadapt.progress import Progress

SMALL_KINDS = ("gin", "gin-virtual-node", "gcn-virtual-node", "neural-fingerprint")
FORMS: tuple[tuple[str, PrecisionName], ...] = (
    ("merged", "fp32"),
    ("merged", "fp16"),
    ("merged", "int8"),
    ("padded", "fp32"),
    ("padded", "fp16"),
    ("adapters", "fp32"),
)
SMALL_FORMS = (FORMS[0], FORMS[2], FORMS[4], FORMS[5])
"""Every form and every precision once."""

LARGE = 32
"""Molecules; the padded form pads only ordinary ones together in more than so many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40, help="calls of each size and threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="one tiny network, few calls")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/parity_runs.json"))
    options = parser.parse_args()
    kinds = [(kind, True) for kind in SMALL_KINDS] + [("gin-virtual-node", False)]
    forms = SMALL_FORMS if options.small else FORMS
    if options.small:
        options.repeats, kinds = 1, [("gin-virtual-node", True)]
    rows = []
    with Progress(len(kinds) * len(forms), "parity", shown=not options.small) as progress:
        for kind, small in kinds:
            models = frozen_models(kind, options.seed, small=small)
            for form, precision in forms:
                size = {"network": kind, "size": "small" if small else "OGB's"}
                found = form_row(models, form, precision, options.repeats)
                rows.append({**size, "form": form, "precision": precision, **found})
                progress.update(status=f"{kind}, {form}, {precision}")
    calls, wrong = (sum(row[name] for row in rows) for name in ("calls", "wrong"))
    print(markdown_table(rows))
    print(f"\n{wrong} of {calls:,} calls are wrong")
    save_results(options.output, rows, seeds=[options.seed])


def frozen_models(kind: str, seed: int, *, small: bool) -> dict[str, FrozenModel]:
    """Two compositions of one model, with norms settled for each."""
    model = composed_model(kind, small=small, seed=seed)
    table = GraphTable.from_molecules(sample(64, (), seed).molecules)
    batches = [table.gather(rows) for rows in torch.arange(len(table)).split(32)]
    models = {}
    for name, w in compositions(model, 2).items():
        models[name] = freeze(model, composition_T=w)
        reestimate_norms(models[name], batches)
    return models


def form_row(
    models: Mapping[str, FrozenModel], form: str, precision: PrecisionName, repeats: int
) -> dict[str, Any]:
    """How many calls were wrong; of a form that the package refuses to write, why."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "bundle"
        try:
            write(models, folder, form, precision)
        except BundleError as error:
            return {"calls": 0, "wrong": 0, "refused": str(error)}
        contract, contents = read_bundle_files(folder)
        with adapter_paths(contract.compositions, contents) as paths:
            errors = [
                error
                for case in probe_cases(folder, contract, contents, paths)
                for error in case_errors(contract, case, repeats)
            ]
    allowed, _ = allowed_error(contract)
    return {
        "calls": len(errors),
        "wrong": sum(not error <= allowed for error in errors),
        "allowed": allowed,
        "largest_share": max(errors) / allowed,
    }


def write(
    models: Mapping[str, FrozenModel], folder: Path, form: str, precision: PrecisionName
) -> None:
    plan = ParityPlan(repeats=10, batch_sizes=(16, 32, 64), threads=(1,))
    if form == "adapters":
        write_adapter_bundle(models, folder, plan=plan)
        return
    lower = None if precision == "fp32" else lower_to(precision)
    write_bundle(models["all"], folder, form=form, lower=lower, plan=plan)


def lower_to(precision: PrecisionName) -> Lower:
    """Scales of eight-bit numbers are set by the probes; what it costs is measured elsewhere."""

    def lower(
        model: bytes, reads: tuple[str, ...], outputs: tuple[str, ...]
    ) -> tuple[bytes, Precision]:
        probes = Probes()
        batches = (
            inputs_for(reads, *probes.take(rows))
            for rows in np.array_split(np.arange(len(probes.molecules)), 4)
        )
        return round_model(model, precision, batches), Precision(
            name=precision, bound=BOUNDS[precision]
        )

    return lower


def case_errors(contract: BundleContract, case: ProbeCase, repeats: int) -> Iterator[float]:
    """The largest error of every call, as a share of the answers' scale."""
    batches = {
        size: list(
            probe_batches(
                size, repeats, contract.reads, case.probes, eligible(contract, case, size)
            )
        )
        for size in BATCH_SIZES
    }
    for threads in thread_counts():
        ask = case.open_file(threads)
        for drawn in batches.values():
            for rows, inputs in islice(cycle(drawn), repeats):
                yield share_off(ask(inputs), case.truth.answers[rows], case.truth.scale[rows])


def eligible(contract: BundleContract, case: ProbeCase, size: int) -> np.ndarray:
    """Which probes may meet in a batch of so many molecules."""
    atoms = np.array([len(each.atoms) for each in case.probes.molecules])
    large = contract.form == "padded" and size > LARGE
    return np.flatnonzero(atoms <= (ORDINARY_ATOMS if large else atoms.max()))


if __name__ == "__main__":
    main()
