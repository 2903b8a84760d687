"""From a trained run to a bundle: freeze, calibrate, measure what that costs, write.

Shapes: T tasks of the run, P rows asked for, Q tasks of the bundle, D width of the embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphadapt.errors import ConfigError, DataError
from graphadapt.export.adapter_bundle import write_adapter_bundle
from graphadapt.export.applicability import FEWEST_MOLECULES, TypicalShare, describe
from graphadapt.export.bucket_fit import buckets_for
from graphadapt.export.bundle import BundleNotes, Lower, write_bundle
from graphadapt.export.bundle_folder import check_target
from graphadapt.export.calibration import (
    calibrate,
    calibration_record,
    fit_calibration,
    left_out,
)
from graphadapt.export.contract import BundleContract
from graphadapt.export.contract_parts import (
    Applicability,
    Bucket,
    Calibration,
    CalibrationMethod,
    Form,
    Precision,
    PrecisionName,
)
from graphadapt.export.padding import BUCKETS
from graphadapt.export.repeated_runs import ParityPlan, opener
from graphadapt.export.rounding import round_model
from graphadapt.export.validation_loss import (
    batches_of,
    check_loss,
    score_file,
    unmeasured_loss,
)
from graphadapt.freeze import FrozenModel, Selection
from graphadapt.objective.scoring import score_cells
from graphadapt.report.freeze_gap import freeze_run, measure_gap
from graphadapt.run import Run

__all__ = ["ExportOptions", "export_compositions", "export_run"]

_TRAINING_MOLECULES = 20_000
"""Most that the applicability figure is fitted on."""

_CALIBRATING_MOLECULES = 512
"""Training molecules that set the scales of eight-bit numbers."""

_CALIBRATIONS: Final = ("temperature", "isotonic", "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What a bundle is to be.

    Raises:
        ConfigError: for a calibration that there is not.
    """

    form: Form = "merged"
    precision: PrecisionName = "fp32"
    force: bool = False
    """Whether a lower precision is accepted whatever it costs, measured or not; ``int8`` needs the
    run's molecules all the same."""

    calibrate: CalibrationMethod | Literal["none"] = "temperature"
    """How probabilities of binary tasks are calibrated, where validation cells suffice.

    The freeze gap is measured before. A temperature changes the order of no answers; where tables
    do, the contract's metrics have those of the calibrated answers on the same cells.
    """

    applicability: bool = True
    """Whether the bundle answers how typical a molecule is, where training molecules suffice."""

    def __post_init__(self) -> None:
        if self.calibrate not in _CALIBRATIONS:
            words = ", ".join(map(repr, _CALIBRATIONS))
            raise ConfigError(f"calibrate={self.calibrate!r} is no calibration; use one of {words}")


def export_run(
    run: Run,
    folder: Path,
    *,
    tasks: Sequence[str] = (),
    composition_T: Tensor | None = None,
    selection: Selection | None = None,
    options: ExportOptions | None = None,
    plan: ParityPlan | None = None,
    shown: bool = True,
) -> tuple[BundleContract, FrozenModel]:
    """Freeze a run and write it as a bundle that is proven equal to the frozen network.

    Args:
        run: trained, with its model loaded.
        folder: where the bundle goes; a bundle there is replaced.
        tasks: requested task names in output order; empty keeps all.
        composition_T: w, ``(T,)``; default is uniform over the requested.
        selection: which adapters to keep; default keeps all mass.
        options: form, precision and extras; the adapters form has :func:`export_compositions`.
        plan: how thoroughly the file is compared with the model.
        shown: whether progress is shown.

    Returns:
        What the bundle says of itself, and the frozen network it was made from. Buckets are fitted
        from 200 training molecules on; fewer leave the fixed ones of ``export.padding``. Where the
        run's molecules are not at hand, buckets are the fixed ones too, the contract's metrics say
        why the freeze gap is missing, and neither calibration nor applicability are fitted.

    Raises:
        BundleError: if ``folder`` holds something else, the file is not equal to the model, or a
            lower precision costs too much or what nobody can measure.
        ConfigError: for an unknown task, no adapters to select, or a model that cannot be exported.
        DataError: without the molecules on which norms of a trained backbone are settled.
    """
    check_target(folder)
    options = options or ExportOptions()
    if options.form == "adapters":
        raise ConfigError("the adapters form holds several compositions; name them")
    if options.form == "padded" and options.precision == "int8":
        raise ConfigError("int8 is for CPUs and the padded form for GPUs; take fp16, or merged")
    frozen = _frozen(run, tasks, composition_T, selection)
    metrics, calibration = _measured(run, frozen, options)
    applicability = Applicability()
    if options.applicability and _has_data(metrics):
        applicability = _measure_applicability(run, frozen)
    buckets = _fit_buckets(run, options, metrics)
    contract = write_bundle(
        frozen,
        folder,
        feature_blocks=run.inputs.blocks,
        form=options.form,
        buckets=buckets,
        lower=_lowering(run, frozen, options, metrics),
        force=options.force,
        notes=_notes(run, selection, metrics, calibration, applicability),
        plan=plan,
        shown=shown,
    )
    return contract, frozen


