"""Training on a GPU: ours as ``graphadapt train`` does it, PyTorch Geometric as written and tuned.

All train OGB's GIN with a virtual node on batches of one size drawn from one set of molecules, in
turns. Ours is timed with adapters at every linear layer and at the readout (the row that counts)
and with plain heads (the network that the library trains).
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_arrays import Arrays, drawn_labels
from gpu_clock import wait
from gpu_plan import SuitePlan
from gpu_work import work_of
from measure import Timing, alternate, ratio
from own_training import OwnTraining, several
from peers.geometric import geometric_training
from peers.training import LabelledGraphs, PeerSettings, PeerTraining

from graphadapt.config import RunConfig
from graphadapt.run import Run

__all__ = ["OURS", "PLAIN", "epoch_rows", "own_epoch_rows", "replay_rows", "step_rows", "work_rows"]

OURS, PLAIN = "graphadapt, adapters everywhere", "graphadapt, plain heads"
PEER = "PyTorch Geometric"
ADAPTERS: Mapping[str, Any] = {
    "adapters.count": 12,
    "adapters.rank": 8,
    "adapters.sites": ["*"],
    "adapters.readout": True,
}

PEERS: Mapping[str, PeerSettings] = {
    f"{PEER}, as OGB's example": PeerSettings(),
    f"{PEER}, tuned, float32": PeerSettings(tuned=True),
    f"{PEER}, tuned, bfloat16": PeerSettings(tuned=True, precision="bfloat16"),
    f"{PEER}, tuned, bfloat16, compiled": PeerSettings(
        tuned=True, precision="bfloat16", compiled=True
    ),
}


def own_settings(plan: SuitePlan, store: Path, **more: Any) -> dict[str, Any]:
    """Of a run, over the preset ``ogb``."""
    return {
        "data.store": str(store),
        "backbone.layers": plan.layers,
        "backbone.width": plan.width,
        "sampler.batch_size": plan.batch,
        "trainer.device": plan.device.type,
        "trainer.precision": plan.precision,
        "trainer.seed": plan.seed,
        **more,
    }


def own_epoch_rows(plan: SuitePlan, store: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Whole epochs of the ordinary run, from its metrics, and the most memory that they take.

    The first epoch compiles and captures, so the median is of the later ones. An epoch's time is
    that of its steps, planning and loss included; validation comes after the last one only.
    """
    for name, more in ((OURS, ADAPTERS), (PLAIN, {})):
        _forget_peak(plan.device)
        settings = {"trainer.epochs": plan.epochs, "trainer.evaluate_every": plan.epochs}
        config = RunConfig.from_toml("ogb").with_settings(
            own_settings(plan, store, **settings, **more)
        )
        run = Run.create(config, folder / name.replace(", ", "-").replace(" ", "-"))
        run.train(shown=False)
        lines = (run.folder / "metrics.jsonl").read_text("utf-8").splitlines()
        rates = [json.loads(line)["molecules_per_second"] for line in lines]
        rows = len(run.dataset.rows("train"))
        epochs = [rows / rate for rate in rates[1:]]
        yield {
            "epoch_of": name,
            "precision": plan.precision,
            "molecules": rows,
            "epochs": len(epochs),
            "epoch_s": statistics.median(epochs),
            "epoch_s_low": min(epochs),
            "epoch_s_high": max(epochs),
            "first_epoch_s": rows / rates[0],
            **_peak(plan.device),
        }


