"""How commands read a composition of tasks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from graphadapt.cli.prepare import parse_names
from graphadapt.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["parse_composition"]


def parse_composition(text: str, names: Sequence[str]) -> "Tensor | Literal['each']":
    """Read ``all``, ``each`` or ``TASK=WEIGHT,...``; a task without a weight has weight 1.

    A task whose name holds a comma stands in double quotes, as in ``"a, b"=0.5``.

    Args:
        text: as the user wrote it.
        names: the model's tasks, in its order.

    Returns:
        w, ``(T,)``, that sums to 1; ``each`` stays as it is.

    Raises:
        ConfigError: for an unknown or repeated task, or a weight that is no number of 0 or more.
    """
    from graphadapt.routing.composition import uniform_composition, weighted_composition

    if text == "each":
        return "each"
    if text == "all":
        return uniform_composition(names, names)
    weights: dict[str, float] = {}
    for item in parse_names(text):
        name, equals, number = ("", "", "") if item in names else item.rpartition("=")
        task = (name if equals else item).strip()
        if task in weights:
            raise ConfigError(f"composition {text!r} names task {task!r} twice; name it once")
        try:
            weights[task] = float(number) if equals else 1.0
        except ValueError:
            raise ConfigError(
                f"weight {number!r} of task {task!r} is no number; write {task}=0.5"
            ) from None
    return weighted_composition(weights, names)
