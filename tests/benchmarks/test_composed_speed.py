import json


def test_small_mode_times_every_form_of_one_composition_and_a_switch(run_benchmark, tmp_path):
    output = tmp_path / "speed.json"
    run_benchmark("composed_speed", "--small", "--output", output)
    size, *rows, switching = json.loads(output.read_text("utf-8"))["rows"]
    assert (size["sites"], size["count_times_rank"]) == (4, 8)
    ratios = [row for row in rows if row["engine"] == "times faster"]
    peers = {"bare", "adapters", "live", "PyTorch"}
    assert {(row["batch"], row["peer"]) for row in ratios} == {
        (batch, peer) for batch in (1, 32, 256) for peer in peers
    }
    for row in ratios:
        assert row["own"] == "merged"
        # every form but the network without adapters gives the merged file's answers
        assert (row["off"] < 1e-4) == (row["peer"] != "bare")
    assert switching["n"] == 6
    assert switching["extra_p50_ms"] <= switching["extra_p95_ms"]
