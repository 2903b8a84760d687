"""Figures of the export held against what was asked: speed, cost of a composition, parity."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from evidence.checks import Check, Results, every_row, spread

__all__ = ["composed_speed", "export_speed", "parity_runs", "precision_speed", "selection_cost"]

FASTER = {1: 3.0, 32: 2.0, 256: 2.0}
"""How many times faster than PyTorch a bundle is to be, by batch size."""

AS_BARE = 0.03
"""How far from 1.00 a merged composition's time may be from the bare network's."""

LIVE = 1.5
"""How many times faster than all adapters live a merged composition is to be."""

FEWEST_RANKS, MOST_PARAMETERS = 128, 4_800_000
"""Of the composed model that this is asked of."""

SWITCH_MS = 1.0
POINTS = 0.3
"""Most that half of the adapters may lose, in hundredths."""

INT8_BULK = 1.5
CALLS = 10_000
FORMS = {"merged": ("fp32", "fp16", "int8"), "padded": ("fp32", "fp16"), "adapters": ("fp32",)}
"""Every form in every precision it is made in."""

Row = Mapping[str, Any]


def export_speed(results: Sequence[Results]) -> list[Check]:
    """From arrays that each engine takes: the networks themselves."""
    rows = every_row(results)
    found = []
    for batch, least in FASTER.items():
        asked = f"batch {batch}: at least {least:g} times as fast as PyTorch eager float32 on a CPU"
        found.append(every_ratio(asked, list(ratios(rows, "PyTorch", batch)), least))
    for batch in FASTER:
        asked = f"batch {batch}: ahead of torch.compile on a CPU"
        found.append(every_ratio(asked, list(ratios(rows, "torch.compile", batch)), 1.0))
    asked = "every answer within 1e-5 of the output's scale"
    errors = [row["largest_error"] for row in rows if "largest_error" in row]
    if not errors:
        return [*found, Check(asked)]
    return [*found, Check(asked, f"{max(errors):.1e} at most", max(errors) <= 1e-5)]


def ratios(rows: Sequence[Row], peer: str, batch: int) -> Iterator[Row]:
    """Of one peer at one batch size, where arrays are ready."""
    for row in rows:
        place = row.get("peer", "PyTorch"), row.get("batch"), row.get("from", "arrays")
        if "times" in row and place == (peer, batch, "arrays"):
            yield row


def every_ratio(
    asked: str, found: Sequence[Row], least: float, *, says: Callable[[Row], str] | None = None
) -> Check:
    """Reached if all of them are."""
    if not found:
        return Check(asked)
    name = says or (lambda row: f"{row['model']} ")
    text = ", ".join(f"{name(row)}{spread(row, 'times')}" for row in found)
    return Check(asked, text, all(row["times"] >= least for row in found))


def precision_speed(results: Sequence[Results]) -> list[Check]:
    """The better of both bundles beside bfloat16; eight bits beside float32 in bulk."""
    rows = every_row(results)
    lost = losses(rows)
    found = []
    for batch in FASTER:
        asked = f"batch {batch}: a bundle, float32 or int8, ahead of PyTorch eager bfloat16"
        pairs = list(ratios(rows, "PyTorch bfloat16", batch))
        if not pairs:
            found.append(Check(asked))
            continue
        best = max(pairs, key=lambda row: row["times"])
        each = ", ".join(f"{row['own']} {spread(row, 'times')}" for row in pairs)
        found.append(Check(asked, f"{each}; {lost}", best["times"] > 1))
    asked = f"in bulk, int8 at least {INT8_BULK:g} times as fast as float32, its loss stated"
    pairs = [row for row in rows if "times" in row and "bulk" in row]
    if not pairs:
        return [*found, Check(asked)]
    text = ", ".join(f"from {row['from']} {spread(row, 'times')}" for row in pairs)
    (ready,) = [row for row in pairs if row["from"] == "arrays"]
    return [*found, Check(asked, f"{text}; {lost}", ready["times"] >= INT8_BULK)]


def losses(rows: Sequence[Row]) -> str:
    """What int8 loses of every metric, as a sentence."""
    said = [
        f"{row['loss']:+.4f} of {row['metric']} on {row['part']}" for row in rows if "loss" in row
    ]
    return f"int8 loses {', '.join(said)}"


def composed_speed(results: Sequence[Results]) -> list[Check]:
    rows = every_row(results)
    found = []
    for batch in FASTER:
        asked = f"batch {batch}: merged against the bare network 1.00 ± {AS_BARE:g}"
        pairs = list(ratios(rows, "bare", batch))
        if pairs:
            near = all(abs(row["times"] - 1) <= AS_BARE for row in pairs)
            found.append(Check(asked, ", ".join(spread(row, "times") for row in pairs), near))
        else:
            found.append(Check(asked))
    return [*found, *(beside_live(rows, batch) for batch in FASTER), switching(rows)]


def beside_live(rows: Sequence[Row], batch: int) -> Check:
    """Against every form in which all adapters are live; the fastest decides."""
    asked = (
        f"batch {batch}: merged at least {LIVE:g} times as fast as with all adapters live, "
        f"K R >= {FEWEST_RANKS}, at most {MOST_PARAMETERS / 1e6:.2f} M parameters"
    )
    pairs = [row for peer in ("live", "adapters", "PyTorch") for row in ratios(rows, peer, batch)]
    sizes = [row for row in rows if "count_times_rank" in row]
    if not pairs or not sizes:
        return Check(asked)
    fits = all(
        row["parameters"] <= MOST_PARAMETERS and row["count_times_rank"] >= FEWEST_RANKS
        for row in sizes
    )
    check = every_ratio(asked, pairs, LIVE, says=lambda row: f"{row['peer']} ")
    size = f"K R = {sizes[0]['count_times_rank']}, {sizes[0]['parameters'] / 1e6:.2f} M"
    return check._replace(found=f"{check.found}; {size}", reached=check.reached and fits)


def switching(rows: Sequence[Row]) -> Check:
    asked = f"switching a composition in the adapters form at most {SWITCH_MS:g} ms, no reload"
    found = [row for row in rows if "extra_p95_ms" in row]
    if not found:
        return Check(asked)
    row = found[0]
    text = f"{row['extra_p50_ms']:.3f} ms extra at p50, {row['extra_p95_ms']:.3f} ms at p95"
    return Check(asked, f"{text}, of {row['n']} switches", row["extra_p95_ms"] <= SWITCH_MS)


def selection_cost(results: Sequence[Results]) -> list[Check]:
    """On the test cells, every mean metric."""
    asked = f"at most half of the adapters: at most {POINTS:g} points lost on test, bytes stated"
    rows = [row for row in every_row(results) if row.get("part") == "test"]
    half = [row for row in rows if row["half"]]
    if not half:
        return [Check(asked)]
    lost = ", ".join(
        f"{row['run']} {row['points_lost']:+.2f} of {row['metric']} with {row['kept']:.1f} of "
        f"{row['count']}"
        for row in half
    )
    size = f"{named_bytes(rows, 'file_bytes')}; {named_bytes(rows, 'package_bytes')}"
    return [Check(asked, f"{lost}; {size}", all(row["points_lost"] <= POINTS for row in half))]


def named_bytes(rows: Sequence[Row], column: str) -> str:
    """Of all adapters and of half of them."""
    sizes = [next(row[column] for row in rows if row["half"] is half) for half in (False, True)]
    name = {"file_bytes": "adapter file", "package_bytes": "readout's factors"}[column]
    if sizes[0] is None:
        return f"no {name}"
    return f"{name} {sizes[0]:,} to {sizes[1]:,} bytes"


def parity_runs(results: Sequence[Results]) -> list[Check]:
    """All forms in all of their precisions, none of them refused."""
    asked = (
        f"0 wrong in at least {CALLS:,} calls of all forms over batch sizes and threads; fp16 and "
        "int8 are wrong beyond twice the file's own error when written"
    )
    rows = every_row(results)
    made = {(row["form"], row["precision"]) for row in rows if row["calls"]}
    wanted = {(form, precision) for form, several in FORMS.items() for precision in several}
    calls, wrong = (sum(row[name] for row in rows) for name in ("calls", "wrong"))
    if wrong:
        return [Check(asked, f"{wrong} wrong in {calls:,}", False)]
    if calls < CALLS or wanted - made:
        return [Check(asked, f"0 wrong in {calls:,} so far" if rows else "-")]
    refused = sum("refused" in row for row in rows)
    note = f"; {refused} of {len(rows)} files were refused when written" if refused else ""
    return [Check(asked, f"0 wrong in {calls:,}{note}", True)]
