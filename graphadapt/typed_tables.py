"""Nested plain tables, as TOML and JSON give them, to dataclasses: every key and type checked."""

import copy
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from graphadapt.errors import ConfigError

__all__ = ["SettingsTable", "build_table", "check_known", "require", "with_values"]


class SettingsTable:
    """A dataclass of settings that is read from nested plain tables and written back to them."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """Build from nested tables, as TOML or JSON gives them; raises as :func:`build_table`."""
        settings: Self = build_table(cls, table)
        return settings

    def to_dict(self) -> dict[str, Any]:
        """Nested plain tables that :meth:`from_dict` reads back; tuples are lists."""
        assert is_dataclass(self)
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Replace settings named by dotted path, such as ``{"trainer.epochs": 3}``."""
        return self.from_dict(with_values(self.to_dict(), settings))


def require(holds: bool, message: str) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: with the message, if it does not hold.
    """
    if not holds:
        raise ConfigError(message)


def check_known(name: str, known: Mapping[str, Any], what: str) -> None:
    """Refuse a name that does not exist; the error has the nearest, or all.

    Args:
        name: what was given.
        known: what exists, by name.
        what: kind and place of the name, such as ``setting under [trainer]``.

    Raises:
        ConfigError: if there is no such name.
    """
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(sorted(known))
        raise ConfigError(f"unknown {what}: {name!r}; {hint}")


def with_values(table: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested tables with some values replaced, each named by its dotted place.

    Raises:
        ConfigError: if there is no such place.

    Example:
        >>> with_values({"a": {"b": 1, "c": 2}}, {"a.b": 3})
        {'a': {'b': 3, 'c': 2}}
    """
    changed = copy.deepcopy(dict(table))
    for dotted, value in values.items():
        *sections, key = dotted.split(".")
        place: Any = changed
        for section in sections:
            check_known(section, place, f"section in {dotted!r}")
            place = place[section]
            if not isinstance(place, dict):
                raise ConfigError(f"{dotted!r} names nothing: {section!r} is a value, no section")
        check_known(key, place, f"setting in {dotted!r}")
        place[key] = value
    return changed


def build_table(cls: type[Any], table: Mapping[str, Any], where: str = "") -> Any:
    """Build a dataclass, and those inside it, from nested tables.

    Args:
        cls: the dataclass; a field left out of the table keeps its default.
        table: names to values; lists become tuples, whole numbers decimals where those are meant.
        where: dotted place of the table, for messages.

    Raises:
        ConfigError: for an unknown name, a value of another type, or none where one is needed.
    """
    hints = get_type_hints(cls)
    known = {item.name: item for item in fields(cls)}
    values = {}
    for key, value in table.items():
        check_known(key, known, f"setting under [{where}]" if where else "section")
        values[key] = _typed(hints[key], value, f"{where}.{key}" if where else key)
    for name, item in known.items():
        if name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{f'{where}.' if where else ''}{name} is missing")
    return cls(**values)


def _typed(hint: Any, value: Any, path: str) -> Any:
    """Check ``value`` against a plain type or one of those that hold others."""
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} is a section of settings, got {value!r}")
        return build_table(typing.cast("type[Any]", hint), value, path)
    if get_origin(hint) is Literal:
        return _one_of(get_args(hint), value, path)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} is a list, got {value!r}; write [{value!r}]")
        return tuple(_typed(get_args(hint)[0], item, path) for item in value)
    if get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} is a table, got {value!r}")
        return {
            name: _typed(get_args(hint)[1], item, f"{path}.{name}") for name, item in value.items()
        }
    return _plain(hint, value, path)


def _one_of(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if value in options:
        return value
    near = get_close_matches(str(value), options, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{path}={value!r} is not one of {', '.join(map(repr, options))}{hint}")


def _plain(hint: Any, value: Any, path: str) -> Any:
    """A number, a text or anything; whole numbers become decimals where those are meant."""
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        name = hint.__name__ if not isinstance(hint, types.UnionType) else str(hint)
        raise ConfigError(f"{path}={value!r} is not of type {name}")
    return value
