"""What pretraining is worth, held against what was asked of it."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from accuracy.checks import ENOUGH_SECONDS, GRAPH_ONLY, PUBLISHED_DEEP, WITH_COUNTS, reading
from evidence.checks import SEEDS, Check, Results, below, every_row, means
from graphadapt.data.bundled import BUNDLED
from pretraining import SETS
from starts_of_quickstart import OTHER, PRETRAINED, RANDOM, RANDOM_MOVES
from transfer.case import ADAPTERS, PROBE
from transfer.table import settings_text

__all__ = ["pretrained_quickstart", "pretraining", "starts_of_quickstart"]

NETWORKS = ("gin-virtual-node", "neural-fingerprint")

STARTS = (
    f"random {NETWORKS[0]}",
    f"ours {NETWORKS[0]}",
    "pretrain-gnns gcn",
    "pretrain-gnns graphsage",
)
WAYS = (PROBE, ADAPTERS)

Row = Mapping[str, Any]


def pretraining(results: Sequence[Results]) -> list[Check]:
    """Adapters alone learn, on the same networks from their two starts; and all the evidence."""
    rows = every_row(results)
    adapted = [row for row in rows if (row["set"], row["way"]) == (BUNDLED, ADAPTERS)]
    return [*(_beside_random(adapted, name) for name in NETWORKS), _evidence(rows)]


def _beside_random(rows: Sequence[Row], name: str) -> Check:
    """In all settings in which enough seeds of both were measured, each by itself."""
    asked = (
        f"MoleculeACE, adapters on {name}, frozen: mean test RMSE of {SEEDS} seeds from the "
        "pretrained weights below that from random ones"
    )
    found, counts = [], []
    for how in dict.fromkeys(map(_settings, rows)):
        own = [row for row in rows if _settings(row) == how]
        ours, random = (_scores(own, f"{start} {name}") for start in ("ours", "random"))
        counts.append((min(len(ours), len(random)), len(ours), len(random)))
        if counts[-1][0] >= SEEDS:
            found.append((how, statistics.mean(ours), statistics.mean(random)))
    if found:
        texts = [f"{ours:.4f} against {random:.4f}{how}" for how, ours, random in found]
        return Check(asked, "; ".join(texts), all(ours < random for _, ours, random in found))
    _, ours_seeds, random_seeds = max(counts, default=(0, 0, 0))
    some = ours_seeds or random_seeds
    return Check(asked, f"{ours_seeds} and {random_seeds} seeds so far" if some else "-")


def _evidence(rows: Sequence[Row]) -> Check:
    """Whether everything that was to be compared is, whatever it says."""
    asked = (
        f"probe and adapters on {len(SETS)} sets, from random weights, ours and two published "
        f"networks: {SEEDS} seeds, or one where nothing is random; whatever they say"
    )
    cells = list(product(SETS, WAYS))
    full = sum(_starts_measured_alike(rows, *cell) for cell in cells)
    wanted = len(cells) * len(STARTS)
    text = f"{full} of {wanted} measured" if rows else "-"
    return Check(asked, text, True if full == wanted else None)


def _starts_measured_alike(rows: Sequence[Row], name: str, way: str) -> int:
    """Starts with enough seeds on a set, in the settings that most of them have."""
    seeds: dict[str, dict[str, set[int]]] = {}
    for row in rows:
        if (row["set"], row["way"]) == (name, way):
            by_start = seeds.setdefault(_settings(row), {})
            by_start.setdefault(row["start"], set()).add(row["seed"])
    counts = (
        sum(len(found.get(start, ())) >= _enough(start, name, way) for start in STARTS)
        for found in seeds.values()
    )
    return max(counts, default=0)


def _enough(start: str, name: str, way: str) -> int:
    """A probe of known weights is the same each time where validation is the set's own."""
    is_the_same = way == PROBE and not start.startswith("random") and name != BUNDLED
    return 1 if is_the_same else SEEDS


def pretrained_quickstart(results: Sequence[Results]) -> list[Check]:
    """What the pretrained network is to reach in the time that quickstart has."""
    found = []
    for kind, limit in ((WITH_COUNTS, 0.660), (GRAPH_ONLY, PUBLISHED_DEEP)):
        asked = (
            f"pretrained, in at most {ENOUGH_SECONDS} s: mean test RMSE below {limit:.3f}, {kind}"
        )
        own = (result for result in results if reading(result) == kind)
        rows = [row for row in every_row(own) if row.get("start")]
        longest = max((row["seconds"] for row in rows), default=0)
        if longest > ENOUGH_SECONDS:
            found.append(Check(asked, f"{longest:.0f} s", False))
        else:
            check = below(asked, [means(row)["rmse"] for row in rows], limit)
            networks = dict.fromkeys(f", from {row['start']}" for row in rows)
            found.append(check._replace(found=check.found + "".join(networks)))
    return found


def starts_of_quickstart(results: Sequence[Results]) -> list[Check]:
    """The same adapters from every start, over enough seeds."""
    rows = every_row(results)
    return [_gain(rows), _in_its_place(rows)]


def _gain(rows: Sequence[Row]) -> Check:
    asked = (
        f"quickstart's graph stage: mean test RMSE of {SEEDS} seeds from the pretrained network "
        "below those from random weights, frozen and not"
    )
    scores = [_scores(rows, start) for start in (PRETRAINED, RANDOM, RANDOM_MOVES)]
    if min(map(len, scores)) < SEEDS:
        return Check(asked)
    ours, *others = map(statistics.mean, scores)
    text = f"{ours:.4f} against " + " and ".join(f"{other:.4f}" for other in others)
    return Check(asked, text, all(ours < other for other in others))


def _in_its_place(rows: Sequence[Row]) -> Check:
    asked = (
        f"graph stage with {NETWORKS[0]} in the place of quickstart's network: mean test RMSE of "
        f"{SEEDS} seeds below {PUBLISHED_DEEP}"
    )
    scores = _scores(rows, OTHER)
    return Check(asked) if len(scores) < SEEDS else below(asked, scores, PUBLISHED_DEEP)


def _settings(row: Row) -> str:
    """All settings of a row, in brackets; empty where it has none."""
    held = row.get("settings", {})
    parts = [f"{held['epochs']} epochs"] if "epochs" in held else []
    parts += [settings_text(row)] if settings_text(row) else []
    return f" ({', '.join(parts)})" if parts else ""


def _scores(rows: Sequence[Row], start: str) -> list[float]:
    """One a seed."""
    scores = {row["seed"]: means(row)["rmse"] for row in rows if row["start"] == start}
    return list(scores.values())
