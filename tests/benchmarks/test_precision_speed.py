import json


def test_small_mode_times_both_bundles_and_states_what_int8_loses(
    run_benchmark, tiny_run, tmp_path
):
    output = tmp_path / "speed.json"
    run_benchmark("precision_speed", tiny_run, "--small", "--output", output)
    rows = json.loads(output.read_text("utf-8"))["rows"]
    lost = [row for row in rows if "loss" in row]
    assert {row["part"] for row in lost} == {"valid", "test"}
    assert {row["metric"] for row in lost} >= {"rocauc", "rmse"}
    ratios = [row for row in rows if row.get("peer") == "PyTorch bfloat16"]
    assert {(row["batch"], row["own"]) for row in ratios} == {
        (batch, f"bundle {precision}")
        for batch in (1, 32, 256)
        for precision in ("float32", "int8")
    }
    bulk = [row for row in rows if "bulk" in row and "times" in row]
    assert {row["from"] for row in bulk} == {"arrays", "smiles"}
    assert {row["run"] for row in rows} == {"run"}
