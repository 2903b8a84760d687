"""Tables become dataclasses only if every key and type is right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from graphadapt.errors import ConfigError
from graphadapt.typed_tables import build_table, check_known, with_values


@dataclass(frozen=True)
class Inner:
    size: int = 1
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outer:
    rate: float = 0.5
    mode: Literal["fast", "slow"] = "fast"
    on: bool = False
    inner: Inner = field(default_factory=Inner)


def test_nested_tables_become_nested_dataclasses():
    table = {"rate": 2, "on": True, "inner": {"shape": [1, 2]}}
    assert build_table(Outer, table) == Outer(rate=2.0, on=True, inner=Inner(shape=(1, 2)))
    assert build_table(Outer, {}) == Outer()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"rte": 1}, "unknown section: 'rte'; did you mean 'rate'"),
        ({"inner": {"sze": 1}}, r"unknown setting under \[inner\]: 'sze'; did you mean 'size'"),
        ({"inner": 3}, "inner is a section of settings, got 3"),
        ({"inner": {"size": 1.5}}, r"inner\.size=1\.5 is not of type int"),
        ({"inner": {"shape": [1, "a"]}}, r"inner\.shape='a' is not of type int"),
        ({"mode": "fats"}, "mode='fats' is not one of 'fast', 'slow'; did you mean 'fast'"),
        ({"on": 1}, "on=1 is not of type bool"),
        ({"rate": "fast"}, "rate='fast' is not of type float"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(table, message):
    with pytest.raises(ConfigError, match=message):
        build_table(Outer, table)


@dataclass(frozen=True)
class Shelf:
    label: str
    items: tuple[Inner, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    spare: Mapping[str, Inner] = field(default_factory=dict)


def test_lists_and_tables_may_hold_dataclasses():
    table = {
        "label": "a",
        "items": [{"size": 2}, {}],
        "weights": {"x": 1},
        "notes": {"anything": [None, {"at": "all"}]},
        "spare": {"left": {"size": 3}},
    }
    expected = Shelf("a", (Inner(2), Inner()), {"x": 1.0}, table["notes"], {"left": Inner(3)})
    assert build_table(Shelf, table) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": [3]}, "items is a section of settings, got 3"),
        ({"items": [{"sze": 3}]}, r"unknown setting under \[items\]: 'sze'"),
        ({"weights": None}, "weights is a table, got None"),
        ({"weights": {"x": "y"}}, r"weights\.x='y' is not of type float"),
        ({"spare": {"left": {"size": None}}}, r"spare\.left\.size=None is not of type int"),
    ],
)
def test_what_lists_and_tables_hold_is_checked(change, message):
    with pytest.raises(ConfigError, match=message):
        build_table(Shelf, {"label": "a", "items": []} | change)


def test_what_has_no_usual_value_must_be_given():
    with pytest.raises(ConfigError, match=r"^items is missing$"):
        build_table(Shelf, {"label": "a"})


def test_a_name_far_from_all_lists_what_exists():
    with pytest.raises(ConfigError, match=r"unknown part: 'zzz'; known are a, b"):
        check_known("zzz", {"b": 1, "a": 2}, "part")


def test_values_are_replaced_in_a_copy():
    table = {"a": {"b": {"c": 1}}, "d": 2}
    assert with_values(table, {"a.b.c": 5, "d": 6}) == {"a": {"b": {"c": 5}}, "d": 6}
    assert table == {"a": {"b": {"c": 1}}, "d": 2}


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("a.x", "unknown setting in 'a.x': 'x'; known are b"),
        ("x.b", "unknown section in 'x.b': 'x'; known are a"),
        ("a.b.c", "'a.b.c' names nothing: 'b' is a value, no section"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(dotted, message):
    with pytest.raises(ConfigError, match=message):
        with_values({"a": {"b": 1}}, {dotted: 2})
