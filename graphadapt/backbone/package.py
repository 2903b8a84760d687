"""Backbone weights as a file of their own, and the card beside it that says what they are.

::

    NAME.safetensors   matrices in float16, vectors in float32
    NAME.json          the card: architecture, data, objectives, figures, licence, sha256
"""

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from graphadapt.config import BackboneConfig
from graphadapt.errors import CheckpointError
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION

__all__ = [
    "CARD_FORMAT",
    "architecture",
    "bundled_weights",
    "card_path",
    "check_architecture",
    "check_card",
    "file_digest",
    "read_card",
]

CARD_FORMAT: Final = 1
"""What :func:`read_card` reads."""

_BOTH = ("kind", "layers", "width")
_OWN = {"neural-fingerprint": ("fingerprint_width", "embedding_width")}
_OTHERS = ("pooling", "jumping_knowledge")


def architecture(config: BackboneConfig) -> dict[str, Any]:
    """The settings that weights depend on, by name."""
    names = (*_BOTH, *_OWN.get(config.kind, _OTHERS))
    return {name: getattr(config, name) for name in names}


def bundled_weights() -> dict[str, Path]:
    """Weights that come with the package, by the name that ``backbone.weights`` calls them."""
    folder = resources.files("graphadapt.backbone") / "pretrained"
    place = Path(str(folder))
    return {path.stem: path for path in sorted(place.glob("*.safetensors"))}


def card_path(weights: Path) -> Path:
    """Where the card of these weights lies."""
    return weights.with_suffix(".json")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_card(weights: Path) -> dict[str, Any]:
    """The card beside a file of weights.

    Raises:
        CheckpointError: if there is none, it cannot be read, or it is not this file's.
    """
    path = card_path(weights)
    try:
        card: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found, digest = card["format"], card["weights"]["sha256"]
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{weights} has no card {path.name} beside it; copy both files together"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no card of backbone weights: {error}") from error
    if found != CARD_FORMAT:
        raise CheckpointError(f"{path} has format {found!r}; this program reads {CARD_FORMAT}")
    if digest != file_digest(weights):
        raise CheckpointError(
            f"{weights} is not the file that {path.name} describes: its sha256 differs; copy both "
            "files again"
        )
    return card


def check_card(card: dict[str, Any], weights: Path, config: BackboneConfig) -> None:
    """Refuse weights of another network or another featurisation.

    Raises:
        CheckpointError: naming the settings that would fit.
    """
    version = card.get("featurisation_version")
    if version != FEATURISATION_VERSION:
        raise CheckpointError(
            f"{weights} was trained on featurisation version {version}, this program makes "
            f"version {FEATURISATION_VERSION}; pretrain again"
        )
    check_architecture(card.get("backbone", {}), weights, config)


def check_architecture(held: Mapping[str, Any], weights: object, config: BackboneConfig) -> None:
    """Refuse weights of a network that other settings describe.

    Args:
        held: what the weights were trained as, of :func:`architecture`.
        weights: where they are from, for the error.
        config: what they are wanted for.

    Raises:
        CheckpointError: naming the settings that would fit.
    """
    different = {
        name: value for name, value in held.items() if getattr(config, name, None) != value
    }
    if different:
        asked = ", ".join(f"{name}={getattr(config, name, None)!r}" for name in different)
        fitting = ", ".join(f"backbone.{name}={value!r}" for name, value in different.items())
        random = "" if config.train == "frozen" else ", or backbone.weights='' to start at random"
        raise CheckpointError(
            f"{weights} does not hold a backbone of {asked}; set {fitting}{random}"
        )
