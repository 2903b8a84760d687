import json


def test_small_mode_times_three_ways_and_finds_the_same_arrays(run_benchmark, tmp_path):
    output = tmp_path / "deep" / "speed.json"
    done = run_benchmark("featurise_speed", "--small", "--output", output)
    found = json.loads(output.read_text("utf-8"))
    timed, checked = found["rows"][:3], found["rows"][3:]
    assert [row["way"] for row in timed] == ["RDKit parse only", "ogb smiles2graph", "graphadapt"]
    assert all(row["per_second"] > 0 for row in timed)
    assert timed[1]["times_smiles2graph"] == timed[0]["share_of_parse_rate"] == 1
    assert checked == [
        {
            "set": "small",
            "molecules": 8,
            "identical to smiles2graph": 7,
            "identical where it raises": 1,
            "different": 0,
        }
    ]
    assert "| small | graphadapt |" in done.stdout
    assert "--small" in found["command"]
