"""From a pretraining run to a file that holds the backbone alone, with a card beside it.

Shapes: G molecules, F width of the graph embedding.
"""

import json
import math
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch import Tensor, nn

from graphadapt.backbone.package import CARD_FORMAT, architecture, card_path, file_digest
from graphadapt.errors import CheckpointError
from graphadapt.freeze import fresh_norms
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION
from graphadapt.pretraining.card import data_section, objectives_section, settings_section
from graphadapt.pretraining.coverage import TrainedRows
from graphadapt.pretraining.learner import Pretraining
from graphadapt.pretraining.run import PretrainRun
from graphadapt.trainer.checkpoint import load_state, save_tensors, write_text
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.run_folder import LAST, read_metrics
from graphadapt.trainer.start_weights import PACKAGE_MARK

__all__ = ["check_place", "write_package"]

NORM_STEPS: Final = 256
"""Training steps that the norms' statistics are taken from."""


def write_package(
    run: PretrainRun, path: Path, *, licence: str = "", overwrite: bool = False
) -> dict[str, Any]:
    """Write a run's backbone and its card, both or neither, and return the card.

    The chosen checkpoint's weights are changed in three ways, and the card's figures are of the
    result: rows of the atom and bond tables that were never trained become zero, running statistics
    of batch norms are averaged over many steps, where training keeps the last few, and matrices are
    rounded to float16. Vectors stay float32: variances of summed states leave float16's range.

    The steps hide parts of molecules as training does. On whole molecules alone, columns that tell
    what is hidden would hardly vary, and be blown up wherever they stir.

    Args:
        run: trained to its end.
        path: the weights' file, ``.safetensors``; the card gets the same name with ``.json``.
        licence: of the weights; by default that of all the data together.
        overwrite: whether files that are there may be replaced.

    Raises:
        CheckpointError: if the run is not finished or has come to nothing, or a file is in the way.
        OSError: naming the file that the system would not write.
    """
    check_place(path, overwrite=overwrite)
    if not run.is_finished:
        raise CheckpointError(
            f"{run.folder} is not trained to its end; go on with "
            f"`graphadapt pretrain --resume -o {shlex.quote(str(run.folder))}`"
        )
    steps = _steps(run)
    drawn = run.sampler().drawn(steps)
    stores = [part.store for part in run.corpus.parts]
    trained = TrainedRows(zip(stores, drawn, strict=True), hides=run.model.hides)
    backbone = run.learner().model.backbone
    trained.zero_others(backbone)
    _settle_norms(run.learner())
    moved = _round(run, backbone)
    figures = run.evaluate()
    if not math.isfinite(figures.score):
        raise CheckpointError(
            f"the weights of {run.folder} answer nothing that is a number; train it again with a "
            "lower trainer.learning_rate"
        )
    data = data_section(run, drawn)
    card = {
        "format": CARD_FORMAT,
        "backbone": architecture(run.config.backbone),
        "featurisation_version": FEATURISATION_VERSION,
        "licence": licence or data["licence"],
        "data": data,
        "objectives": objectives_section(run),
        "training": {**settings_section(run), "steps": steps},
        "figures": {"held_out_score": figures.score, **figures.mean},
        "vocabulary": trained.to_dict(),
        "rounding": moved,
    }
    return _write_both(path, backbone, card, overwrite=overwrite)


def check_place(path: Path, *, overwrite: bool = False) -> None:
    """Refuse to write a package over files, or where none can be, before anything is computed.

    Raises:
        CheckpointError: saying what is in the way.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} must end in .safetensors; its card takes the ending .json")
    for place in (path, card_path(path)):
        if place.is_dir():
            raise CheckpointError(f"{place} is a folder; choose another name for the package")
        if place.exists() and not overwrite:
            raise CheckpointError(f"{place} exists already; choose another place or use --force")


def _write_both(
    path: Path, backbone: nn.Module, card: dict[str, Any], *, overwrite: bool
) -> dict[str, Any]:
    """Write weights and card beside their places, then move both; returns the whole card."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _errors_name(path):
        beside = TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent)
    with beside as folder:
        fresh = Path(folder) / path.name
        with _errors_name(path):
            save_tensors(fresh, _stored(backbone), {PACKAGE_MARK: card["backbone"]})
        whole = {**card, "weights": _weights_section(fresh, backbone)}
        with _errors_name(card_path(path)):
            write_text(card_path(fresh), json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        check_place(path, overwrite=overwrite)  # training and scoring may have taken hours
        with ExitStack() as undo:
            if not path.exists():
                undo.callback(path.unlink, missing_ok=True)
            for new, place in ((fresh, path), (card_path(fresh), card_path(path))):
                with _errors_name(place):
                    new.replace(place)
            undo.pop_all()
    return whole


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """What the system says of a file elsewhere, or of none, is said of the one that was meant."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _steps(run: PretrainRun) -> int:
    """Steps behind the chosen weights."""
    state = load_state(run.folder / LAST)
    if run.config.trainer.keep == "last":
        return int(state["step"])
    by_epoch = {record["epoch"]: record["step"] for record in read_metrics(run.folder)}
    return int(by_epoch.get(state["best_epoch"], state["step"]))


@torch.no_grad()
def _settle_norms(learner: Pretraining) -> None:
    """Running statistics of the steps of an epoch, or of its first many."""
    with torch.random.fork_rng(), fresh_norms(learner.model.backbone) as norms:
        torch.manual_seed(0)
        for step in range(min(NORM_STEPS, learner.steps_per_epoch)) if norms else ():
            learner.loss(step, Workers())


@torch.no_grad()
def _round(run: PretrainRun, backbone: nn.Module) -> dict[str, float]:
    """Round as the file will be; says how far that moves embeddings of whole molecules."""
    held_out = [rows[:1000] for rows in run.corpus.held_out]
    batch = run.corpus.gather(held_out).batch
    backbone.eval()
    before_GF = backbone(batch).double()
    backbone.load_state_dict(_stored(backbone))
    moved_GF = backbone(batch).double() - before_GF
    spread = before_GF.std(dim=0).mean().clamp(min=1e-12)
    return {
        "largest": float(moved_GF.abs().max() / spread),
        "root_mean_square": float(moved_GF.square().mean().sqrt() / spread),
    }


def _stored(backbone: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as they are written."""
    return {
        name: tensor.half() if tensor.is_floating_point() and tensor.ndim >= 2 else tensor
        for name, tensor in backbone.state_dict().items()
    }


def _weights_section(path: Path, backbone: nn.Module) -> dict[str, Any]:
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": file_digest(path),
        "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
        "precision": "float16 matrices, float32 vectors",
    }
