"""A summary reads as sections and as plain tables."""

from graphadapt.config import RunConfig
from graphadapt.report.summary import Summary, counted_kinds, listed_settings


def test_sections_without_text_are_left_out():
    found = Summary("store", {"molecules": 3}, (("first", "one\ntwo"), ("empty", ""), ("x", "y")))
    assert found.to_text() == "first\n-----\none\ntwo\n\nx\n-\ny"
    assert found.to_dict() == {"kind": "store", "molecules": 3}


def test_only_settings_that_differ_are_listed():
    usual = RunConfig()
    changed = usual.with_settings({"relation.prior.kind": "uniform", "trainer.epochs": 7})
    assert listed_settings(usual.to_dict(), usual.to_dict()) == []
    assert listed_settings(changed.to_dict(), usual.to_dict()) == [
        "relation.prior.kind = 'uniform'",
        "trainer.epochs = 7",
    ]


def test_kinds_are_counted():
    assert counted_kinds(["regression"]) == "1 task: 1 regression"


def test_sections_of_another_version_are_listed():
    assert listed_settings({"a": {"b": 1}, "c": 2}, {"a": 3, "c": {"d": 1}}) == ["a.b = 1", "c = 2"]