def export_compositions(
    run: Run,
    folder: Path,
    compositions: Mapping[str, Tensor],
    *,
    tasks: Sequence[str] = (),
    selection: Selection | None = None,
    options: ExportOptions | None = None,
    plan: ParityPlan | None = None,
    shown: bool = True,
) -> BundleContract:
    """Write several compositions as one backbone file and one adapter file each.

    Without an applicability figure, because every composition has embeddings of its own.

    Args:
        run: trained, with its model loaded.
        folder: where the bundle goes; a bundle there is replaced.
        compositions: w, ``(T,)``, by name; at least one.
        tasks: requested task names in output order; empty keeps all.
        selection: which adapters each composition keeps; default keeps all mass.
        options: of which ``calibrate`` counts.
        plan: how thoroughly each composition is compared with its network.
        shown: whether progress is shown.

    Raises:
        BundleError: if ``folder`` holds something else, or an answer is not right.
        ConfigError: for an unknown task, a composition without a name or none at all, a model
            without adapters inside, or another precision.
    """
    check_target(folder)
    options = options or ExportOptions(form="adapters")
    if options.precision != "fp32":
        raise ConfigError("adapter files are float32; leave --precision out")
    if not compositions or "" in compositions:
        raise ConfigError(
            f"{len(compositions)} compositions, each by its name, were given as "
            f"{list(compositions)}; give one or more, and a name to each"
        )
    models, metrics, calibration = {}, {}, {}
    for name, composition_T in compositions.items():
        models[name] = _frozen(run, tasks, composition_T, selection)
        metrics[name], calibration[name] = _measured(run, models[name], options)
    figures = {
        f"{what}s": {name: each[what] for name, each in metrics.items() if what in each}
        for what in ("freeze_gap", "calibration")
    }
    return write_adapter_bundle(
        models,
        folder,
        feature_blocks=run.inputs.blocks,
        notes=_notes(run, selection, figures, {}, Applicability()),
        calibration=calibration,
        plan=plan,
        shown=shown,
    )


def _frozen(
    run: Run, tasks: Sequence[str], composition_T: Tensor | None, selection: Selection | None
) -> FrozenModel:
    selection = selection or Selection()
    if run.model.routing is None and selection != Selection():
        raise ConfigError("this run has no adapters to select from; leave the selection out")
    return freeze_run(run, tasks=tasks, composition_T=composition_T, selection=selection)


def _notes(
    run: Run,
    selection: Selection | None,
    metrics: Mapping[str, Any],
    calibration: Mapping[str, Calibration],
    applicability: Applicability,
) -> BundleNotes:
    rules = asdict(selection or Selection())
    return BundleNotes(
        selection={name: rule for name, rule in rules.items() if rule is not None},
        metrics=metrics,
        origin={"run": run.folder.resolve().name, "config": run.config.to_dict()},
        calibration=calibration,
        applicability=applicability,
    )


