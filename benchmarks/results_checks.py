"""Each benchmark's figures held against what was asked of them.

``results_page.py`` prints what these functions return. A figure that is not there, or rests on
fewer seeds than were asked for, is not yet measured; it is never taken as reached or missed.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ogb_base import PUBLISHED, TRAINER
from prior_ablation import variants
from train_adapters import ALL_SITES, READOUT, TOP, TOP_TWO
from train_peers import BEST, FLOAT32, LIBRARIES, REDUCED

WITH_COUNTS, GRAPH_ONLY = "graphs and count fingerprints", "graphs alone"
BESIDE_PEERS = {FLOAT32: 1.0, BEST: 1.0, REDUCED: 1.5}
"""How many times as fast as either library full fine-tuning is to be, by what is held together."""

BESIDE_ALL = {ALL_SITES: 1.1, TOP_TWO: 3.0, TOP: 6.0, READOUT: 50.0}
"""How many times faster than full fine-tuning a step is to be, by what moves."""

PREPARED = 0.5
"""Share of RDKit's parse rate that preparation is to reach."""

LARGEST, LINEAR = 437_929, 0.1
"""Molecules up to which growth is looked at, and how far from a straight line it may be."""

SEEDS = 3
UNMEASURED = "not yet measured"


class Results(NamedTuple):
    """One file of results."""

    name: str
    rows: list[dict[str, Any]]
    document: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read what ``save_results`` wrote, or the bare figures of one row."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(path.stem, document.get("rows", [document]), document)


class Check(NamedTuple):
    """One figure that was asked for."""

    asked: str
    found: str = "-"
    reached: bool | None = None
    """None before it is measured."""

    @property
    def verdict(self) -> str:
        return {None: UNMEASURED, True: "reached", False: "missed"}[self.reached]

    @property
    def row(self) -> dict[str, str]:
        """Columns of the table that opens the page."""
        return {"asked": self.asked, "found": self.found, "verdict": self.verdict}

    @property
    def sentence(self) -> str:
        found = "" if self.found == "-" else f", found {self.found}"
        return f"Asked: {self.asked}{found}. **{self.verdict.capitalize()}.**"


def spread(row: Mapping[str, Any], name: str) -> str:
    """A ratio with its quartiles over blocks."""
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def reading(result: Results) -> str:
    """What a quickstart reads of a molecule, by the name of its file or its command."""
    marks = f"{result.name} {result.document.get('command', '')}".replace("-", "_")
    return GRAPH_ONLY if "graph_only" in marks else WITH_COUNTS


def means(row: Mapping[str, Any]) -> Mapping[str, float]:
    """Mean test scores of a row, with or without those of every task beside them."""
    return row["test"].get("mean", row["test"])


def below(asked: str, values: Sequence[float], limit: float) -> Check:
    """Whether a mean over seeds lies below a limit."""
    if not values:
        return Check(asked)
    mean = statistics.mean(values)
    seeds = f" (mean of {len(values)} seeds)" if len(values) > 1 else ""
    return Check(asked, f"{mean:.4f}{seeds}", mean < limit)


def quickstart(results: Sequence[Results]) -> list[Check]:
    rows = every_row(results)
    found = []
    for kind, limit in ((WITH_COUNTS, 0.700), (GRAPH_ONLY, 0.800)):
        scores = [means(row)["rmse"] for row in every_row(r for r in results if reading(r) == kind)]
        found.append(below(f"mean test RMSE below {limit:.3f} with {kind}", scores, limit))
    asked = "at most 600 s on 2 CPU cores"
    longest = max((row["seconds"] for row in rows), default=None)
    if longest is None:
        return [*found, Check(asked)]
    return [*found, Check(asked, f"{longest:.0f} s", longest <= 600)]


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
    alone = "mean test RMSE below 0.742 with graphs alone"
    found.append(below(alone, scores["graph"], 0.742))
    found.append(below(f"{alone}, adapters on it frozen", scores["full, graph only"], 0.742))
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
        asked = f"{name}: mean test ROC-AUC of {SEEDS} seeds within {mean} ± {deviation} %"
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


def featurise_speed(results: Sequence[Results]) -> list[Check]:
    """The pooled sample decides; the table shows each set."""
    rows = every_row(results)
    speed = "at least 1.8 times faster than smiles2graph on one core, sets pooled"
    same = "the same arrays as the witness on every molecule of four sets"
    pooled = [row for row in rows if row.get("way") == "graphadapt" and row["set"] == "pooled"]
    found = [Check(speed)]
    if pooled:
        row = pooled[0]
        text = f"{spread(row, 'times_smiles2graph')}; {slowest_set(rows)}"
        found = [Check(speed, text, row["times_smiles2graph"] >= 1.8)]
    checked = [row for row in rows if "different" in row]
    if len(checked) < 4:
        return [*found, Check(same)]
    different = sum(row["different"] for row in checked)
    total = sum(row["molecules"] for row in checked)
    return [*found, Check(same, f"{different} of {total:,} differ", different == 0)]


