"""Names a user may ask for, and the nearest one when it does not exist."""

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from graphadapt.errors import DataError

__all__ = ["choose_names", "listed_names", "require_name"]

_SHOWN = 12


def listed_names(names: Iterable[str]) -> str:
    """At most a dozen quoted names, and how many there are beyond."""
    every = list(names)
    beyond = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(repr(name) for name in every[:_SHOWN]) + beyond if every else "none"


def require_name(name: str, known: Collection[str], what: str) -> None:
    """Refuse a name that does not exist; the error has the nearest, or all.

    Args:
        name: what was asked for.
        known: names that exist.
        what: kind and place of the name, such as ``task in store``.
    """
    if name in known:
        return
    near = get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {listed_names(known)}"
    raise DataError(f"no {what} is named {name!r}; {hint}")


def choose_names(wanted: Sequence[str], known: Sequence[str], what: str) -> list[int]:
    """Positions of the wanted names among the known ones, in the order asked for.

    Raises:
        DataError: if a name does not exist or is asked for twice.
    """
    for name in wanted:
        require_name(name, known, what)
        if wanted.count(name) > 1:
            raise DataError(f"{what} {name!r} is asked for twice; name it once")
    position = {name: index for index, name in enumerate(known)}
    return [position[name] for name in wanted]
