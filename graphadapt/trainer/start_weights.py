"""Where a backbone's first weights may come from, and how they are found there.

``backbone.weights`` names a run folder of either kind, one of its checkpoints, a backbone package
(a file with its card), or a package that comes with graphadapt. Of a run with adapters inside its
network, what is found here is the network without them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graphadapt.backbone.checkpoints import load_backbone
from graphadapt.backbone.package import (
    architecture,
    bundled_weights,
    check_architecture,
    check_card,
    read_card,
)
from graphadapt.config import BackboneConfig
from graphadapt.errors import CheckpointError
from graphadapt.trainer.checkpoint import load_tensors
from graphadapt.trainer.run_folder import FINE_TUNING, SETTINGS, checkpoint_path, read_table

__all__ = ["PACKAGE_MARK", "model_tensors", "start_backbone", "whole_weights_path"]

PACKAGE_MARK = "backbone_package"
"""Key in the header of a file that holds a backbone alone."""


def start_backbone(backbone: nn.Module, config: BackboneConfig) -> None:
    """Give a backbone the weights that ``config.weights`` names.

    Args:
        backbone: as ``config`` describes it.
        config: with ``weights`` set.

    Raises:
        CheckpointError: if nothing is there, or it is not of this kind and size.
    """
    path, settings = _weights_file(config.weights)
    tensors, state = load_tensors(path)
    if PACKAGE_MARK in state:
        check_card(read_card(path), path, config)
        load_backbone(backbone, tensors, path)
        return
    _check_is_of_settings(path.parent)
    if settings is None and (path.parent / SETTINGS).is_file():
        settings = read_table(path.parent, SETTINGS, FINE_TUNING)
    if settings is not None:
        check_architecture(_trained_architecture(settings, path.parent), path, config)
    own = {
        name.removeprefix("backbone."): tensor
        for name, tensor in _one_group(tensors).items()
        if name.startswith("backbone.")
    }
    load_backbone(backbone, own, path)


def whole_weights_path(weights: str) -> str:
    """An absolute path, so that a run opens from anywhere; names of bundled weights stay names.

    A folder of such a name is written ``./NAME``.
    """
    if not weights or weights in bundled_weights():
        return weights
    return str(Path(weights).resolve())


def model_tensors(path: Path) -> dict[str, Tensor]:
    """A model's tensors out of either checkpoint; averaged ones where a run averages."""
    return _one_group(load_tensors(path)[0])


def _one_group(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for group in ("average/", "model/"):
        held = {k.removeprefix(group): v for k, v in tensors.items() if k.startswith(group)}
        if held:
            return held
    return tensors


def _weights_file(weights: str) -> tuple[Path, dict[str, Any] | None]:
    """Where they lie; of a run's folder, also the settings that say which of its checkpoints."""
    source, bundled = Path(weights), bundled_weights()
    if weights in bundled:
        return bundled[weights], None
    if source.is_dir():
        settings = read_table(source, SETTINGS, FINE_TUNING)
        return checkpoint_path(source, _kept(settings, source)), settings
    if source.exists():
        return source, None
    known = ", ".join(bundled) or "none"
    raise CheckpointError(
        f"backbone.weights={weights!r} is no file, no run folder, and none of the weights that "
        f"come with graphadapt ({known})"
    )


def _check_is_of_settings(folder: Path) -> None:
    """Refuse the run of a network that its settings do not describe."""
    if not (folder / FINE_TUNING.inputs).is_file():
        return
    own = read_table(folder, FINE_TUNING.inputs, FINE_TUNING).get("own_backbone")
    if own:
        raise CheckpointError(
            f"{folder} was trained with a backbone of your own, {own}, whose weights fit no other; "
            "open that run and give its model's backbone to Run.create as own_backbone"
        )


def _trained_architecture(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the run in a folder trained."""
    try:
        held = settings["backbone"]
        return {name: held[name] for name in architecture(BackboneConfig(kind=held["kind"]))}
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is damaged, or no run folder: its {SETTINGS} does not describe a backbone"
        ) from error


def _kept(settings: Mapping[str, Any], folder: Path) -> str:
    """Which checkpoint a run of either kind keeps."""
    try:
        kept: str = settings["trainer"]["keep"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is damaged, or no run folder: its {SETTINGS} does not say trainer.keep"
        ) from error
    return kept
