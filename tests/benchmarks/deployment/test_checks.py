"""The export's figures are held against what was asked, and never more kindly than they are."""

import json

import pytest


@pytest.fixture
def found(tmp_path):
    """``found(name, rows)``: the sentence of every check of the section that reads the file."""
    from evidence.checks import Results
    from results_page import BENCHMARKS, Section

    def sentences(name, rows, *more, **document):
        (section,) = [each for each in BENCHMARKS if each.check.__name__ == name]
        results = []
        for number, part in enumerate((rows, *more)):
            path = tmp_path / f"{name}_{number}.json"
            path.write_text(json.dumps({"rows": part, **document}), "utf-8")
            results.append(Results.read(path))
        section = Section(section, results)
        return {check.asked: check for check in section.checks}, section.text()

    return sentences


def verdict(checks, words):
    (check,) = [check for asked, check in checks.items() if words in asked]
    return check.verdict


def pair(peer, times, batch, own="bundle", **more):
    quartiles = {"times": times, "times_low": times, "times_high": times}
    return {"batch": batch, "engine": "times faster", "peer": peer, "own": own, **quartiles, **more}


def timed(engine, batch, **more):
    return {
        "batch": batch,
        "engine": engine,
        "setting": "1 thread",
        "ms": 2.0,
        "best": True,
        **more,
    }


def speeds(model, eager, compiled):
    place = {"model": model, "from": "arrays"}
    rows = [timed(each, 1, **place) for each in ("PyTorch", "torch.compile", "bundle")]
    for batch in (1, 32):
        rows.append(pair("PyTorch", eager, batch, **place))
        rows.append(pair("torch.compile", compiled, batch, **place))
    proof = {"largest_error": 1e-6, "float32_error_of_pytorch": 2e-6, "repeats": 9, "threads": [1]}
    return [*rows, {"model": model, **proof}]


def test_one_slow_network_is_enough_to_miss_the_speed(found):
    checks, text = found("export_speed", speeds("gin", 3.1, 1.2), speeds("gcn", 2.0, 0.9))
    assert verdict(checks, "batch 1: at least 3 times") == "missed"
    assert verdict(checks, "batch 32: at least 2 times") == "reached"
    assert verdict(checks, "batch 256: at least 2 times") == "not yet measured"
    assert verdict(checks, "batch 1: ahead of torch.compile") == "missed"
    assert verdict(checks, "1e-5") == "reached"
    line = "| gin | 1 | arrays | 2 (1 thread) | 2 (1 thread) | 2 (1 thread) | 3.10 (3.10 to 3.10) "
    assert line in text


def test_rows_from_before_other_peers_are_of_eager_pytorch(found):
    row = pair("PyTorch", 3.5, 1, model="gin", **{"from": "arrays"})
    del row["peer"], row["own"]
    checks, _ = found("export_speed", [row])
    assert verdict(checks, "batch 1: at least 3 times") == "reached"
    assert verdict(checks, "batch 1: ahead of torch.compile") == "not yet measured"


def composed(times, parameters=4_600_000):
    rows = [{"parameters": parameters, "sites": 10, "count_times_rank": 128}]
    for peer, ratio in times.items():
        rows += [pair(peer, ratio, batch, own="merged") for batch in (1, 32, 256)]
    return rows


def test_a_composition_may_neither_cost_nor_gain_more_than_noise(found):
    live = {"live": 1.6, "adapters": 1.7, "PyTorch": 4.0}
    for bare, said in ((1.02, "reached"), (0.98, "reached"), (1.04, "missed"), (0.96, "missed")):
        checks, _ = found("composed_speed", composed({"bare": bare, **live}))
        assert verdict(checks, "batch 32: merged against the bare") == said
        assert verdict(checks, "batch 256: merged at least 1.5") == "reached"


def test_the_fastest_live_form_decides_and_the_model_must_fit(found):
    live = {"live": 1.4, "adapters": 1.7, "PyTorch": 4.0}
    checks, _ = found("composed_speed", composed(live))
    assert verdict(checks, "batch 1: merged at least 1.5") == "missed"
    assert verdict(checks, "batch 1: merged against the bare") == "not yet measured"
    large = composed({**live, "live": 2.0}, parameters=4_900_000)
    assert verdict(found("composed_speed", large)[0], "batch 1: merged at least") == "missed"


@pytest.mark.parametrize(("slow", "said"), [(0.4, "reached"), (1.2, "missed")])
def test_switching_is_judged_by_its_slow_calls(found, slow, said):
    row = {"switching": "3", "n": 9, "ms": 1.0, "extra_p50_ms": 0.01, "extra_p95_ms": slow}
    checks, _ = found("composed_speed", [row])
    assert verdict(checks, "switching") == said