def slowest_set(rows: Sequence[Mapping[str, Any]]) -> str:
    """The set that gains least, whichever side of the asked figure it is on."""
    timed = [row for row in rows if row.get("way") == "graphadapt"]
    least = min(timed, key=lambda row: row["times_smiles2graph"])
    return f"least for {least['set']}: {spread(least, 'times_smiles2graph')}"


def train_speed(results: Sequence[Results]) -> list[Check]:
    rows = every_row(results)
    beside_peers = [beside_libraries(rows, case, least) for case, least in BESIDE_PEERS.items()]
    beside_all = [beside_everything(rows, moves, least) for moves, least in BESIDE_ALL.items()]
    return [*beside_peers, *beside_all, growth(rows)]


def beside_libraries(rows: Sequence[Mapping[str, Any]], case: str, least: float) -> Check:
    """At batch 256, against every way in which either library was trained."""
    asked = (
        f"full fine-tuning on a CPU at batch 256, {case}: at least {least} times as fast as "
        + " and as ".join(LIBRARIES)
    )
    own = [row for row in rows if row.get("case") == case and row["batch"] == 256]
    text = ", ".join(f"{row['peer']} {row['peer_setting']} {spread(row, 'times')}" for row in own)
    if {row["peer"] for row in own} != set(LIBRARIES):
        return Check(asked, text or "-")
    return Check(asked, text, all(row["times"] >= least for row in own))


def beside_everything(rows: Sequence[Mapping[str, Any]], moves: str, least: float) -> Check:
    """In every precision that was measured, each beside full fine-tuning in the same."""
    asked = f"{moves}: a step at least {least} times faster than one of full fine-tuning"
    own = [row for row in rows if row.get("moves") == moves]
    if not own:
        return Check(asked)
    text = ", ".join(f"{row['precision']} {spread(row, 'times')}" for row in own)
    return Check(asked, text, all(row["times"] >= least for row in own))


def growth(rows: Sequence[Mapping[str, Any]]) -> Check:
    asked = (
        "time of an epoch, reckoned from some of its steps, and memory on a straight line up to "
        f"{LARGEST:,} molecules, within {LINEAR:.0%}"
    )
    lines = [row for row in rows if "line" in row and row["largest"] >= LARGEST]
    if not lines:
        return Check(asked)
    names = {"epoch_s": "time", "peak_mb": "memory"}
    text = ", ".join(f"{names[row['line']]} within {row['furthest']:.1%}" for row in lines)
    return Check(asked, text, all(row["furthest"] <= LINEAR for row in lines))


def prepare_speed(results: Sequence[Results]) -> list[Check]:
    """The worst set decides about the rate, the larger distance about the lines."""
    rows = every_row(results)
    rate = f"preparation at least {PREPARED:.0%} of RDKit's bare parse rate, one core each, any set"
    linear = f"time and memory of preparing linear up to {LARGEST:,} molecules, within {LINEAR:.0%}"
    same = "a preparation that was killed goes on, and ends in the same bytes"
    shares = {
        row["set"]: row["share_of_parse_rate"] for row in rows if row.get("way") == "published set"
    }
    lines = [row["furthest"] for row in rows if "line" in row and row["largest"] >= LARGEST]
    killed = [row for row in rows if "same_bytes" in row and 0 < row["kept"] < row["molecules"]]
    found = [Check(rate), Check(linear), Check(same)]
    if "pooled" in shares:
        text = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        found[0] = Check(rate, text, min(shares.values()) >= PREPARED)
    if lines:
        found[1] = Check(linear, f"within {max(lines):.1%}", max(lines) <= LINEAR)
    if killed:
        row = killed[0]
        text = f"killed at {row['kept']:,} of {row['molecules']:,}"
        found[2] = Check(same, text, row["same_bytes"])
    return found


def every_row(results: Iterable[Results]) -> list[dict[str, Any]]:
    return [row for result in results for row in result.rows]


def by_key(
    rows: Iterable[Mapping[str, Any]], key: str, value: Callable[[Mapping[str, Any]], Any]
) -> dict[str, list[Any]]:
    """Values of all rows with the same key; an empty list where there is none."""
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(value(row))
    return found
