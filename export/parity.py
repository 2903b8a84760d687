"""Proof that an exported file answers like the frozen model: many runs against one truth.

Shapes: P probe molecules, T columns of answers.
"""

from collections.abc import Sequence

import numpy as np
import torch

from graphadapt.errors import BundleError
from graphadapt.export.contract_parts import PrecisionName
from graphadapt.export.parity_record import Parity
from graphadapt.export.probes import Probes
from graphadapt.export.reference import Reference
from graphadapt.export.repeated_runs import (
    OpenFile,
    ParityPlan,
    Truth,
    largest_error,
    share_off,
    thread_counts,
    truth_of,
)
from graphadapt.export.rounding import TOLERANCES
from graphadapt.export.session import CPU
from graphadapt.freeze import FrozenModel

__all__ = ["prove_parity"]

_NUMBERINGS = 8
"""Orders of the atoms in which the frozen model is tried in float32."""


def prove_parity(
    frozen: FrozenModel,
    open_file: OpenFile,
    reads: Sequence[str],
    probes: Probes,
    plan: ParityPlan | None = None,
    *,
    precision: PrecisionName = "fp32",
    force: bool = False,
    shown: bool = False,
) -> tuple[Parity, Truth]:
    """Compare an exported file with the frozen model in float64.

    The error of an answer is a share of the scale that :func:`truth_of` takes. Some networks lose
    more than the tolerance to float32 itself, in PyTorch as anywhere; then twice what PyTorch loses
    is allowed, over several numberings of the atoms, because that loss depends on them.

    Args:
        frozen: what was exported.
        open_file: opens the file.
        reads: names of its inputs.
        probes: molecules to try it on.
        plan: how often, at which sizes and threads.
        precision: of the file; a lower one has a tolerance of its own.
        force: whether a file of lower precision may be further off, if only by a finite error.
        shown: whether progress is shown.

    Returns:
        How far off the file is, and the truth that it was held to.

    Raises:
        BundleError: if any answer is further off, or no number.
    """
    plan = plan or ParityPlan()
    answers_PT = Reference(frozen).answer(probes.molecules, probes.features)
    truth = truth_of(frozen.tasks, answers_PT, probes)
    parity = Parity(
        largest_error=largest_error(open_file, reads, probes, truth, plan, shown=shown),
        tolerance=plan.tolerance if precision == "fp32" else TOLERANCES[precision],
        float32_error=_float32_error(frozen, probes, truth),
        repeats=plan.repeats,
        batch_sizes=plan.batch_sizes,
        threads=plan.threads or thread_counts(),
        molecules=len(probes.molecules),
        provider=CPU,
    )
    _check(parity, precision, force=force)
    return parity, truth


def _check(parity: Parity, precision: PrecisionName, *, force: bool) -> None:
    lower = precision != "fp32"
    remedy = (
        "take fp32"
        if lower
        else "a network that rounding upsets so much needs more training or fewer layers"
    )
    if parity.largest_error == np.inf:
        raise BundleError(
            f"some answers of the exported model in {precision} are no finite numbers, so nothing "
            f"was written; {remedy}"
        )
    if not parity.holds and not (lower and force):
        raise BundleError(
            f"the exported model in {precision} is off by {parity.largest_error:.2e} of the "
            f"answers' scale, more than {parity.bound}, so nothing was written; {remedy}"
            + (", or --force if that is good enough" if lower else "")
        )


def _float32_error(frozen: FrozenModel, probes: Probes, truth: Truth) -> float:
    """The frozen model's own, the largest over numberings of the atoms."""
    model, random = Reference(frozen, torch.float32), np.random.default_rng(0)
    orders = [probes.molecules, *(probes.renumbered(random) for _ in range(_NUMBERINGS - 1))]
    return max(share_off(model.answer(molecules, probes.features), *truth) for molecules in orders)
