"""Everything that needs a GPU, in one command of less than eight minutes.

On a machine with RDKit and the data, once:

    python benchmarks/gpu_suite.py --prepare gpu_arrays.npz --data FOLDER --bundle BUNDLE ...

On the machine with the GPU, which needs torch, Triton, torch_geometric, safetensors and click, and
no RDKit, DGL, ogb or network; graphadapt need not be installed there:

    PYTHONPATH=. python benchmarks/gpu_suite.py --arrays gpu_arrays.npz

FOLDER holds ``ogb/ogbg_mol{tox21,muv}`` and ``ogb/ogbg_molpcba_sizes``: real molecules of the
former, drawn so that their sizes are the latter's. ``kernels`` holds every kernel against float64;
``replay`` holds captured steps against the same steps one kernel at a time; ``epoch`` trains whole
epochs as ``graphadapt train`` does; ``steps`` times steps of ours and of PyTorch Geometric in
turns; ``work`` counts what a step computes and moves; ``peer-epoch`` trains one epoch as OGB's
example is written; ``ceilings`` says what the card can do; ``onnx`` answers with the bundles that
``--prepare`` was given (padded ones in fp32 and in fp16, and a merged one to stand beside them),
and needs an ONNX Runtime for the card. Two parts run only if they are named, as they compile for
minutes: ``compiled`` times captured steps beside steps by ``torch.compile``, and ``tensorrt``
answers on TensorRT; ``--goes-on`` adds them to the results that are there. A part that fails is
noted and the others still run, in another process where it has made the GPU unusable for this one;
the results are saved after each, as JSON and as a table beside it. ``--small`` is a minute's worth
for a CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from evidence.results import save_results
from gpu.arrays import Arrays, write_arrays, write_store
from gpu.clock import ceilings, is_usable
from gpu.compiled import compiled_rows
from gpu.kernels import gather_rows, kernel_rows
from gpu.limits import at_most
from gpu.plan import SuitePlan
from gpu.providers import onnx_rows, tensorrt_rows
from gpu.steps import peer_epoch_rows, step_rows
from gpu.tables import table
from gpu.training import own_epoch_rows, replay_rows, work_rows
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BucketLadder
from graphadapt.graphs.message_passing import MessageKernels, message_kernels
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.graphs.triton_bridge import triton_supports

MOLECULES, POOL = 437_929, 30_000
RESULTS: Final = Path("benchmarks/results/gpu_suite.json")


@dataclass
class Suite:
    """What the parts share, made when it is first asked for."""

    plan: SuitePlan
    arrays: Arrays
    folder: Path

    @cached_property
    def store(self) -> Path:
        path = self.folder / "store"
        write_store(self.arrays, path, self.plan.tasks, self.plan.seed)
        return path

    @cached_property
    def sample(self) -> Path:
        """A small part of it, with the same labels."""
        path = self.folder / "sample"
        write_store(self.arrays, path, self.plan.tasks, self.plan.seed, self.plan.sample)
        return path

    @property
    def kernels(self) -> Mapping[str, MessageKernels]:
        """Kernels of the device; on a CPU those of a GPU without Triton."""
        found: dict[str, MessageKernels] = {"tensor": TensorKernels(waits=False)}
        if triton_supports(self.plan.device):
            found["triton"] = message_kernels("triton", self.plan.device)
        return found

    def kernel_part(self) -> Iterator[dict[str, Any]]:
        random = np.random.default_rng(self.plan.seed)
        rows = torch.from_numpy(random.choice(self.arrays.rows, self.plan.batch))
        host = GraphTable(self.arrays.columns, ordered=True)
        table = GraphTable(self.arrays.columns, device=self.plan.device, ordered=True)
        ladder = BucketLadder.fit(*host.sizes, self.plan.batch)
        yield from gather_rows(table, host, ladder, rows)
        bucket = ladder.bucket(host.size(rows))
        batch = table.gather(rows.to(self.plan.device), bucket=bucket)
        yield from kernel_rows(self.kernels, batch, self.plan.width, self.plan.seed)


PARTS: Mapping[str, tuple[int, Callable[[Suite], Iterator[dict[str, Any]]]]] = {
    "ceilings": (
        15,
        lambda suite: ceilings(suite.plan.device, suite.plan.product, suite.plan.copied_mb),
    ),
    "kernels": (60, Suite.kernel_part),
    "replay": (40, lambda suite: replay_rows(suite.plan, suite.sample, suite.folder)),
    "work": (20, lambda suite: work_rows(suite.plan, suite.sample, suite.folder)),
    "epoch": (
        100,
        lambda suite: own_epoch_rows(suite.plan, suite.store, suite.folder, suite.arrays.sizes),
    ),
    "steps": (
        145,
        lambda suite: step_rows(suite.plan, suite.arrays, suite.sample, suite.folder),
    ),
    "peer-epoch": (75, lambda suite: peer_epoch_rows(suite.plan, suite.arrays)),
    "onnx": (24, lambda suite: onnx_rows(suite.arrays, suite.plan)),
    "compiled": (540, lambda suite: compiled_rows(suite.plan, suite.sample, suite.folder)),
    "tensorrt": (420, lambda suite: tensorrt_rows(suite.arrays, suite.plan)),
}
"""Most seconds that a part may take, and what it does."""

USUAL: Final = tuple(name for name in PARTS if name not in ("compiled", "tensorrt"))
"""Together less than eight minutes; the others compile for minutes, and run if they are named."""


def main() -> None:
    options = parsed()
    if options.prepare:
        molecules, pool = (64, 48) if options.small else (MOLECULES, POOL)
        write_arrays(options.prepare, options.data, molecules, pool, options.seed, options.bundle)
        print(f"{options.prepare}: {options.prepare.stat().st_size / 1e6:.1f} MB")
        return
    device = torch.device("cuda" if torch.cuda.is_available() and not options.small else "cpu")
    if device.type == "cpu" and not options.small:
        raise SystemExit("torch sees no usable GPU; --small runs on a CPU")
    plan = SuitePlan(device=device, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(
            plan.smaller() if options.small else plan, Arrays.read(options.arrays), Path(folder)
        )
        setup = {"part": "setup", "device": device.type, "batch": suite.plan.batch}
        rows = earlier_rows(options) or [setup]
        rows = run_parts(suite, options.parts, options.output, rows)
    if not options.goes_on:
        print("\n" + table(rows))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", type=Path, metavar="FILE", help="make the file, and stop")
    parser.add_argument("--arrays", type=Path, metavar="FILE", help="the file that was made")
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAPHADAPT_DATA"))
    parser.add_argument(
        "--bundle", type=Path, nargs="+", default=(), help="exported bundles to carry along"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(USUAL))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="tiny sizes, on a CPU")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a JSON file")
    parser.add_argument("--goes-on", action="store_true", help="add to what --output holds")
    options = parser.parse_args()
    if not options.prepare and not options.arrays:
        parser.error("give --arrays FILE, or make one with --prepare FILE")
    return options


def earlier_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Of the process that this one goes on for."""
    if not options.goes_on:
        return []
    rows: list[dict[str, Any]] = json.loads(options.output.read_text("utf-8"))["rows"]
    return rows


