"""Several compositions of one model as one backbone file and one adapter file each.

Shapes: D width, F output width, Q rank, G graphs, P probe molecules, T columns of answers.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphadapt.adapters.sites import find_sites
from graphadapt.errors import BundleError, ConfigError
from graphadapt.export.adapter_files import run_options, written_adapters
from graphadapt.export.bundle import BundleNotes, check_features, put_together, trace
from graphadapt.export.bundle_folder import check_target
from graphadapt.export.collate import inputs_for
from graphadapt.export.contract import MODEL_FILE, PROBES_FILE, BundleContract
from graphadapt.export.contract_parts import Applicability, Calibration, Composition
from graphadapt.export.network import PlainModel
from graphadapt.export.onnx_file import leave_open
from graphadapt.export.parity import prove_parity
from graphadapt.export.parity_record import Parity
from graphadapt.export.probes import Probes
from graphadapt.export.repeated_runs import Ask, ParityPlan, Truth, opener, share_off
from graphadapt.export.restate import OpenMaps, restate
from graphadapt.export.witness import Witness
from graphadapt.freeze import FrozenModel
from graphadapt.molecules.features import FeatureBlock

__all__ = ["ALIKE", "OpenModel", "OwnAnswers", "open_model", "write_adapter_bundle"]

ALIKE: Final = (
    "the model has no adapters inside its backbone, so every composition answers alike; export the "
    "merged form"
)
"""Why there is nothing to switch."""

_FORM: Final = "adapters"

Arrays = Mapping[str, NDArray[np.float32]]


class OwnAnswers(NamedTuple):
    """What one composition answers by already, beside its weights."""

    calibration: Mapping[str, Calibration] = MappingProxyType({})
    """By task."""

    applicability: Applicability = Applicability()


class OpenModel(NamedTuple):
    """One file for all compositions, and what each fills it with."""

    model: bytes
    plain: PlainModel
    adapters: Mapping[str, Arrays]
    """By composition: the value of every weight that is left open, by its name."""


class _Proven(NamedTuple):
    """One composition's file, and how right it is."""

    file: str
    content: bytes
    parity: Parity
    truth: Truth
    merged_error: float


def write_adapter_bundle(
    compositions: Mapping[str, FrozenModel],
    folder: str | Path,
    *,
    feature_blocks: Sequence[FeatureBlock] = (),
    notes: BundleNotes | None = None,
    own: Mapping[str, OwnAnswers] = MappingProxyType({}),
    plan: ParityPlan | None = None,
    shown: bool = False,
) -> BundleContract:
    """Export several compositions, prove each equal to its frozen network and write the bundle.

    Args:
        compositions: the same model and tasks, frozen for each; the first is the bundle's own.
        folder: where the bundle goes; a bundle there is replaced once the new one is complete.
        feature_blocks: molecule-level features that the model reads.
        notes: for the record.
        own: for the record of each composition, by its name.
        plan: how thoroughly each composition is compared with its network.
        shown: whether progress is shown.

    Raises:
        BundleError: if ``folder`` holds something else, or an answer is not right, beside the
            frozen network or beside the merged form.
        ConfigError: if there is nothing to switch, or the model cannot be exported.
    """
    folder, notes, first = Path(folder), notes or BundleNotes(), next(iter(compositions.values()))
    check_target(folder)
    check_features(first, feature_blocks)
    probes = Probes(feature_blocks)
    opened = open_model(compositions, probes)
    with written_adapters(opened.adapters) as paths:
        proven = {
            name: _proven(name, frozen, opened, paths[name], probes, plan, shown=shown)
            for name, frozen in compositions.items()
        }
    parts = {
        name: _composition(frozen, opened.adapters[name], proven[name], own.get(name))
        for name, frozen in compositions.items()
    }
    truths = {name: each.truth.answers for name, each in proven.items()}
    return put_together(
        folder,
        {
            MODEL_FILE: opened.model,
            PROBES_FILE: Witness.of(probes, truths).to_bytes(),
            **{each.file: each.content for each in proven.values()},
        },
        first,
        opened.plain,
        notes,
        feature_blocks=tuple(feature_blocks),
        form=_FORM,
        compositions=parts,
        parity=max((each.parity for each in proven.values()), key=lambda each: each.largest_error),
    )