def _measured(
    run: Run, frozen: FrozenModel, options: ExportOptions
) -> tuple[dict[str, Any], dict[str, Calibration]]:
    """The freeze gap; then the calibration, by which the model answers from then on."""
    metrics: dict[str, Any] = {}
    try:
        metrics["freeze_gap"] = measure_gap(run, frozen).to_dict()
    except DataError as error:
        metrics["freeze_gap"] = {"missing": str(error)}
    binary = [task.name for task in frozen.tasks if task.kind == "binary"]
    if options.calibrate == "none" or not binary:
        return metrics, {}
    if not _has_data(metrics):
        reasons = dict.fromkeys(binary, "the run's molecules are not at hand")
        return metrics | {"calibration": calibration_record(options.calibrate, reasons)}, {}
    calibration, record = _calibrated(run, frozen, options.calibrate)
    return metrics | {"calibration": record}, calibration


@torch.no_grad()
def _calibrated(
    run: Run, frozen: FrozenModel, method: CalibrationMethod
) -> tuple[dict[str, Calibration], dict[str, Any]]:
    """Fit maps on validation cells and put them into the model; what is recorded beside them."""
    data, names = run.dataset, [task.name for task in run.inputs.tasks]
    columns = np.array([names.index(task.name) for task in frozen.tasks])
    rows = data.rows("valid")
    place = np.ix_(rows, columns)
    labels_PQ, logits_PQ = data.labels_of("valid")[place], frozen.head(_embedded(run, frozen, rows))
    found = fit_calibration(frozen.tasks, logits_PQ.cpu().numpy(), labels_PQ, method)
    calibrate(frozen, found)
    after: Mapping[str, float] = {}
    if frozen.calibration is not None:
        binary = [q for q, task in enumerate(frozen.tasks) if task.kind == "binary"]
        answers_PQ = frozen.calibration(logits_PQ).cpu().numpy()
        cells_PQ = data.cells("valid")[place]
        after = score_cells(
            data, answers_PQ[:, binary], rows, cells_PQ[:, binary], columns[binary]
        ).mean
    reasons = left_out(frozen.tasks, labels_PQ, found, method)
    return found, calibration_record(method, reasons, after)


def _has_data(metrics: Mapping[str, Any]) -> bool:
    return "missing" not in metrics["freeze_gap"]


def _fit_buckets(run: Run, options: ExportOptions, metrics: dict[str, Any]) -> Sequence[Bucket]:
    """Shapes of the padded form for molecules like the run's own, where those are at hand."""
    if options.form != "padded" or not _has_data(metrics):
        return BUCKETS
    fitted = buckets_for(run.dataset.store.columns, run.dataset.rows("train"))
    metrics["buckets"] = fitted.to_dict()
    return fitted.buckets


def _measure_applicability(run: Run, frozen: FrozenModel) -> Applicability:
    """Give the frozen model its second output, if training molecules suffice."""
    rows = run.dataset.rows("train")
    if len(rows) < FEWEST_MOLECULES:
        return Applicability()
    random = np.random.default_rng(run.config.trainer.seed)
    drawn = np.sort(random.permutation(rows)[:_TRAINING_MOLECULES])
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


def _lowering(
    run: Run, frozen: FrozenModel, options: ExportOptions, metrics: Mapping[str, Any]
) -> Lower | None:
    """How a file of lower precision is made, where one is asked for; refused before any work."""
    kind = options.precision
    if kind == "fp32":
        return None
    if _has_data(metrics):
        return partial(_lowered, run, frozen, options)
    names = [task.name for task in frozen.tasks]
    missing = metrics["freeze_gap"]["missing"]
    precision = unmeasured_loss(kind, names, missing, force=options.force)
    return lambda model, reads, outputs: (round_model(model, kind, ()), precision)


def _lowered(
    run: Run,
    frozen: FrozenModel,
    options: ExportOptions,
    model: bytes,
    reads: tuple[str, ...],
    outputs: tuple[str, ...],
) -> tuple[bytes, Precision]:
    """Round a file, and compare its metrics with those of the file that it was made from."""
    rows = np.random.default_rng(0).permutation(run.dataset.rows("train"))
    batches = batches_of(run, reads, rows[:_CALIBRATING_MOLECULES])
    lower = round_model(model, options.precision, batches)
    tasks = tuple(task.name for task in frozen.tasks)
    before, after = (
        score_file(run, tasks, opener(each, outputs)(1), reads) for each in (model, lower)
    )
    return lower, check_loss(options.precision, before, after, force=options.force)
