"""What a file of backbone weights is, by its card."""

from pathlib import Path
from typing import Any

from graphadapt.backbone.package import bundled_weights, card_path, read_card
from graphadapt.errors import CheckpointError
from graphadapt.report.summary import Summary
from graphadapt.report.table import Cell, format_table

__all__ = ["inspect_weights"]


def inspect_weights(target: str) -> Summary:
    """Network, data, objectives and held-out figures of packaged weights.

    Args:
        target: the file, or the name of weights that come with graphadapt.

    Raises:
        CheckpointError: if the file has no card, another file's, or one that lacks a section.
    """
    path = Path(target)
    if not path.is_file():
        path = bundled_weights()[target]
    try:
        return _summary(target, path, read_card(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{card_path(path)} is no whole card: {error}; `graphadapt pretrain --package` writes "
            "whole ones"
        ) from error


def _summary(target: str, path: Path, card: dict[str, Any]) -> Summary:
    objectives: list[list[Cell]] = [
        [name, found["weight"], found["what"]] for name, found in card["objectives"].items()
    ]
    figures: list[list[Cell]] = [[name, value] for name, value in card["figures"].items()]
    return Summary(
        "weights",
        {"file": str(path), **card},
        (
            (target, _headline(card)),
            ("data", _data(card)),
            ("objectives", format_table(["objective", "weight", "what"], objectives)),
            ("figures on held-out molecules", format_table(["figure", "value"], figures, digits=4)),
            ("values of features that were never trained", _never_trained(card)),
        ),
    )


def _headline(card: dict[str, Any]) -> str:
    network = ", ".join(f"{name} {value}" for name, value in card["backbone"].items())
    held = card["weights"]
    return (
        f"{network}\n{held['parameters']:,} parameters, {held['bytes'] / 1e6:.1f} MB, "
        f"{held['precision']}\nlicence {card['licence']}\nsha256 {held['sha256']}"
    )


def _data(card: dict[str, Any]) -> str:
    rows: list[list[Cell]] = [
        [
            store["name"],
            store["trained_on"],
            store["held_out"],
            ", ".join(source["name"] for source in store["sources"]),
        ]
        for store in card["data"]["stores"]
    ]
    return format_table(["store", "trained on", "held out", "from"], rows)


def _never_trained(card: dict[str, Any]) -> str:
    lines = [
        f"{part}, {feature}: {', '.join(map(str, values))}"
        for part, features in card["vocabulary"]["never_trained"].items()
        for feature, values in features.items()
    ]
    return "\n".join(lines)
