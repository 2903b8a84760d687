"""What selection buys and costs: adapters kept, their parameters, and the freeze gap of each rule.

Shapes: T tasks, K adapters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from graphadapt.errors import ConfigError
from graphadapt.freeze import FrozenModel, Selection
from graphadapt.model import READOUT
from graphadapt.progress import Progress
from graphadapt.report.freeze_gap import FreezeGap, freeze_run, measure_gap
from graphadapt.report.table import Cell, format_table
from graphadapt.run import Run

__all__ = [
    "TradeOff",
    "ladder",
    "rule_name",
    "sweep_selections",
    "task_gap_table",
    "trade_off_table",
]

_MASSES = (0.5, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """One rule of selection, and what came of it."""

    rule: str
    """Such as ``top_m=3``; ``all`` keeps everything."""

    kept: float
    """Adapters kept at a site, a mean over sites and, at the readout, over tasks."""

    parameters: int
    """Numbers in the kept factors of the inner sites, which an adapter file holds."""

    readout_parameters: int
    """Numbers in the factors that any requested task keeps at the readout, for a package."""

    gap: FreezeGap
    latency: dict[str, float] = field(default_factory=dict)
    """Median milliseconds of a run by batch size, in the adapters form on one thread; empty where
    it was not measured."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"gap": self.gap.to_dict()}


def ladder(count: int) -> tuple[Selection, ...]:
    """Rules from one adapter to all of ``count``, by number and by mass.

    Example:
        >>> [rule.top_m for rule in ladder(5)][:4]
        [1, 2, 3, 4]
    """
    numbers = sorted({round(base * 2**power) for power in range(12) for base in (1, 1.5)})
    by_number = [Selection(top_m=number) for number in numbers if number < count]
    return (*by_number, *(Selection(mass=mass) for mass in _MASSES), Selection())


def rule_name(rule: Selection) -> str:
    """What a rule is called in tables, such as ``top_m=3``; ``all`` keeps everything."""
    given = {name: value for name, value in asdict(rule).items() if value is not None}
    return ", ".join(f"{name}={value}" for name, value in given.items()) or "all"


def sweep_selections(
    run: Run,
    *,
    tasks: Sequence[str] = (),
    composition_T: Tensor | None = None,
    rules: Sequence[Selection] = (),
    shown: bool = True,
) -> Iterator[tuple[TradeOff, FrozenModel]]:
    """Freeze the run by every rule, and measure each frozen network on validation.

    Args:
        run: trained, with adapters.
        tasks: requested task names; empty keeps all.
        composition_T: w; default is uniform over the requested.
        rules: of selection; default is :func:`ladder`.
        shown: whether progress is shown.

    Raises:
        ConfigError: if the run has no adapters, or lacks a task.
    """
    if run.model.routing is None:
        raise ConfigError("a run without adapters has none to select from; export it as it is")
    rules = rules or ladder(run.config.adapters.count)
    with Progress(len(rules), "selections", shown=shown) as progress:
        for rule in rules:
            frozen = freeze_run(run, tasks=tasks, composition_T=composition_T, selection=rule)
            found = TradeOff(
                rule=rule_name(rule),
                kept=_kept(frozen),
                parameters=sum(
                    each.down.numel() + each.up.numel() for each in frozen.corrections.values()
                ),
                readout_parameters=_readout_parameters(run, frozen),
                gap=measure_gap(run, frozen),
            )
            yield found, frozen
            progress.update(status=found.rule)


def trade_off_table(found: Sequence[TradeOff], *, markdown: bool = False) -> str:
    """One row a rule, gaps as means over tasks."""
    metrics = list(found[0].gap.soft) if found else []
    sizes = list(found[0].latency) if found else []
    rows: list[list[Cell]] = [
        [
            each.rule,
            round(each.kept, 2),
            each.parameters,
            each.readout_parameters,
            *(each.gap.gap[metric] for metric in metrics),
            *(each.latency.get(size) for size in sizes),
        ]
        for each in found
    ]
    gaps, times = [f"{metric} gap" for metric in metrics], [f"ms, batch {size}" for size in sizes]
    header = ["rule", "kept", "numbers inside", "at the readout", *gaps, *times]
    return format_table(header, rows, digits=4, markdown=markdown)


def task_gap_table(found: Sequence[TradeOff], metric: str, *, markdown: bool = False) -> str:
    """The gap of one metric: one row a task that has it, one column a rule."""
    tasks = [name for name, gaps in found[0].gap.tasks.items() if metric in gaps]
    rows: list[list[Cell]] = [
        [name, *(each.gap.tasks[name].get(metric) for each in found)] for name in tasks
    ]
    header = [f"{metric} gap", *(each.rule for each in found)]
    return format_table(header, rows, digits=4, markdown=markdown)


def _kept(frozen: FrozenModel) -> float:
    """Over inner sites, and over tasks at the readout as one site."""
    counts = []
    for adapters in frozen.kept.values():
        if isinstance(adapters, dict):
            counts.append(sum(map(len, adapters.values())) / len(adapters))
        else:
            counts.append(float(len(adapters)))
    return sum(counts) / len(counts)


def _readout_parameters(run: Run, frozen: FrozenModel) -> int:
    adapters = frozen.kept.get(READOUT)
    if not isinstance(adapters, dict):
        return 0
    bank = run.model.bank(READOUT)
    one = bank.rank * (bank.in_features + bank.out_features)
    return one * len({adapter for kept in adapters.values() for adapter in kept})
