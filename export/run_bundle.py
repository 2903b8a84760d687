"""From a trained run to a bundle: freeze, measure what that costs, lower the precision, write.

Shapes: T tasks of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from torch import Tensor

from graphadapt.errors import ConfigError
from graphadapt.export.adapter_bundle import ALIKE, OwnAnswers, write_adapter_bundle
from graphadapt.export.bucket_fit import buckets_for
from graphadapt.export.bundle import BundleNotes, Lower, write_bundle
from graphadapt.export.bundle_folder import check_target
from graphadapt.export.contract import BundleContract
from graphadapt.export.contract_parts import (
    Applicability,
    Bucket,
    CalibrationMethod,
    Form,
    Precision,
    PrecisionName,
)
from graphadapt.export.padding import BUCKETS
from graphadapt.export.repeated_runs import ParityPlan, opener
from graphadapt.export.rounding import round_model
from graphadapt.export.run_measures import Measured, measure
from graphadapt.export.validation_loss import (
    batches_of,
    check_loss,
    score_file,
    unmeasured_loss,
)
from graphadapt.freeze import FrozenModel, Selection
from graphadapt.progress import Progress
from graphadapt.report.freeze_gap import freeze_run
from graphadapt.run import Run

__all__ = ["ExportOptions", "export_compositions", "export_run"]

_CALIBRATING_MOLECULES: Final = 512
"""Training molecules that set the scales of eight-bit numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What a bundle is to be.

    Raises:
        ConfigError: for a form, precision or calibration that there is not, or a precision that
            does not go with the form.
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
        known = {
            "form": get_args(Form),
            "precision": get_args(PrecisionName),
            "calibrate": (*get_args(CalibrationMethod), "none"),
        }
        for name, words in known.items():
            if getattr(self, name) not in words:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} cannot be exported; use one of "
                    f"{', '.join(map(repr, words))}"
                )
        if self.form == "adapters" and self.precision != "fp32":
            raise ConfigError("adapter files are float32; leave --precision out")
        if self.form == "padded" and self.precision == "int8":
            raise ConfigError("int8 is for CPUs and the padded form for GPUs; take fp16, or merged")


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
    frozen = _frozen(run, tasks, composition_T, selection)
    found = _measured(run, frozen, options)
    buckets = _fit_buckets(run, options, found)
    contract = write_bundle(
        frozen,
        folder,
        feature_blocks=run.inputs.blocks,
        form=options.form,
        buckets=buckets,
        lower=_lowering(run, frozen, options, found),
        force=options.force,
        notes=_notes(run, selection, found),
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

    Each composition has embeddings of its own, and so its own calibration and applicability.

    Args:
        run: trained, with its model loaded.
        folder: where the bundle goes; a bundle there is replaced.
        compositions: w, ``(T,)``, by name; at least one.
        tasks: requested task names in output order; empty keeps all.
        selection: which adapters each composition keeps; default keeps all mass.
        options: of which ``calibrate`` and ``applicability`` count.
        plan: how thoroughly each composition is compared with its network.
        shown: whether progress is shown.

    Raises:
        BundleError: if ``folder`` holds something else, or an answer is not right.
        ConfigError: for an unknown task, a composition without a name or none at all, a model
            without adapters inside, or another precision.
        DataError: without the molecules on which norms of a trained backbone are settled.
    """
    check_target(folder)
    options = replace(options or ExportOptions(), form="adapters")
    if not compositions or "" in compositions:
        raise ConfigError(
            f"{len(compositions)} compositions, each by its name, were given as "
            f"{list(compositions)}; give one or more, and a name to each"
        )
    if not run.model.sites:
        raise ConfigError(ALIKE)
    models, found = dict[str, FrozenModel](), dict[str, Measured]()
    with Progress(len(compositions), "compositions", shown=shown) as progress:
        for name, composition_T in compositions.items():
            models[name] = _frozen(run, tasks, composition_T, selection)
            found[name] = _measured(run, models[name], options, len(compositions))
            progress.update(status=name)
    return write_adapter_bundle(
        models,
        folder,
        feature_blocks=run.inputs.blocks,
        notes=_notes(run, selection, _together(found)),
        own={n: OwnAnswers(each.calibration, each.applicability) for n, each in found.items()},
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


def _measured(run: Run, frozen: FrozenModel, options: ExportOptions, networks: int = 1) -> Measured:
    return measure(
        run,
        frozen,
        method=options.calibrate,
        applicability=options.applicability,
        networks=networks,
    )


def _together(found: Mapping[str, Measured]) -> Measured:
    """Figures of all compositions, each by name; what each answers by is recorded with it."""
    figures = {
        f"{what}s": {
            name: each.metrics[what] for name, each in found.items() if what in each.metrics
        }
        for what in ("freeze_gap", "calibration")
    }
    return Measured(figures, {}, Applicability())


def _notes(run: Run, selection: Selection | None, found: Measured) -> BundleNotes:
    rules = asdict(selection or Selection())
    return BundleNotes(
        selection={name: rule for name, rule in rules.items() if rule is not None},
        metrics=found.metrics,
        origin={"run": run.folder.resolve().name, "config": run.config.to_dict()},
        calibration=found.calibration,
        applicability=found.applicability,
    )


def _fit_buckets(run: Run, options: ExportOptions, found: Measured) -> Sequence[Bucket]:
    """Shapes of the padded form for molecules like the run's own, where those are at hand."""
    if options.form != "padded" or not found.has_molecules:
        return BUCKETS
    fitted = buckets_for(run.dataset.store.columns, run.dataset.rows("train"))
    found.metrics["buckets"] = fitted.to_dict()
    return fitted.buckets


def _lowering(
    run: Run, frozen: FrozenModel, options: ExportOptions, found: Measured
) -> Lower | None:
    """How a file of lower precision is made, where one is asked for; refused before any work."""
    kind = options.precision
    if kind == "fp32":
        return None
    if found.has_molecules:
        return partial(_lowered, run, frozen, options)
    names = [task.name for task in frozen.tasks]
    missing = found.metrics["freeze_gap"]["missing"]
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