def open_model(compositions: Mapping[str, FrozenModel], probes: Probes) -> OpenModel:
    """Trace the network once, and leave open what differs between compositions.

    That is the factors at every site and, where norms were settled for each composition, their
    scales and biases; where each has its own calibration, heads and tables too; and what tells how
    typical a molecule is.

    Raises:
        ConfigError: if the model has no adapters inside its backbone.
    """
    first = next(iter(compositions.values()))
    if not first.corrections:
        raise ConfigError(ALIKE)
    moving = _norms_differ(list(compositions.values()))
    states = {
        name: _opened(frozen, norms_move=moving).state_dict()
        for name, frozen in compositions.items()
    }
    plain = _opened(first, norms_move=moving)
    names = [name for name in plain.state_dict() if _is_open(name, list(states.values()))]
    shapes = {name: _shape(name, states[next(iter(states))][name]) for name in names}
    _fill(plain, shapes)
    model = leave_open(trace(plain, first, probes, _FORM), shapes, plain)
    adapters = {name: {key: state[key].numpy() for key in names} for name, state in states.items()}
    return OpenModel(model, plain, adapters)


@torch.no_grad()
def _opened(frozen: FrozenModel, *, norms_move: bool) -> PlainModel:
    """The plain network of one composition, its corrections beside the weights."""
    base = copy.deepcopy(frozen).cpu().double()
    assert base.backbone is not None
    factors: dict[nn.Linear, tuple[Tensor, Tensor]] = {}
    for site, layer in find_sites(base.backbone, tuple(frozen.corrections)).items():
        correction = frozen.corrections[site]
        layer.weight.copy_(correction.weight)
        factors[layer] = (correction.down.cpu().double(), correction.up.cpu().double())
    return restate(base, maps=OpenMaps(factors, norms_move=norms_move))


def _norms_differ(models: Sequence[FrozenModel]) -> bool:
    first, *others = (
        {
            name: tensor
            for name, tensor in model.state_dict().items()
            if name.endswith(("running_mean", "running_var"))
        }
        for model in models
    )
    return any(not torch.equal(first[name], other[name]) for other in others for name in first)


def _is_open(name: str, states: Sequence[Mapping[str, Tensor]]) -> bool:
    if name.endswith((".down", ".up")):
        return True
    return any(not torch.equal(states[0][name], state[name]) for state in states[1:])


def _shape(name: str, tensor: Tensor) -> tuple[int | str, ...]:
    """The rank varies, and has a name of its own at every site."""
    site, _, part = name.rpartition(".")
    if part == "down":
        return tensor.shape[0], f"{site}.rank"
    return (f"{site}.rank", tensor.shape[1]) if part == "up" else tuple(tensor.shape)


@torch.no_grad()
def _fill(plain: PlainModel, shapes: Mapping[str, tuple[int | str, ...]]) -> None:
    """Put different numbers into all that is left open, so that the exporter merges none."""
    random = torch.Generator().manual_seed(0)
    for name, shape in shapes.items():
        owner, _, part = name.rpartition(".")
        lengths = [2 if isinstance(length, str) else length for length in shape]
        setattr(plain.get_submodule(owner), part, torch.randn(lengths, generator=random))


def _proven(
    name: str,
    frozen: FrozenModel,
    opened: OpenModel,
    path: Path,
    probes: Probes,
    plan: ParityPlan | None,
    *,
    shown: bool,
) -> _Proven:
    """Hold one composition's file to its network, and to the merged form."""
    open_file = opener(opened.model, opened.plain.outputs, partial(run_options, path))
    parity, truth = prove_parity(frozen, open_file, opened.plain.reads, probes, plan, shown=shown)
    merged_error = _merged_error(frozen, open_file(1), probes, truth)
    found = _Proven(path.name, path.read_bytes(), parity, truth, merged_error)
    if not found.merged_error <= parity.allowed:
        raise BundleError(
            f"composition {name!r} differs from its merged form by {found.merged_error:.2e} of the "
            f"answers' scale, more than {parity.bound}, so nothing was written; export the merged "
            "form"
        )
    return found


def _composition(
    frozen: FrozenModel, arrays: Arrays, proven: _Proven, own: OwnAnswers | None
) -> Composition:
    own = own or OwnAnswers()
    return Composition(
        file=proven.file,
        weights=frozen.composition,
        kept=frozen.kept,
        parameters=sum(array.size for array in arrays.values()),
        largest_error=proven.parity.largest_error,
        merged_error=proven.merged_error,
        calibration=dict(own.calibration),
        applicability=own.applicability,
    )


def _merged_error(frozen: FrozenModel, ask: Ask, probes: Probes, truth: Truth) -> float:
    """How far the file with its adapter is from the merged network, both in float32."""
    merged = restate(frozen)
    arrays = inputs_for(merged.reads, probes.molecules, probes.features)
    outputs = merged({name: torch.from_numpy(array) for name, array in arrays.items()})
    expected_GT = torch.cat([each.reshape(len(outputs[0]), -1) for each in outputs], dim=1)
    return share_off(ask(arrays), expected_GT.double().numpy(), truth.scale)
