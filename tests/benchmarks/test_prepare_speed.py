"""The benchmark of preparation: its small mode, and how its figures are judged."""

import json


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
