"""What ``graphadapt inspect`` shows of one thing: facts for JSON, sections for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Summary", "counted_kinds", "listed_settings"]


@dataclass(frozen=True, slots=True)
class Summary:
    """One inspected thing."""

    kind: str
    """``run``, ``pretraining``, ``settings``, ``store``, ``bundle`` or ``weights``."""

    facts: Mapping[str, Any]
    """Everything, as plain nested tables."""

    sections: tuple[tuple[str, str], ...]
    """Heading and text, in the order to be read; an empty text is left out."""

    def to_dict(self) -> dict[str, Any]:
        """Plain nested tables for JSON."""
        return {"kind": self.kind, **self.facts}

    def to_text(self) -> str:
        """All sections, headings underlined."""
        parts = [
            f"{heading}\n{'-' * len(heading)}\n{text}" for heading, text in self.sections if text
        ]
        return "\n\n".join(parts)


def listed_settings(
    table: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Settings that differ from the usual ones, as ``section.name = value``.

    One that has no usual value, such as a setting of another version, is listed too.

    Example:
        >>> listed_settings({"a": {"b": 2, "c": 1}}, {"a": {"b": 1, "c": 1}})
        ['a.b = 2']
    """
    lines: list[str] = []
    for name, value in table.items():
        held = usual.get(name)
        if isinstance(value, Mapping):
            section = held if isinstance(held, Mapping) else {}
            lines += listed_settings(value, section, f"{prefix}{name}.")
        elif name not in usual or value != held:
            lines.append(f"{prefix}{name} = {value!r}")
    return lines


def counted_kinds(kinds: list[str]) -> str:
    """How many tasks of each kind.

    Example:
        >>> counted_kinds(["binary", "regression", "binary"])
        '3 tasks: 2 binary, 1 regression'
    """
    parts = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    return f"{len(kinds)} task{'s' if len(kinds) != 1 else ''}: {', '.join(parts)}"
