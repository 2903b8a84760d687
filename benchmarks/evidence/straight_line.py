"""The straight line that comes nearest to what was measured.

Shapes: S sizes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["LARGEST", "LINEAR", "Line", "straight_line"]

LARGEST, LINEAR = 437_929, 0.1
"""Size up to which growth is looked at, in molecules, and how far from the line it may be."""


class Line(NamedTuple):
    """``start + slope * size``."""

    start: float
    slope: float
    furthest: float
    """Largest distance of a measured value from the line, as a share of the value."""


def straight_line(sizes_S: Sequence[float], values_S: Sequence[float]) -> Line:
    r"""Fit ``a + b x`` to positive values so that the relative distances are smallest.

    .. math:: \min_{a,b} \sum_i \left(\frac{a + b x_i}{y_i} - 1\right)^2

    Plain least squares would look at the largest size alone.
    """
    x, y = np.asarray(sizes_S, np.float64), np.asarray(values_S, np.float64)
    design = np.stack([1 / y, x / y], axis=1)
    (start, slope), *_ = np.linalg.lstsq(design, np.ones(len(y)), rcond=None)
    return Line(float(start), float(slope), float(np.abs((start + slope * x) / y - 1).max()))
