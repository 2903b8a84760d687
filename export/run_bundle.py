"""From a trained run to a bundle: freeze, measure what that costs, write.

Shapes: T tasks of the run.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from graphadapt.errors import ConfigError, DataError
from graphadapt.export.bundle import check_target, write_bundle
from graphadapt.export.contract import BundleContract
from graphadapt.export.parity import ParityPlan
from graphadapt.freeze import FrozenModel, Selection
from graphadapt.report.freeze_gap import freeze_run, measure_gap
from graphadapt.run import Run

__all__ = ["export_run"]


def export_run(
    run: Run,
    folder: Path,
    *,
    tasks: Sequence[str] = (),
    composition_T: Tensor | None = None,
    selection: Selection | None = None,
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
        plan: how thoroughly the file is compared with the model.
        shown: whether progress is shown.

    Returns:
        What the bundle says of itself, and the frozen network it was made from. Where the run's
        molecules are not at hand, the contract's metrics say why the freeze gap is missing.

    Raises:
        BundleError: if ``folder`` holds something else, or the file is not equal to the model.
        ConfigError: for an unknown task, a selection among no adapters, or a model that cannot be
            exported.
    """
    check_target(folder)
    selection = selection or Selection()
    if run.model.routing is None and selection != Selection():
        raise ConfigError("this run has no adapters to select from; leave the selection out")
    frozen = freeze_run(run, tasks=tasks, composition_T=composition_T, selection=selection)
    try:
        metrics = {"freeze_gap": measure_gap(run, frozen).to_dict()}
    except DataError as error:
        metrics = {"freeze_gap": {"missing": str(error)}}
    contract = write_bundle(
        frozen,
        folder,
        feature_blocks=run.inputs.blocks,
        selection={name: rule for name, rule in asdict(selection).items() if rule is not None},
        metrics=metrics,
        origin={"run": run.folder.resolve().name, "config": run.config.to_dict()},
        plan=plan,
        shown=shown,
    )
    return contract, frozen
