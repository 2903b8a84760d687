import json


def test_small_mode_times_both_engines_and_proves_parity(run_benchmark, tmp_path):
    output = tmp_path / "speed.json"
    done = run_benchmark("export_speed", "--small", "--features", "--output", output)
    *rows, proof = json.loads(output.read_text("utf-8"))["rows"]
    assert {(row["batch"], row["from"]) for row in rows} == {
        (size, stage) for size in (1, 32) for stage in ("arrays", "molecules", "smiles")
    }
    ratios = [row["times"] for row in rows if row["engine"] == "times faster"]
    assert len(ratios) == 6
    assert all(ratio > 0 for ratio in ratios)
    assert proof["largest_error"] <= 1e-5
    assert "| times faster |" in done.stdout
