"""The benchmark of preparation: its small mode, and how its figures are judged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def scripts(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / "benchmarks")


def test_small_mode_measures_every_part(run_benchmark, tmp_path):
    output = tmp_path / "speed.json"
    done = run_benchmark("prepare_speed", "--small", "--output", output, "--work", tmp_path)
    rows = json.loads(output.read_text("utf-8"))["rows"]
    parts = {name: [row for row in rows if row["part"] == name] for name in ("rate", "growth")}
    assert [row["way"] for row in parts["rate"]] == [
        "RDKit parse only",
        "published set",
        "user's table",
    ]
    assert parts["rate"][0]["share_of_parse_rate"] == 1
    assert all(row["per_second"] > 0 for row in parts["rate"])
    assert [row["molecules"] for row in parts["growth"]] == [1000, 4000]
    assert all(row["peak_mb"] >= row["before_mb"] > 0 for row in parts["growth"])
    assert [row["line"] for row in rows if row["part"] == "line"] == ["seconds", "peak_mb"]
    resumed = rows[-1]
    assert resumed["part"] == "resume"
    assert resumed["same_bytes"] is True
    assert "| small | 500 | 1 | published set |" in done.stdout
    assert "Killed with" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["speed.json"]


@given(
    start=st.floats(0.1, 10),
    slope=st.floats(1e-6, 1e-2),
    sizes=st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True),
)
def test_points_of_a_straight_line_give_it_back(start, slope, sizes):
    from evidence.straight_line import straight_line

    line = straight_line(sizes, [start + slope * size for size in sizes])
    assert line.furthest < 1e-6


def test_the_distance_from_a_line_is_a_share_of_the_value():
    from evidence.straight_line import straight_line

    line = straight_line([1, 1], [1.0, 3.0])
    assert line.start + line.slope == pytest.approx(1.2)  # least (c - 1)² + (c / 3 - 1)²
    assert line.furthest == pytest.approx(0.6)
