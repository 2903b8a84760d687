"""The whole path on bundled data: train, test, freeze, export, answer, compare.

Every stage leaves a folder and is skipped when it is there, so a stopped quickstart goes on where
it was.
"""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from graphadapt.config import RunConfig
from graphadapt.data.bundled import BUNDLED, PUBLISHED_RMSE
from graphadapt.errors import ConfigError
from graphadapt.export.bundle_folder import check_target
from graphadapt.export.contract import BundleContract
from graphadapt.export.run_bundle import export_run
from graphadapt.freeze import FrozenModel
from graphadapt.objective.metrics import Evaluation
from graphadapt.report.evaluation import task_table
from graphadapt.report.table import Cell, format_table
from graphadapt.run import Run
from graphadapt.serve.predictor import Predictor

__all__ = ["FIVE_TARGETS", "Comparison", "Quickstart"]

FIVE_TARGETS: Final = (
    "CHEMBL204_Ki",
    "CHEMBL214_Ki",
    "CHEMBL233_Ki",
    "CHEMBL234_Ki",
    "CHEMBL244_Ki",
)
"""Thrombin, 5-HT1A, mu opioid, D3 and factor Xa: large sets from different families."""

_BATCHES: Final = (1, 32, 256)
_BLOCKS, _REPEATS = 5, 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """ONNX Runtime against PyTorch on the same molecules, from SMILES-free arrays."""

    batch: int
    largest_error: float
    """Largest difference of any answer, in the task's units."""

    torch_ms: float
    onnx_ms: float

    @property
    def speedup(self) -> float:
        """How many times longer PyTorch takes."""
        return self.torch_ms / self.onnx_ms


