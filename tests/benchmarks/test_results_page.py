"""The page of results: never apart from the results, and never kinder than they are."""

import json

import pytest


@pytest.fixture
def page(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / "benchmarks")
    from results_page import page

    return page


@pytest.fixture
def save(tmp_path):
    def write(name, rows, **more):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": rows, **more}), "utf-8")
        return tmp_path

    return write


def verdicts(text):
    """What was asked, to its verdict, from the table that opens the page."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {row[1]: row[3] for row in rows if len(row) == 4 and row[3] not in ("verdict", "---")}


def verdict(text, words):
    (found,) = [said for asked, said in verdicts(text).items() if words in asked]
    return found


def trained(key, name, seed, **mean):
    tasks = {f"t{t}": {metric: value + 0.1 * t for metric, value in mean.items()} for t in range(3)}
    return {key: name, "seed": seed, "seconds": 60.0, "test": {"mean": mean, "tasks": tasks}}


def test_the_committed_page_is_that_of_the_committed_results(page, repository):
    committed = (repository / "benchmarks" / "RESULTS.md").read_text("utf-8")
    assert page(repository / "benchmarks" / "results") == committed, (
        "run `python benchmarks/results_page.py`"
    )


def test_without_results_nothing_is_measured_and_every_command_is_told(page, tmp_path):
    text = page(tmp_path)
    assert len(verdicts(text)) == 15
    assert set(verdicts(text).values()) == {"not yet measured"}
    scripts = (
        "quickstart",
        "moleculeace",
        "prior_ablation",
        "ogb_base",
        "export_speed",
        "featurise_speed",
    )
    for script in scripts:
        assert f"`python benchmarks/{script}.py" in text


@pytest.mark.parametrize(("score", "said"), [(0.6, "reached"), (0.667, "missed")])
def test_moleculeace_is_held_against_the_target_and_the_peer(page, save, score, said):
    runs = {"full": score, "fingerprint": 0.66}
    rows = [trained("run", run, 0, rmse=rmse, cliff_rmse=0.8) for run, rmse in runs.items()]
    text = page(save("moleculeace", rows, date="2030-01-02", seeds=[0]))
    assert verdict(text, "below 0.667") == said
    assert verdict(text, "beside it") == said
    assert verdict(text, "below 0.742") == "not yet measured"
    assert verdict(text, "90 minutes") == "reached"
    assert f"| full | {score} |" in text
    assert "- date: 2030-01-02\n- seeds: 0\n" in text


@pytest.mark.parametrize(("auc", "said"), [(0.771, "reached"), (0.769, "missed")])
def test_the_base_needs_three_seeds_and_the_published_band(page, save, auc, said):
    rows = [trained("set", "ogbg_moltox21", seed, rocauc=auc) for seed in range(2)]
    text = page(save("ogb_base", rows))
    assert verdict(text, "tox21") == "not yet measured"
    assert "2 seeds so far" in text
    rows.append(trained("set", "ogbg_moltox21", 2, rocauc=auc))
    text = page(save("ogb_base", rows))
    assert verdict(text, "tox21") == said
    assert verdict(text, "toxcast") == "not yet measured"


def test_the_ablation_is_reached_by_a_whole_table_whatever_it_says(page, save):
    names = ["plain heads", *(f"adapters, {r}" for r in ("identity", "uniform", "shuffled"))]
    rows = [trained("variant", name, seed, rmse=0.7) for name in names for seed in range(3)]
    assert verdict(page(save("prior_ablation", rows)), "intervals") == "not yet measured"
    rows += [trained("variant", "adapters, labels", seed, rmse=0.9) for seed in range(3)]
    text = page(save("prior_ablation", rows))
    assert verdict(text, "intervals") == "reached"
    assert "+0.2000 (+0.2000 to +0.2000)" in text


def test_one_slow_network_is_enough_to_miss_the_speed(page, save):
    def rows(model, times):
        found = []
        for batch in (1, 32):
            place = {"model": model, "batch": batch, "from": "arrays"}
            for engine in ("PyTorch", "bundle"):
                setting = {"engine": engine, "setting": "1 threads", "ms": 2.0, "best": True}
                found.append({**place, **setting})
            faster = {"times": times, "times_low": times, "times_high": times}
            found.append({**place, "engine": "times faster", **faster})
        proof = {"largest_error": 1e-6, "float32_error_of_pytorch": 2e-6}
        return [*found, {"model": model, **proof, "repeats": 9, "threads": [1]}]

    save("export_speed_gin", rows("gin", 3.0))
    text = page(save("export_speed_gcn", rows("gcn", 2.0)))
    assert verdict(text, "batch 1:") == "missed"
    assert verdict(text, "batch 32:") == "reached"
    assert verdict(text, "1e-5") == "reached"
    assert "### `export_speed_gcn`" in text
    assert "| gin | 1 | arrays | 2 (1 threads) | 2 (1 threads) | 3.00 (3.00 to 3.00) |" in text


def test_quickstart_may_be_its_bare_figures(page, tmp_path):
    comparison = [{"batch": 1, "speedup": 2.0, "largest_error": 1e-6}]
    for name, rmse, seconds in (("quickstart", 0.68, 400.0), ("quickstart_graph_only", 0.81, 700)):
        test = {"rmse": rmse, "cliff_rmse": 0.9}
        figures = {"seconds": seconds, "test": test, "comparison": comparison}
        (tmp_path / f"{name}.json").write_text(json.dumps(figures), "utf-8")
    text = page(tmp_path)
    assert verdict(text, "below 0.700") == "reached"
    assert verdict(text, "below 0.800") == "missed"
    assert verdict(text, "600 s") == "missed"
    assert "not recorded" in text


def test_results_that_no_section_reads_stop_the_page(page, save):
    with pytest.raises(SystemExit, match=r"reads mystery\.json"):
        page(save("mystery", []))
