"""Where a backbone's first weights may come from, and how they are found there.

``backbone.weights`` names a run folder of either kind, one of its checkpoints, a backbone package
(a file with its card), or a package that comes with graphadapt. Of a run with adapters inside its
network, what is found here is the network without them.
"""

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
    path = _weights_file(config.weights)
    tensors, state = load_tensors(path)
    if PACKAGE_MARK in state:
        check_card(read_card(path), path, config)
        load_backbone(backbone, tensors, path)
        return
    trained = _architecture_of(path.parent)
    if trained is not None:
        check_architecture(trained, path, config)
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


def _weights_file(weights: str) -> Path:
    source, bundled = Path(weights), bundled_weights()
    if weights in bundled:
        return bundled[weights]
    if source.is_dir():
        return checkpoint_path(source, _kept(source))
    if source.exists():
        return source
    known = ", ".join(bundled) or "none"
    raise CheckpointError(
        f"backbone.weights={weights!r} is no file, no run folder, and none of the weights that "
        f"come with graphadapt ({known})"
    )


def _architecture_of(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder trained; None where there is no run."""
    if not (folder / SETTINGS).is_file():
        return None
    try:
        held = read_table(folder, SETTINGS, FINE_TUNING)["backbone"]
        return {name: held[name] for name in architecture(BackboneConfig(kind=held["kind"]))}
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is damaged, or no run folder: its {SETTINGS} does not describe a backbone"
        ) from error


def _kept(folder: Path) -> str:
    """Which checkpoint a run of either kind keeps."""
    try:
        kept: str = read_table(folder, SETTINGS, FINE_TUNING)["trainer"]["keep"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is damaged, or no run folder: its {SETTINGS} does not say trainer.keep"
        ) from error
    return kept