class Quickstart:
    """Stages of the first run, in order.

    Args:
        folder: everything is written below it.
        graph_only: leave count fingerprints out, to see what graphs alone give.
        settings: overrides of both stages' settings by dotted name, for small trials.
        say: where results go, a line or a table at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        graph_only: bool = False,
        settings: dict[str, Any] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder
        self.graph_only = graph_only
        self.settings = settings or {}
        self.say = say
        self.stage = 0

    def run(self) -> dict[str, Any]:
        """Do every stage and return the figures.

        Raises:
            ConfigError: if the folder holds something other than a quickstart.
            CheckpointError: if it holds one of other settings.
        """
        self._check_folder()
        begun = time.monotonic()
        graph = self._trained("graph", "quickstart-graph", "Adapters inside the pretrained network")
        run = graph
        if not self.graph_only:
            title = "Fingerprints beside it, adapters at the readout"
            run = self._trained("run", "quickstart", title, {"backbone.weights": str(graph.folder)})
        test = self._test(run)
        bundles = self._export(run)
        comparisons = self._compare(run, bundles["all"])
        seconds = time.monotonic() - begun
        self.say(f"\nFinished in {seconds:.0f} s.")
        self._next_steps(run)
        return {
            "seconds": round(seconds, 1),
            "start": graph.config.backbone.weights,
            "test": test.mean,
            "bundles": {name: str(self.folder / f"bundle-{name}") for name in bundles},
            "comparison": [
                {"batch": c.batch, "speedup": c.speedup, "largest_error": c.largest_error}
                for c in comparisons
            ],
        }

    def _check_folder(self) -> None:
        """Find out before minutes of training what could not be written after them."""
        bundles = [self.folder / f"bundle-{name}" for name in ("five", "all")]
        own = {"graph", "run", *(bundle.name for bundle in bundles)}
        held = {item.name for item in self.folder.iterdir()} if self.folder.exists() else set()
        foreign = sorted(name for name in held - own if not name.startswith("."))
        if foreign:
            raise ConfigError(
                f"{self.folder} holds {foreign[0]}, which is no part of a quickstart; choose "
                "another folder"
            )
        for bundle in bundles:
            check_target(bundle)

    def _trained(
        self, name: str, preset: str, title: str, more: Mapping[str, Any] | None = None
    ) -> Run:
        self._stage(title)
        config = RunConfig.from_toml(preset).with_settings({**(more or {}), **self.settings})
        return Run.trained(config, self.folder / name)

    def _stage(self, title: str) -> None:
        self.stage += 1
        self.say(f"\n{self.stage}/{4 if self.graph_only else 5} {title}")

    def _test(self, run: Run) -> Evaluation:
        found = run.evaluate("test")
        self._stage("Test molecules of every target, in the units of its labels")
        if run.model.sites:
            self.say("All targets asked together, weighed alike.")
        self.say(task_table(found))
        if run.config.data.store != BUNDLED or run.config.data.tasks:
            return found
        ours: list[list[Cell]] = [["this run", found.mean["rmse"], found.mean["cliff_rmse"]]]
        published: list[list[Cell]] = [[name, *scores] for name, scores in PUBLISHED_RMSE.items()]
        self.say("\nMeans over 30 targets beside published ones")
        self.say(format_table(["method", "rmse", "cliff_rmse"], [*ours, *published]))
        return found

    def _export(self, run: Run) -> dict[str, tuple[BundleContract, FrozenModel]]:
        self._stage("Frozen bundles, each proven equal to the model")
        bundles, rows = {}, []
        names = [task.name for task in run.inputs.tasks]
        five = FIVE_TARGETS if set(FIVE_TARGETS) <= set(names) else names[:5]
        for name, tasks in (("five", five), ("all", names)):
            contract, frozen = export_run(run, self.folder / f"bundle-{name}", tasks=tasks)
            gap = contract.metrics["freeze_gap"].get("gap", {}).get("rmse")
            size = sum(info.size for info in contract.files.values()) / 1e6
            rows.append([name, len(tasks), size, gap, f"{contract.parity.largest_error:.1e}"])
            bundles[name] = (contract, frozen)
        self.say(
            format_table(["bundle", "tasks", "MB", "freeze gap (rmse)", "largest error"], rows)
        )
        return bundles

    def _compare(self, run: Run, bundle: tuple[BundleContract, FrozenModel]) -> list[Comparison]:
        """Answer the same molecules by both engines, in alternating blocks."""
        self._stage("ONNX Runtime beside PyTorch on test molecules, same arrays, all cores")
        predictor = Predictor(self.folder / "bundle-all")
        test = run.dataset.rows("test")
        rows = np.random.default_rng(0).choice(test, min(max(_BATCHES), len(test)), replace=False)
        sizes = sorted({min(size, len(rows)) for size in _BATCHES})
        comparisons = [self._compare_batch(run, bundle[1], predictor, rows[:n]) for n in sizes]
        self.say(
            format_table(
                ["molecules", "PyTorch ms", "ONNX Runtime ms", "times faster", "largest error"],
                [
                    [c.batch, c.torch_ms, c.onnx_ms, c.speedup, f"{c.largest_error:.1e}"]
                    for c in comparisons
                ],
                digits=2,
            )
        )
        return comparisons

    def _compare_batch(
        self, run: Run, frozen: FrozenModel, predictor: Predictor, rows: np.ndarray
    ) -> Comparison:
        store, frozen = run.dataset.store, frozen.cpu()
        molecules = [store.molecule(int(row)) for row in rows]
        features = None
        if run.inputs.blocks:
            features = np.asarray(store.features(run.inputs.blocks)[rows], np.float32)
        picked = torch.from_numpy(rows)
        table = run.feed.table

        @torch.inference_mode()
        def by_torch() -> np.ndarray:
            return frozen.answers(table.gather(picked).to("cpu")).numpy()

        def by_onnx() -> np.ndarray:
            return predictor.answer(molecules, features)

        error = float(np.abs(by_torch() - by_onnx()).max())
        seconds: dict[str, list[float]] = {"torch": [], "onnx": []}
        for _ in range(_BLOCKS):
            seconds["torch"] += _timed(by_torch)
            seconds["onnx"] += _timed(by_onnx)
        return Comparison(
            len(rows), error, 1e3 * median(seconds["torch"]), 1e3 * median(seconds["onnx"])
        )

    def _next_steps(self, run: Run) -> None:
        bundle, folder = (shlex.quote(str(f)) for f in (self.folder / "bundle-five", run.folder))
        task = shlex.quote(run.inputs.tasks[0].name)
        steps: Sequence[str] = (
            f"echo 'CC(=O)Oc1ccccc1C(=O)O' | graphadapt predict {bundle}",
            f"graphadapt inspect {folder} --plot routing.png",
            f"graphadapt evaluate {folder} --awa",
            f"graphadapt export {folder} -o my-bundle --tasks {task} --top-m 3",
            "graphadapt prepare my-assays.csv -o my-store --features counts",
            "graphadapt train quickstart-graph -o my-graph --set data.store=my-store",
            "graphadapt train quickstart -o my-run --set data.store=my-store "
            "--set backbone.weights=my-graph",
        )
        self.say("\nTry next:\n  " + "\n  ".join(steps))


def _timed(work: Callable[[], object]) -> list[float]:
    work()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds
