import json


def test_small_mode_times_every_engine_and_proves_parity(run_benchmark, tmp_path):
    output = tmp_path / "speed.json"
    done = run_benchmark("export_speed", "--small", "--features", "--output", output)
    *rows, proof = json.loads(output.read_text("utf-8"))["rows"]
    stages = {(row["batch"], row["from"]) for row in rows}
    assert stages == {
        (size, stage) for size in (1, 32, 256) for stage in ("arrays", "molecules", "smiles")
    }
    ratios = [row for row in rows if row["engine"] == "times faster"]
    assert all(row["times"] > 0 for row in ratios)
    eager = {(row["batch"], row["from"]) for row in ratios if row["peer"] == "PyTorch"}
    compiled = {(row["batch"], row["from"]) for row in ratios if row["peer"] == "torch.compile"}
    assert eager == stages
    assert compiled == {(size, "arrays") for size in (1, 32, 256)}
    assert proof["largest_error"] <= 1e-5
    assert "| times faster |" in done.stdout