def test_either_bundle_may_be_ahead_of_bfloat16_and_the_loss_is_stated(found):
    rows = [{"part": "valid", "metric": "rocauc", "float32": 0.8, "int8": 0.79, "loss": 0.01}]
    rows += [pair("PyTorch bfloat16", 0.9, 1, own="bundle float32")]
    rows += [pair("PyTorch bfloat16", 1.1, 1, own="bundle int8")]
    rows += [pair("PyTorch bfloat16", 0.9, 32, own="bundle int8")]
    bulk = pair("bundle float32", 1.6, None, own="bundle int8", bulk=2000, **{"from": "arrays"})
    checks, text = found("precision_speed", [*rows, bulk])
    assert verdict(checks, "batch 1: a bundle") == "reached"
    assert verdict(checks, "batch 32: a bundle") == "missed"
    assert verdict(checks, "batch 256: a bundle") == "not yet measured"
    assert verdict(checks, "in bulk, int8") == "reached"
    assert "int8 loses +0.0100 of rocauc on valid" in text


@pytest.mark.parametrize(("lost", "said"), [(0.29, "reached"), (-0.5, "reached"), (0.31, "missed")])
def test_half_of_the_adapters_is_judged_on_test(found, lost, said):
    row = {"run": "a", "part": "test", "metric": "rmse", "frozen": 0.7, "package_bytes": 800}
    row |= {"count": 12, "kept": 5.5}
    rows = [
        {**row, "rule": "all", "half": False, "points_lost": 0.0, "file_bytes": 4000},
        {**row, "rule": "top_m=6", "half": True, "points_lost": lost, "file_bytes": 2000},
        {**row, "part": "valid", "rule": "top_m=6", "points_lost": 9.0},
    ]
    checks, text = found("selection_cost", rows)
    assert verdict(checks, "half of the adapters") == said
    assert "of rmse with 5.5 of 12" in text
    assert "adapter file 4,000 to 2,000 bytes" in text


FORMS = [("merged", "fp32"), ("merged", "fp16"), ("merged", "int8")]
FORMS += [("padded", "fp32"), ("padded", "fp16"), ("adapters", "fp32")]


def counted(calls, wrong=0, forms=FORMS):
    size = {"network": "gin", "size": "small", "calls": calls, "wrong": wrong}
    return [{**size, "form": form, "precision": precision} for form, precision in forms]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (counted(2000), "reached"),
        (counted(1000), "not yet measured"),
        (counted(9000, forms=FORMS[:5]), "not yet measured"),
        (counted(2000, wrong=1), "missed"),
        ([], "not yet measured"),
    ],
    ids=["all forms", "too few", "a form is missing", "wrong answers", "nothing"],
)
def test_ten_thousand_calls_of_all_forms_without_one_wrong(found, rows, said):
    checks, _ = found("parity_runs", rows)
    assert verdict(checks, "0 wrong") == said
    assert any("twice the file's own error when written" in asked for asked in checks)


def answered(batch, precision, copies, **figures):
    row = {"provider": "CUDAExecutionProvider", "form": "padded", "precision": precision}
    size = {"batch": batch, "molecules": 1 if batch == 1 else 16_384, "copies": copies}
    right = {"error": 1e-6, "allowed": 1e-5, "holds": True}
    return {**row, **size, **right, "median_s": 1e-3, "per_second": 1e3, **figures}


ANSWERED = [
    answered(1, "fp32", "there and back", median_s=2.9e-4),
    answered(1, "fp32", "none", median_s=1e-4),
    answered(1, "fp16", "there and back", median_s=3.1e-4),
    answered(512, "fp32", "there and back", per_second=9e6),
    answered(512, "fp16", "there and back", per_second=8e5, error=2e-2, allowed=5e-2),
    answered(512, "fp16", "none", per_second=1.1e6),
]


def test_what_no_gpu_answered_is_unmeasured(found):
    on_cpu = [{**row, "provider": "CPUExecutionProvider"} for row in ANSWERED]
    bare = [{**row, "form": "merged"} for row in ANSWERED]
    skipped = [{"provider": "CUDAExecutionProvider", "skipped": "no bundle was given"}]
    for rows, gpus in ((ANSWERED, []), (on_cpu, ["H200"]), (bare, ["H200"]), (skipped, ["H200"])):
        checks, _ = found("gpu_answers", rows, machine={"gpus": gpus})
        assert {check.verdict for check in checks.values()} == {"not yet measured"}


def test_a_gpu_answers_from_arrays_of_the_host_with_their_copies(found):
    checks, _ = found("gpu_answers", ANSWERED, machine={"gpus": ["H200"]})
    (one,) = [check for asked, check in checks.items() if "p50" in asked]
    assert (one.verdict, one.found) == (
        "reached",
        "0.290 ms, fp32, copies included; 0.100 ms without",
    )
    (many,) = [check for asked, check in checks.items() if "in bulk" in asked]
    assert (many.verdict, many.found) == (
        "missed",
        "800,000, copies included; 1,100,000 without",
    )
    assert verdict(checks, "1e-5") == verdict(checks, "its bundle states") == "reached"


def test_answers_of_a_gpu_that_are_off_count_for_nothing(found):
    wrong = [{**row, "error": 0.1, "holds": False} for row in ANSWERED[:1]]
    checks, _ = found("gpu_answers", [*wrong, *ANSWERED[2:]], machine={"gpus": ["H200"]})
    assert verdict(checks, "1e-5") == "missed"
    (one,) = [check for asked, check in checks.items() if "p50" in asked]
    assert (one.verdict, one.found) == ("missed", "0.310 ms, fp16, copies included")
