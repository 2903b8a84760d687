"""Adapter weight allocation (AWA) of a trained run, on its validation cells.

At the readout every task is measured, from embeddings; inside the backbone, where each question is
a forward pass, a sample of sites and tasks.

Shapes: G molecules of the store, N labelled cells of one task, T tasks, K adapters, C candidate
gates, D width of the joined embedding.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.errors import ConfigError
from graphadapt.model import READOUT
from graphadapt.objective.awa import AllocationReport, adapter_allocation, sample_pairs
from graphadapt.objective.losses import task_losses
from graphadapt.objective.readout_losses import ReadoutLosses
from graphadapt.progress import Progress
from graphadapt.report.table import Cell, format_table
from graphadapt.routing.composition import single_task
from graphadapt.run import Run

__all__ = ["RunLosses", "allocation_table", "measure_allocation"]

Floats = NDArray[np.floating[Any]]

READOUT_SITES, INNER_SITES = "readout", "inner"


def measure_allocation(
    run: Run,
    *,
    part: str = "valid",
    top: int = 3,
    inner_pairs: int = 24,
    molecules: int = 256,
    seed: int = 0,
    shown: bool = True,
) -> dict[str, AllocationReport]:
    """AWA of the run's routing beside random routing, by kind of site.

    Args:
        run: trained, with adapters.
        part: whose labelled cells are asked.
        top: m of precision@m.
        inner_pairs: how many (site, task) pairs inside the backbone to draw.
        molecules: most molecules to ask of one task inside the backbone.
        seed: of the draws, the random routing and the intervals.
        shown: whether progress is shown.

    Returns:
        ``readout`` and ``inner``, as far as the model has such sites.

    Raises:
        ConfigError: if the model has no adapters.
    """
    model = run.model
    if model.routing is None:
        raise ConfigError("a run without adapters has no allocation to measure")
    tasks = range(len(model.tasks))
    drawn = {INNER_SITES: sample_pairs(model.sites, tasks, inner_pairs, seed)}
    if model.readout.bank is not None:
        drawn = {READOUT_SITES: [(READOUT, task) for task in tasks]} | drawn
    total = 2 * sum(len(pairs) for pairs in drawn.values())
    with torch.no_grad(), Progress(total, "Taking adapters out", shown=shown) as progress:
        losses = RunLosses(run, part, molecules=molecules, seed=seed, progress=progress)
        gates = {site: gate_TK.cpu().numpy() for site, gate_TK in losses.gates.items()}
        return {
            kind: adapter_allocation(gates, losses, pairs, top=top, seed=seed)
            for kind, pairs in drawn.items()
            if pairs
        }


def allocation_table(reports: dict[str, AllocationReport], *, markdown: bool = False) -> str:
    """One row for each routing at each kind of site."""
    rows: list[list[Cell]] = []
    for kind, report in reports.items():
        for routing in ("routed", "random"):
            found = getattr(report, routing)
            undefined = found.unlabelled + found.single + found.correlation_undefined
            rows.append(
                [kind, routing, *found.precision, *found.correlation, found.pairs, undefined]
            )
    top = next((report.top for report in reports.values()), 0)
    header = ["site", "routing", f"precision@{top}", "low", "high", "rho", "low", "high"]
    return format_table([*header, "pairs", "undefined"], rows, markdown=markdown)


class RunLosses:
    """What a task alone would lose with other weights at one site.

    Computed in float32 without autocast, because the differences are small.

    Args:
        run: its model is put into evaluation mode.
        part: whose labelled cells are asked.
        molecules: most molecules to ask of one task at an inner site.
        seed: of their draw.
        progress: counts questions.
    """

    def __init__(
        self, run: Run, part: str, *, molecules: int, seed: int, progress: Progress
    ) -> None:
        self.model, self.feed = run.model.eval(), run.feed
        self.gates = self.model.gates()
        self.targets_GT = self.model.scaling.standardise(
            torch.from_numpy(run.dataset.labels_of(part)).to(self.feed.device)
        )
        self.is_binary_T = torch.from_numpy(run.dataset.is_binary).to(self.feed.device)
        self.names = [task.name for task in self.model.tasks]
        self.molecules, self.seed, self.progress = molecules, seed, progress
        self._shared_readout: ReadoutLosses | None = None

    def __call__(self, site: str, task: int, gates_CK: Floats) -> Floats:
        """Mean loss under every candidate, ``(C,)``; NaN without a labelled cell."""
        self.progress.update(status=site)
        rows_N = (~self.targets_GT[:, task].isnan()).nonzero().flatten()
        if len(rows_N) == 0:
            return np.full(len(gates_CK), np.nan)
        if site == READOUT:
            return self._readout(task, rows_N)(site, task, gates_CK)
        candidates = torch.from_numpy(np.asarray(gates_CK, np.float32)).to(self.feed.device)
        rows_N = self._sample(rows_N)
        return np.array([self._inner(site, task, gate_K, rows_N) for gate_K in candidates])

    def _inner(self, site: str, task: int, gate_K: Tensor, rows_N: Tensor) -> float:
        gate_TK = self.gates[site].clone()
        gate_TK[task] = gate_K
        gates = self.gates | {site: gate_TK}
        w = single_task(self.names[task], self.names).to(self.feed.device)
        total = 0.0
        for rows in torch.split(rows_N, 512):
            batch = self.feed.table.gather(rows)
            graph_embedding, _ = self.model.encode(batch, w, gates)
            logits = self.model.answer(graph_embedding, batch.features, gates).logits
            loss_T, count_T = task_losses(logits, self.targets_GT[rows], self.is_binary_T)
            total += float(loss_T[task] * count_T[task])
        return total / len(rows_N)

    def _readout(self, task: int, rows_N: Tensor) -> ReadoutLosses:
        """Losses from embeddings of all asked molecules, or of one task's if it matters whose."""
        if self.model.sites:
            return self._readout_losses(task, rows_N)
        if self._shared_readout is None:
            rows = (~self.targets_GT.isnan()).any(1).nonzero().flatten()
            self._shared_readout = self._readout_losses(task, rows)
        return self._shared_readout

    def _readout_losses(self, task: int, rows_P: Tensor) -> ReadoutLosses:
        w = single_task(self.names[task], self.names).to(self.feed.device)
        parts = []
        for rows in torch.split(rows_P, 512):
            batch = self.feed.table.gather(rows)
            graph_embedding, _ = self.model.encode(batch, w, self.gates)
            parts.append(self.model.join(graph_embedding, batch.features))
        readout, bank = self.model.readout, self.model.bank(READOUT)
        alone_KTK = torch.eye(bank.count, device=self.feed.device)[:, None].expand(
            -1, len(self.names), -1
        )
        corrected = [bank.correct_rows(readout.weight, gate_TK) for gate_TK in alone_KTK]
        return ReadoutLosses(
            torch.cat(parts).cpu().numpy(),
            self.targets_GT[rows_P].cpu().numpy(),
            self.is_binary_T.cpu().numpy(),
            readout.weight.cpu().numpy(),
            readout.bias.cpu().numpy(),
            (torch.stack(corrected, dim=1) - readout.weight[:, None]).cpu().numpy(),
        )

    def _sample(self, rows_N: Tensor) -> Tensor:
        if len(rows_N) <= self.molecules:
            return rows_N
        random = np.random.default_rng(self.seed)
        chosen = np.sort(random.choice(len(rows_N), self.molecules, replace=False))
        return rows_N[torch.from_numpy(chosen).to(rows_N.device)]