def replay_rows(plan: SuitePlan, store: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Losses of captured steps beside those of the same steps taken one kernel at a time."""
    losses = {}
    for captured in (False, True):
        more = {"trainer.capture": captured, "trainer.precision": "float32", **ADAPTERS}
        training = OwnTraining(own_settings(plan, store, **more), folder / f"replay-{captured}")
        steps = range(min(plan.compared, training.learner.steps_per_epoch))
        losses[captured] = torch.stack([training.trainer.take_step(step)[0] for step in steps])
        recorded = training.trainer.recorded
    difference = (losses[True] - losses[False]).abs() / losses[False].abs()
    replays = 0 if recorded is None else recorded.replays
    yield {
        "replayed": "losses of captured steps against the same steps one kernel at a time",
        "steps": len(difference),
        "replays": replays,
        "shapes": 0 if recorded is None else len(recorded),
        "obstacle": "" if recorded is None else recorded.obstacle,
        "error": float(difference.max()),
        "allowed": plan.replay_error,
        # On a GPU where nothing was replayed, nothing was compared.
        "holds": bool((difference <= plan.replay_error).all())
        and (replays > 0 or plan.device.type == "cpu"),
    }


def step_rows(
    plan: SuitePlan, arrays: Arrays, store: Path, folder: Path
) -> Iterator[dict[str, Any]]:
    """Time of a step in every way, in turns, and how many times faster ours is."""
    ways, skipped = _ways(plan, arrays, store, folder)
    for name, reason in skipped.items():
        yield {"way": name, "skipped": reason}
    counts = {name: plan.steps_of(name) for name in ways}
    work = {name: _turn(step, counts[name], plan.device) for name, step in ways.items()}
    timed = alternate(work, blocks=plan.blocks, repeats=plan.repeats)
    found = {name: _a_step(timing, counts[name]) for name, timing in timed.items()}
    for name, timing in found.items():
        yield {"way": name, "batch": plan.batch, **timing.row(pieces=plan.batch)}
    peers = [name for name in found if name.startswith(PEER)]
    for name in (OURS, PLAIN):
        for peer in peers if name in found else []:
            yield {"ours": name, "peer": peer, **ratio(found[peer], found[name]).row("times")}


def work_rows(plan: SuitePlan, store: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """What a step of ours computes and moves, counted with its kernels started one by one."""
    for name, more in ((OURS, ADAPTERS), (PLAIN, {})):
        settings = own_settings(plan, store, **{"trainer.capture": False, **more})
        training = OwnTraining(settings, folder / f"work-{len(more)}")
        training.step()
        yield {"work_of": name, **work_of(training.step)}


def epoch_rows(plan: SuitePlan, arrays: Arrays) -> Iterator[dict[str, Any]]:
    """One epoch as OGB's example is written, on as many molecules as ours trains on.

    Where it takes too long, its first steps stand for all; ``epochs`` says what was done.
    """
    graphs = _graphs(plan, arrays, plan.steps_per_epoch(len(arrays.rows)))
    name = f"{PEER}, as OGB's example"
    _forget_peak(plan.device)
    training = _peer(plan, graphs, PEERS[name])
    for _ in range(2):
        training.step()
    wait(plan.device)
    steps, start = 0, time.perf_counter()
    while steps < len(graphs.batches) and time.perf_counter() - start < plan.peer_seconds:
        training.step()
        steps += 1
    wait(plan.device)
    seconds = time.perf_counter() - start
    yield {
        "epoch_of": name,
        "precision": "float32",
        "molecules": sum(map(len, graphs.batches)),
        "epochs": steps / len(graphs.batches),
        "epoch_s": seconds * len(graphs.batches) / steps,
        **_peak(plan.device),
    }


def _ways(
    plan: SuitePlan, arrays: Arrays, store: Path, folder: Path
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """Every way that works, warmed up, and why the others do not."""
    graphs = _graphs(plan, arrays, plan.cycle)
    makers: dict[str, Callable[[], Any]] = {
        OURS: lambda: OwnTraining(own_settings(plan, store, **ADAPTERS), folder / "ours"),
        PLAIN: lambda: OwnTraining(own_settings(plan, store), folder / "plain"),
        **{
            name: lambda settings=settings: _peer(plan, graphs, settings)
            for name, settings in PEERS.items()
            if not settings.compiled or plan.compiles
        },
    }
    ways: dict[str, Callable[[], object]] = {}
    skipped: dict[str, str] = {}
    for name, make in makers.items():
        try:
            # Whatever is wrong with one library or the compiler, the other ways still count.
            step = make().step
            several(step, plan.warmup)()
            wait(plan.device)
        except (Exception, SystemExit) as error:
            skipped[name] = f"{type(error).__name__}: {_first_line(error)}"
        else:
            ways[name] = step
    return ways, skipped


def _turn(step: Callable[[], object], steps: int, device: torch.device) -> Callable[[], None]:
    """That many steps, waited for."""
    work = several(step, steps)

    def call() -> None:
        work()
        wait(device)

    return call


def _graphs(plan: SuitePlan, arrays: Arrays, batches: int) -> LabelledGraphs:
    """Batches of the training set, as rows of the pool, with labels out of the air."""
    random = np.random.default_rng(plan.seed)
    drawn = random.permutation(len(arrays.rows))[: batches * plan.batch]
    rows = np.resize(arrays.rows[drawn], (batches, plan.batch))
    labels = drawn_labels(arrays.columns.molecules, plan.tasks, random)
    return LabelledGraphs(arrays.columns, torch.from_numpy(labels), list(rows))


def _peer(plan: SuitePlan, graphs: LabelledGraphs, settings: PeerSettings) -> PeerTraining:
    torch.manual_seed(plan.seed)
    training = geometric_training(
        graphs, settings, plan.device, width=plan.width, layers=plan.layers
    )
    training.network.train()
    return training


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def _a_step(timing: Timing, steps: int) -> Timing:
    return Timing(tuple(tuple(call / steps for call in block) for block in timing.blocks))


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> dict[str, float]:
    """Most memory that tensors took, and that was reserved for them."""
    if device.type != "cuda":
        return {}
    return {
        "peak_gb": torch.cuda.max_memory_allocated(device) / 1e9,
        "reserved_gb": torch.cuda.max_memory_reserved(device) / 1e9,
    }
