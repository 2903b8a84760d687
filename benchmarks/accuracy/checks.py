"""Figures of trained models held against what was asked: quickstart, presets, published bases."""

import statistics
from collections.abc import Sequence

from evidence.checks import SEEDS, Check, Results, below, by_key, every_row, means
from ogb_base import PUBLISHED, TRAINER
from prior_ablation import variants

__all__ = [
    "ENOUGH_SECONDS",
    "GRAPH_ONLY",
    "PUBLISHED_DEEP",
    "WITH_COUNTS",
    "moleculeace",
    "ogb_base",
    "prior_ablation",
    "quickstart",
    "reading",
]

WITH_COUNTS, GRAPH_ONLY = "graphs and count fingerprints", "graphs alone"

PUBLISHED_DEEP = 0.742
"""Mean test RMSE of the best published deep model, which graphs alone are to stay below."""

ENOUGH_SECONDS = 600
"""What quickstart may take."""


def reading(result: Results) -> str:
    """What a quickstart reads of a molecule, by the name of its file or its command."""
    marks = f"{result.name} {result.document.get('command', '')}".replace("-", "_")
    return GRAPH_ONLY if "graph_only" in marks else WITH_COUNTS


def quickstart(results: Sequence[Results]) -> list[Check]:
    rows = every_row(results)
    found = []
    for kind, limit in ((WITH_COUNTS, 0.700), (GRAPH_ONLY, 0.800)):
        scores = [means(row)["rmse"] for row in every_row(r for r in results if reading(r) == kind)]
        found.append(below(f"mean test RMSE below {limit:.3f} with {kind}", scores, limit))
    asked = f"at most {ENOUGH_SECONDS} s on 2 CPU cores"
    longest = max((row["seconds"] for row in rows), default=None)
    if longest is None:
        return [*found, Check(asked)]
    return [*found, Check(asked, f"{longest:.0f} s", longest <= ENOUGH_SECONDS)]


def moleculeace(results: Sequence[Results]) -> list[Check]:
    rows = every_row(results)
    scores = by_key(rows, "run", lambda row: means(row)["rmse"])
    asked = "mean test RMSE below 0.667 with fingerprints"
    found = [below(asked, scores["full"], 0.667)]
    peer = "below the plain fingerprint network run beside it"
    if scores["full"] and scores["fingerprint"]:
        limit = statistics.mean(scores["fingerprint"])
        check = below(peer, scores["full"], limit)
        found.append(check._replace(found=f"{check.found} against {limit:.4f}"))
    else:
        found.append(Check(peer))
    alone = f"mean test RMSE below {PUBLISHED_DEEP} with {GRAPH_ONLY}"
    frozen = f"{alone}, adapters on it frozen"
    found.append(below(alone, scores["graph"], PUBLISHED_DEEP))
    found.append(below(frozen, scores["full, graph only"], PUBLISHED_DEEP))
    asked = "every run under 90 minutes"
    longest = max((row["seconds"] / 60 for row in rows), default=None)
    if longest is None:
        return [*found, Check(asked)]
    return [*found, Check(asked, f"{longest:.0f} minutes at most", longest < 90)]


def prior_ablation(results: Sequence[Results]) -> list[Check]:
    """Whatever the tables say; but all of the table, over enough seeds."""
    asked = f"a table with intervals over at least {SEEDS} seeds, whatever it says"
    wanted = variants(mixed_sampler=False)
    fewest = 0
    for result in results:
        seeds = by_key(result.rows, "variant", lambda row: row["seed"])
        fewest = max(fewest, min(len(set(seeds[name])) for name in wanted))
    if not results or fewest < SEEDS:
        return [Check(asked, f"{fewest} seeds of every variant so far" if results else "-")]
    return [Check(asked, f"{fewest} seeds of every variant", True)]


def ogb_base(results: Sequence[Results]) -> list[Check]:
    own = [row for row in every_row(results) if row["trainer"] == TRAINER]
    scores = by_key(own, "set", lambda row: 100 * means(row)["rocauc"])
    found = []
    for name, (mean, deviation) in PUBLISHED.items():
        asked = f"{name}: mean test ROC-AUC of {SEEDS} seeds within {mean} ± {deviation} % or above"
        auc = scores[name]
        if len(auc) < SEEDS:
            found.append(Check(asked, f"{len(auc)} seeds so far" if auc else "-"))
            continue
        ours = statistics.mean(auc)
        text = f"{ours:.2f} ± {statistics.stdev(auc):.2f} %"
        if ours > mean + deviation:
            text += ", above the band"
        found.append(Check(asked, text, ours >= mean - deviation))
    return found
