import json


def test_small_mode_makes_calls_of_every_form_and_none_is_wrong(run_benchmark, tmp_path):
    output = tmp_path / "parity.json"
    done = run_benchmark("parity_runs", "--small", "--output", output)
    rows = json.loads(output.read_text("utf-8"))["rows"]
    assert [(row["form"], row["precision"]) for row in rows] == [
        ("merged", "fp32"),
        ("merged", "int8"),
        ("padded", "fp16"),
        ("adapters", "fp32"),
    ]
    assert all(row["calls"] > 0 for row in rows)
    assert sum(row["wrong"] for row in rows) == 0
    assert " calls are wrong" in done.stdout
    assert all(row["largest_share"] <= 1 for row in rows)