def run_parts(
    suite: Suite, names: Sequence[str], output: Path, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Run one part after the other; what is known is saved after each.

    Args:
        suite: what they share.
        names: of the parts.
        output: a JSON file.
        rows: known already.
    """
    for place, name in enumerate(names, start=1):
        budget, part = PARTS[name]
        start = time.perf_counter()
        found = list(guarded(lambda part=part: part(suite), budget))
        rows += [{"part": name, **row} for row in found]
        seconds = time.perf_counter() - start
        rows.append({"part": name, "part_s": seconds, "budget_s": budget})
        print(f"{name}: {seconds:.0f} of at most {budget} s", flush=True)
        save_results(output, rows, seeds=[suite.plan.seed])
        output.with_suffix(".md").write_text(table(rows) + "\n", encoding="utf-8")
        has_failed = any("failed" in row for row in found)
        if has_failed and names[place:] and not is_usable(suite.plan.device):
            return elsewhere(names[place:], output)
    return rows


def elsewhere(names: Sequence[str], output: Path) -> list[dict[str, Any]]:
    """Run the parts in another process; all rows from what it saves."""
    print("the GPU is of no use to this process any more; another one goes on", flush=True)
    command = [sys.executable, *sys.argv, "--goes-on", "--output", str(output), "--parts", *names]
    subprocess.run(command, check=False)
    rows: list[dict[str, Any]] = json.loads(output.read_text("utf-8"))["rows"]
    return rows


def guarded(
    part: Callable[[], Iterator[dict[str, Any]]], budget: float
) -> Iterator[dict[str, Any]]:
    """A part's rows; one that fails or takes too long ends with a row that says so."""
    try:
        with at_most(budget):
            yield from part()
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        text = str(error).splitlines()
        yield {"failed": f"{type(error).__name__}: {text[0] if text else ''}"}


if __name__ == "__main__":
    main()
