"""Which packages every extra asks for, and which of them are installed; nothing is imported.

The requirements are those of the installed distribution, so they cannot drift from it.
"""

import operator
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from graphadapt.errors import ConfigError

__all__ = [
    "BASE",
    "Package",
    "extra_names",
    "extras_included",
    "extras_with",
    "packages",
    "python_fits",
    "python_wanted",
    "version_fits",
]

BASE = "base"
"""What stands for the packages that are always installed."""

Release = tuple[int, ...]

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(?:\[(?P<extras>[^\]]*)\])?\s*(?P<versions>[^;]*)"
    r"(?:;.*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?"
)
_COMPARISONS: dict[str, Callable[[Release, Release], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Package:
    """One requirement of one extra."""

    name: str
    extra: str
    """The extra that installs it, or ``base``."""

    wanted: str
    """Versions that were tested, such as ``>=2.11,<=2.13.0``."""

    installed: str
    """Version found; empty if there is none."""

    @property
    def fits(self) -> bool:
        """Whether a version is installed that was tested."""
        return bool(self.installed) and version_fits(self.installed, self.wanted)


def packages() -> tuple[Package, ...]:
    """The requirements of all extras, base first, without the extras that name others."""
    return tuple(
        Package(name, extra, wanted, _installed(name))
        for name, extra, wanted, _ in _requirements()
        if name != "graphadapt"
    )


def extra_names() -> tuple[str, ...]:
    """Every extra that can be installed, in alphabetical order."""
    return tuple(sorted(metadata("graphadapt").get_all("Provides-Extra") or ()))


def extras_included(extras: Sequence[str]) -> frozenset[str]:
    """The given extras, those that they include in turn, and the base.

    Raises:
        ConfigError: if there is no extra of such a name.

    Example:
        >>> sorted(extras_included(["export"]))
        ['base', 'export', 'train']
    """
    for extra in extras:
        if extra not in extra_names():
            raise ConfigError(f"no extra {extra!r}; there are {', '.join(extra_names())}")
    found, waiting = {BASE}, list(extras)
    while waiting:
        extra = waiting.pop()
        found.add(extra)
        for name, owner, _, inner in _requirements():
            if name == "graphadapt" and owner == extra:
                waiting += [one for one in inner if one not in found]
    return frozenset(found)


def extras_with(name: str) -> tuple[str, ...]:
    """The extras that install a package, in the order of the project file.

    Example:
        >>> extras_with("torch"), extras_with("nothing")
        (('train',), ())
    """
    return tuple(package.extra for package in packages() if package.name == name)


def python_wanted() -> str:
    """Versions of Python that are supported."""
    return metadata("graphadapt")["Requires-Python"]


def python_fits() -> bool:
    """Whether this Python is one of them."""
    return version_fits(platform.python_version(), python_wanted())


def version_fits(found: str, wanted: str) -> bool:
    """Compare release numbers; local and pre-release parts do not count.

    Args:
        found: such as ``2.13.0+cpu``.
        wanted: comparisons joined by commas, such as ``>=2.11,<3``; empty takes any.

    Example:
        >>> version_fits("2.13.0+cpu", ">=2.11,<=2.13.0"), version_fits("3.13.1", "<3.13")
        (True, False)
    """
    for clause in filter(None, (part.strip() for part in wanted.split(","))):
        sign = re.match(r"[<>=!]+", clause)
        compare = _COMPARISONS[sign.group() if sign else "=="]
        given, limit = _release(found), _release(clause)
        length = max(len(given), len(limit))
        if not compare(_padded(given, length), _padded(limit, length)):
            return False
    return True


def _requirements() -> Iterator[tuple[str, str, str, list[str]]]:
    """Name, extra, versions and the requirement's own extras."""
    for text in requires("graphadapt") or ():
        match = _REQUIREMENT.match(text)
        if match:
            inner = [one.strip() for one in (match["extras"] or "").split(",") if one.strip()]
            clauses = [clause.strip(" ()") for clause in match["versions"].split(",")]
            wanted = ",".join(sorted(clauses, reverse=True))  # lower limits first
            yield match["name"], match["extra"] or BASE, wanted, inner


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _release(text: str) -> Release:
    digits = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in digits.group().split(".")) if digits else ()


def _padded(release: Release, length: int) -> Release:
    return release + (0,) * (length - len(release))
