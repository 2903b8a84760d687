"""The GPU suite's figures are held against what was asked, and never more kindly than they are."""

import pytest

OURS, EXAMPLE = "graphadapt, adapters everywhere", "PyTorch Geometric, as OGB's example"
GPU = {"part": "setup", "device": "cuda", "batch": 512}
RATIO = {"times": 12.0, "times_low": 11.0, "times_high": 13.0}
EPOCH = {"molecules": 350_343, "sizes": "ogbg-molpcba", "epochs": 1, "epoch_s": 2.0}


@pytest.fixture
def check():
    """``check(rows, words)``: the one check whose sentence has the words."""
    from evidence.checks import Results
    from gpu.checks import gpu_suite

    def found(rows, words):
        (one,) = [
            each for each in gpu_suite([Results("gpu_suite", rows, {})]) if words in each.asked
        ]
        return one

    return found


def test_training_is_held_against_time_memory_and_the_closest_peer(check):
    rows = [
        GPU,
        {"epoch_of": OURS, **EPOCH, "reserved_gb": 9.0},
        {"epoch_of": EXAMPLE, **EPOCH, "molecules": 350_208, "epoch_s": 21.0},
        {"ours": OURS, **RATIO, "peer": EXAMPLE},
        {"ours": OURS, **RATIO, "peer": "PyTorch Geometric, tuned, float32"},
        {"ours": OURS, **RATIO, "peer": "PyTorch Geometric, tuned, bfloat16", "times": 2.0},
    ]
    assert check(rows, "at most 3 s").verdict == "reached"
    assert check(rows, "at most 8 GB").verdict == "missed"
    assert check(rows, "OGB's example").verdict == "reached"
    assert check(rows, "OGB's example").found == "10.5, 100% of its epoch timed"
    assert check(rows, "at its best").verdict == "missed"
    assert check(rows[:-1], "at its best").verdict == "not yet measured"
    slower = {"epoch_of": OURS, **EPOCH, "epoch_s": 3.1, "reserved_gb": 1.0}
    assert check([*rows, slower], "at most 3 s").verdict == "missed"
    assert check([*rows, slower], "OGB's example").verdict == "missed"


@pytest.mark.parametrize("other", [{"device": "cpu"}, {"batch": 8}])
def test_what_was_timed_elsewhere_or_at_other_sizes_counts_for_nothing(check, other):
    rows = [{**GPU, **other}, {"epoch_of": OURS, **EPOCH, "reserved_gb": 1.0}]
    assert check(rows, "at most 3 s").verdict == "not yet measured"


@pytest.mark.parametrize("other", [{"molecules": 9}, {"sizes": "moleculeace"}])
def test_an_epoch_of_other_molecules_counts_for_nothing(check, other):
    epoch = {"epoch_of": OURS, **EPOCH, "reserved_gb": 1.0}
    assert check([GPU, epoch], "at most 3 s").verdict == "reached"
    assert check([GPU, {**epoch, **other}], "at most 3 s").verdict == "not yet measured"


@pytest.mark.parametrize(("times", "said"), [(1.1, "reached"), (0.9, "missed")])
def test_capture_is_held_against_the_compiler_where_steps_were_replayed(check, times, said):
    captured, compiled = f"{OURS}, captured", f"{OURS}, compiled"
    beside = {"ours": captured, "peer": compiled, **RATIO, "times": times}
    both = {**beside, "peer": f"{compiled}, captured", "times": 2.0}
    replays = {"recorded_of": captured, "replays": 40}
    for rows in ([beside], [both, replays], [beside, {**replays, "replays": 0}]):
        assert check([GPU, *rows], "a captured step").verdict == "not yet measured"
    assert check([GPU, beside, both, replays], "a captured step").verdict == said


def test_kernels_count_when_all_of_them_were_held_against_the_reference(check):
    tensor, triton = (
        {"part": "kernels", "kernel": "sum", "kernels": by, "holds": True}
        for by in ("tensor", "triton")
    )
    replay = {"part": "replay", "replayed": "losses", "holds": True}
    failed = {"part": "kernels", "failed": "RuntimeError: out of luck"}
    for rows in ([tensor, triton], [tensor, replay], [tensor, triton, replay, failed]):
        assert check([GPU, *rows], "every kernel").verdict == "not yet measured"
    assert check([GPU, tensor, triton, replay], "every kernel").verdict == "reached"
    wrong = {**triton, "holds": False}
    assert check([GPU, tensor, wrong, replay], "every kernel").verdict == "missed"
