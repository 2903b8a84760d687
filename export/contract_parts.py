"""Parts of a bundle's contract: form, precision, calibration, applicability. No torch.

What each means to a client:

``merged``
    one network for one composition; arrays of any length, equal atoms merged.
``adapters``
    one backbone and several ONNX Runtime adapter files. The file of exactly one composition must
    be active in a run (``RunOptions.add_active_adapter``); without one every answer is NaN.
``padded``
    as ``merged``, over molecules padded to one shape. The file takes every shape; the buckets are
    those worth keeping to, for CUDA graphs and for servers that batch requests of equal shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from graphadapt.errors import BundleError

__all__ = [
    "Applicability",
    "Bucket",
    "Calibration",
    "CalibrationMethod",
    "Composition",
    "Form",
    "Precision",
    "PrecisionName",
    "bucket_for",
]

Form = Literal["merged", "adapters", "padded"]

PrecisionName = Literal["fp32", "fp16", "int8"]

CalibrationMethod = Literal["temperature", "isotonic"]


@dataclass(frozen=True, order=True, kw_only=True, slots=True)
class Bucket:
    """One shape of the padded form."""

    atoms: int
    """Rows of every molecule, at most so many atoms."""

    slots: int
    """Most bonds of one atom."""

    graphs: int
    """Molecules of a full batch."""

    def __post_init__(self) -> None:
        if min(self.atoms, self.slots, self.graphs) < 1:
            raise BundleError(
                f"a bucket of {self.atoms} atoms, {self.slots} slots and {self.graphs} molecules "
                "holds nothing; use at least 1 of each"
            )

    def holds(self, atoms: int, slots: int) -> bool:
        """Whether a molecule of so many atoms, and most bonds of one atom, fits."""
        return atoms <= self.atoms and slots <= self.slots


def bucket_for(buckets: tuple[Bucket, ...], atoms: int, slots: int) -> Bucket | None:
    """The smallest bucket that holds a molecule; None where it needs a shape of its own.

    Example:
        >>> small, large = (Bucket(atoms=n, slots=4, graphs=8) for n in (16, 32))
        >>> bucket_for((small, large), 20, 3) == large, bucket_for((small,), 20, 3)
        (True, None)
    """
    fitting = (bucket for bucket in buckets if bucket.holds(atoms, slots))
    return min(fitting, key=lambda bucket: bucket.atoms * bucket.slots, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How a binary task's logits become calibrated probabilities, in the graph.

    By ``temperature`` they are divided by it before the sigmoid. By ``isotonic`` a rising table
    takes the sigmoid's place: linear between its knots, level beyond them.

    Expected calibration error, in [0, 1], and log loss, in nats, are those of the validation cells.
    ``held_out`` ones are of cells that the map was not fitted on, each fifth by what the other four
    give: by how much they lie above those of ``after`` is what the map owes to chance.
    """

    method: CalibrationMethod = "temperature"
    temperature: float = 1.0
    """1 in an isotonic map."""

    logits: tuple[float, ...] = ()
    """Places of an isotonic map's knots, rising; empty with a temperature."""

    probabilities: tuple[float, ...] = ()
    """What it answers at them, rising."""

    cells: int
    """Labelled validation cells that it was fitted on."""

    before: float
    """Expected calibration error without it."""

    after: float
    held_out: float | None = None
    """None in bundles that were written before this was measured."""

    log_loss_before: float | None = None
    log_loss_after: float | None = None
    log_loss_held_out: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Applicability:
    """What the model's second output, ``applicability``, is measured by.

    It is the share of training molecules whose embedding lies at least as far from the centre of
    the training molecules: 1 in the midst, 0 farther out than all.
    """

    measure: Literal["none", "mahalanobis"] = "none"
    molecules: int = 0
    """Training molecules behind it."""

    components: int = 0
    """Directions of the embedding with a variance of their own; the others share one."""

    valid_below_5_percent: float = 0.0
    """Share of validation molecules with a figure below 0.05; 0.05 if they are like training's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """One mix of the adapters form."""

    file: str
    """Name of its adapter file."""

    weights: Mapping[str, float]
    """w, by task."""

    kept: Mapping[str, Any] = field(default_factory=dict)
    """Adapters kept at each site, and at the readout for each task."""

    parameters: int
    """Numbers in the file."""

    largest_error: float
    """As :attr:`Parity.largest_error`, with this file active."""

    merged_error: float
    """Largest difference from the same composition as a merged network, by the same scale."""

    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    """Of its own, by task."""

    applicability: Applicability = field(default_factory=Applicability)
    """Of its own; of no measure in bundles that were written before there was one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """What the file computes in, and what that costs beside float32."""

    name: PrecisionName = "fp32"

    loss: Mapping[str, float] = field(default_factory=dict)
    """What each metric loses on validation cells; above 0 is worse. Empty in float32, and where no
    task has a metric, so that the loss is unmeasured."""

    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """Tasks that have no metric on validation cells, and so no part in ``loss``, and why."""

    bound: float = 0.0
    """Most that a metric in [0, 1] may lose, and a share of itself that an RMSE may."""

    forced: bool = False
    """Whether the bundle was written although a metric or the probe molecules lose more than they
    may, or the loss is unmeasured."""
