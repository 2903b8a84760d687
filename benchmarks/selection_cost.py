"""What does a composition lose that keeps half of the adapters, and how many bytes does it save?

    python benchmarks/selection_cost.py RUN
    python benchmarks/selection_cost.py RUN --small

RUN is a trained run with adapters whose data is at hand. Every rule of a sweep (``graphadapt export
--sweep``) is measured on validation, with its latency in the adapters form where there are adapters
inside the network. Of the rules that keep at most half of the adapters, a mean over sites, the one
that loses least on validation is then measured once on the test cells, against the same
composition, all tasks alike, with all of them.

Losses are in points: a hundredth of an area under a curve or of an average precision; of an RMSE, a
hundredth of the labels' unit. Bytes are those of the adapter files, and of the readout's factors
that a package would hold, four to a number.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence.results import save_results
from evidence.tables import markdown_table
from graphadapt.export.adapter_bundle import write_adapter_bundle
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.sweep import sweep_run
from graphadapt.freeze import FrozenModel, Selection
from graphadapt.objective.metrics import higher_is_better
from graphadapt.report.freeze_gap import freeze_run, measure_gap
from graphadapt.report.trade_off import TradeOff, ladder, rule_name
from graphadapt.run import Run

ALL = "all"
NUMBER_BYTES = 4

MASSES = (0.85, 0.88, 0.91, 0.92, 0.93, 0.94)
"""Between those of a sweep."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a trained run with adapters")
    parser.add_argument("--small", action="store_true", help="two rules only")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/selection_cost.json")
    )
    options = parser.parse_args()
    run = Run.open(options.run)
    count = run.config.adapters.count
    if count < 2:
        parser.error(f"{options.run} has {count} adapter at each site; half needs 2 or more")
    by_half = Selection(top_m=max(1, count // 2))
    between = [Selection(mass=mass) for mass in MASSES]
    wanted = [Selection()] if options.small else [*ladder(count), *between]
    rules = tuple(dict.fromkeys((by_half, *wanted)))
    found = sweep_run(run, rules=rules, shown=not options.small)
    rows = [*rule_rows(found), *half_rows(run, found, rules[best_half(found, count)])]
    rows = [{"run": run.folder.resolve().name, **row} for row in rows]
    print(markdown_table(rows))
    save_results(options.output, rows, seeds=[run.config.trainer.seed])


def best_half(found: Sequence[TradeOff], count: int) -> int:
    """Position of the rule that keeps at most half and loses least of the first metric."""
    (everything,) = [each for each in found if each.rule == ALL]
    first = next(iter(everything.gap.frozen))
    lost = {
        position: points_lost(everything.gap.frozen, each.gap.frozen)[first]
        for position, each in enumerate(found)
        if each.kept <= count / 2 and each.rule != ALL
    }
    return min(lost, key=lambda position: lost[position])


def points_lost(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By metric, above 0 is worse."""
    return {
        metric: 100 * (value - after[metric]) * (1 if higher_is_better(metric) else -1)
        for metric, value in before.items()
    }


def rule_rows(found: Sequence[TradeOff]) -> Iterator[dict[str, Any]]:
    """A row for every rule and metric on validation."""
    (everything,) = [each for each in found if each.rule == ALL]
    for each in found:
        lost = points_lost(everything.gap.frozen, each.gap.frozen)
        for metric, points in lost.items():
            yield {
                "part": "valid",
                "rule": each.rule,
                "kept": each.kept,
                "metric": metric,
                "frozen": each.gap.frozen[metric],
                "points_lost": points,
                "package_bytes": NUMBER_BYTES * each.readout_parameters,
                **{f"ms, batch {size}": value for size, value in each.latency.items()},
            }


def half_rows(run: Run, found: Sequence[TradeOff], half: Selection) -> Iterator[dict[str, Any]]:
    """The half and all adapters on the test cells, with the bytes of both."""
    frozen = {ALL: freeze_run(run), rule_name(half): freeze_run(run, selection=half)}
    scores = {name: measure_gap(run, each, "test").frozen for name, each in frozen.items()}
    sizes = file_sizes(run, frozen) if run.model.sites else {}
    package = {each.rule: NUMBER_BYTES * each.readout_parameters for each in found}
    kept = {each.rule: each.kept for each in found}
    for name, score in scores.items():
        for metric, points in points_lost(scores[ALL], score).items():
            yield {
                "part": "test",
                "rule": name,
                "count": run.config.adapters.count,
                "kept": kept[name],
                "half": name != ALL,
                "metric": metric,
                "frozen": score[metric],
                "points_lost": points,
                "file_bytes": sizes.get(name),
                "package_bytes": package[name],
            }


def file_sizes(run: Run, frozen: Mapping[str, FrozenModel]) -> dict[str, int]:
    """Bytes of each adapter file of a bundle that is proven right."""
    with tempfile.TemporaryDirectory() as place:
        contract = write_adapter_bundle(
            frozen,
            Path(place) / "bundle",
            feature_blocks=run.inputs.blocks,
            plan=ParityPlan(repeats=2),
        )
    return {name: contract.files[each.file].size for name, each in contract.compositions.items()}


if __name__ == "__main__":
    main()
