"""What pretraining is worth, held against what was asked of it."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from results_checks import (
    GRAPH_ONLY,
    SEEDS,
    WITH_COUNTS,
    Check,
    Results,
    below,
    every_row,
    means,
    reading,
)

from graphadapt.data.bundled import BUNDLED

__all__ = ["pretrained_quickstart", "pretraining"]

ENOUGH_SECONDS = 600


NETWORKS = ("gin-virtual-node", "neural-fingerprint")


def pretraining(results: Sequence[Results]) -> list[Check]:
    """Adapters alone learn, on the same networks from their two starts."""
    rows = [r for r in every_row(results) if (r["set"], r["way"]) == (BUNDLED, "adapters")]
    return [_beside_random(rows, name) for name in NETWORKS]


def _beside_random(rows: Sequence[Mapping[str, Any]], name: str) -> Check:
    asked = (
        f"MoleculeACE, adapters on {name}, frozen: mean test RMSE of {SEEDS} seeds from the "
        "pretrained weights below that from random ones"
    )
    ours, random = (_scores(rows, f"{start} {name}") for start in ("ours", "random"))
    if min(len(ours), len(random)) < SEEDS:
        text = f"{len(ours)} and {len(random)} seeds so far" if ours or random else "-"
        return Check(asked, text)
    mean, other = statistics.mean(ours), statistics.mean(random)
    return Check(asked, f"{mean:.4f} against {other:.4f}", mean < other)


def pretrained_quickstart(results: Sequence[Results]) -> list[Check]:
    """What the pretrained network is to reach in the time that quickstart has."""
    found = []
    for kind, limit in ((WITH_COUNTS, 0.660), (GRAPH_ONLY, 0.742)):
        asked = (
            f"pretrained, in at most {ENOUGH_SECONDS} s: mean test RMSE below {limit:.3f}, {kind}"
        )
        own = (result for result in results if reading(result) == kind)
        rows = [row for row in every_row(own) if row.get("start")]
        in_time = [row for row in rows if row["seconds"] <= ENOUGH_SECONDS]
        if rows and not in_time:
            found.append(Check(asked, f"{rows[0]['seconds']:.0f} s", False))
        else:
            found.append(below(asked, [means(row)["rmse"] for row in in_time], limit))
    return found


def _scores(rows: Sequence[Mapping[str, Any]], start: str) -> list[float]:
    return [row["test"]["rmse"] for row in rows if row["start"] == start]
