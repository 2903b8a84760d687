import importlib
import json
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def rows(run_benchmark, tiny_run, tmp_path_factory):
    output = tmp_path_factory.mktemp("selection") / "cost.json"
    run_benchmark("selection_cost", tiny_run, "--small", "--output", output)
    return json.loads(output.read_text("utf-8"))["rows"]


def test_small_mode_measures_half_of_the_adapters_against_all(rows):
    half = [row for row in rows if row["part"] == "test" and row["half"]]
    everything = {row["metric"]: row for row in rows if row["part"] == "test" and not row["half"]}
    assert {row["rule"] for row in half} == {"top_m=2"}
    for row in half:
        beside = everything[row["metric"]]
        assert beside["points_lost"] == 0
        sign = -1 if row["metric"].endswith("rmse") else 1
        lost = 100 * sign * (beside["frozen"] - row["frozen"])
        assert row["points_lost"] == pytest.approx(lost)
        # an adapter of rank 2 between 16 and 32 has 96 numbers, of four bytes each
        assert 2 * 96 * 4 <= beside["file_bytes"] - row["file_bytes"] <= 2 * 96 * 4 + 64
        assert 0 < row["package_bytes"] <= beside["package_bytes"]


def test_every_rule_is_measured_on_validation(rows):
    valid = [row for row in rows if row["part"] == "valid"]
    assert {row["rule"] for row in valid} == {"top_m=2", "all"}
    assert all(row["ms, batch 1"] > 0 for row in valid)


def rule(name, kept, rmse):
    return SimpleNamespace(rule=name, kept=kept, gap=SimpleNamespace(frozen={"rmse": rmse}))


def test_half_is_the_rule_that_loses_least_among_those_that_keep_no_more_than_half():
    best_half = importlib.import_module("selection_cost").best_half
    found = [rule("top_m=6", 6.0, 0.74), rule("mass=0.9", 5.7, 0.73), rule("mass=0.95", 6.2, 0.72)]
    assert best_half([*found, rule("all", 11.0, 0.71)], 12) == 1
    assert best_half([*found, rule("all", 5.0, 0.71)], 12) == 1
