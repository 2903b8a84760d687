"""What a run's own molecules say of a frozen network: freeze gap, calibration, applicability.

Shapes: T tasks of the run, P rows asked for, Q tasks of the network, D width of the embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.errors import DataError
from graphadapt.export.applicability import FEWEST_MOLECULES, TypicalShare, describe
from graphadapt.export.calibration import (
    calibrate,
    calibration_record,
    fit_calibration,
    left_out,
)
from graphadapt.export.contract_parts import Applicability, Calibration, CalibrationMethod
from graphadapt.freeze import FrozenModel
from graphadapt.objective.scoring import score_cells
from graphadapt.report.freeze_gap import measure_gap
from graphadapt.run import Run

__all__ = ["Measured", "measure"]

_TRAINING_MOLECULES: Final = 20_000
"""Most that applicability figures are fitted on, those of all compositions together."""

_LEAST_SHARE: Final = 2_000
"""What each composition may use however many share the above: enough for 33 quantiles."""


class Measured(NamedTuple):
    """What was found, by which the network answers from then on."""

    metrics: dict[str, Any]
    """For the contract: the freeze gap, and how the calibration went."""

    calibration: Mapping[str, Calibration]
    """By task; empty where none was fitted."""

    applicability: Applicability

    @property
    def has_molecules(self) -> bool:
        """Whether the run's molecules are at hand."""
        return "missing" not in self.metrics["freeze_gap"]


def measure(
    run: Run,
    frozen: FrozenModel,
    *,
    method: CalibrationMethod | Literal["none"],
    applicability: bool,
    networks: int = 1,
) -> Measured:
    """Measure the freeze gap, then fit what answers beside the heads.

    Where the run's molecules are not at hand, the metrics say why the gap is missing, and nothing
    is fitted.

    Args:
        run: what ``frozen`` was made from.
        frozen: changed in place: it answers by its calibration, and how typical a molecule is.
        method: of calibration.
        applicability: whether to fit the figure, where training molecules suffice.
        networks: compositions that are measured alike and share the time.
    """
    metrics: dict[str, Any] = {"freeze_gap": _gap(run, frozen)}
    found, figure = dict[str, Calibration](), Applicability()
    binary = [task.name for task in frozen.tasks if task.kind == "binary"]
    at_hand = "missing" not in metrics["freeze_gap"]
    if method != "none" and binary:
        reasons = dict.fromkeys(binary, "the run's molecules are not at hand")
        metrics["calibration"] = calibration_record(method, reasons)
        if at_hand:
            found, metrics["calibration"] = _calibrated(run, frozen, method)
    if applicability and at_hand:
        most = max(_LEAST_SHARE, _TRAINING_MOLECULES // networks)
        figure = _typical(run, frozen, most)
    return Measured(metrics, found, figure)


def _gap(run: Run, frozen: FrozenModel) -> dict[str, Any]:
    """The freeze gap, or why it is missing."""
    try:
        return measure_gap(run, frozen).to_dict()
    except DataError as error:
        return {"missing": str(error)}


@torch.no_grad()
def _calibrated(
    run: Run, frozen: FrozenModel, method: CalibrationMethod
) -> tuple[dict[str, Calibration], dict[str, Any]]:
    """Fit maps on validation cells and put them into the model; what is recorded beside them."""
    data, columns = run.dataset, _columns(run, frozen)
    rows = data.rows("valid")
    labels_PQ = data.labels_of("valid")[np.ix_(rows, columns)]
    logits_PQ = frozen.head(_embedded(run, frozen, rows))
    found = fit_calibration(frozen.tasks, logits_PQ.cpu().numpy(), labels_PQ, method)
    calibrate(frozen, found)
    reasons = left_out(frozen.tasks, labels_PQ, found, method)
    after = _after(run, frozen, logits_PQ, rows)
    return found, calibration_record(method, reasons, after)


def _after(
    run: Run, frozen: FrozenModel, logits_PQ: Tensor, rows_P: NDArray[np.int64]
) -> Mapping[str, float]:
    """Metrics of the calibrated answers on validation, where tables may have tied some."""
    if frozen.calibration is None:
        return {}
    columns = _columns(run, frozen)
    answers_PQ = frozen.calibration(logits_PQ).cpu().numpy()
    cells_PQ = run.dataset.cells("valid")[np.ix_(rows_P, columns)]
    binary = [q for q, task in enumerate(frozen.tasks) if task.kind == "binary"]
    return score_cells(
        run.dataset, answers_PQ[:, binary], rows_P, cells_PQ[:, binary], columns[binary]
    ).mean


def _columns(run: Run, frozen: FrozenModel) -> NDArray[np.int64]:
    """Place of each task of the network among the run's, ``(Q,)``."""
    names: Sequence[str] = [task.name for task in run.inputs.tasks]
    return np.array([names.index(task.name) for task in frozen.tasks], np.int64)


def _typical(run: Run, frozen: FrozenModel, most: int) -> Applicability:
    """Give the frozen model its second output, if training molecules suffice."""
    rows = run.dataset.rows("train")
    if len(rows) < FEWEST_MOLECULES:
        return Applicability()
    random = np.random.default_rng(run.config.trainer.seed)
    drawn = np.sort(random.permutation(rows)[:most])
    figure = TypicalShare(_embedded(run, frozen, drawn))
    valid_VD = _embedded(run, frozen, run.dataset.rows("valid"))
    said = describe(figure, len(drawn), valid_VD)
    frozen.applicability = figure.to(frozen.head.weight.device)
    return said


@torch.no_grad()
def _embedded(run: Run, frozen: FrozenModel, rows_P: NDArray[np.int64]) -> Tensor:
    """Joined embeddings in float32, ``(P, D)``."""
    chunks = torch.split(torch.from_numpy(rows_P), 512)
    return torch.cat([frozen.embed(run.feed.table.gather(rows)) for rows in chunks])
