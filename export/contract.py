"""What a bundle promises: tasks, files, versions, figures. No torch.

A bundle is a folder::

    model.onnx          one file, without external data
    bundle.json         this contract
    probes.json         molecules, and what the model answers to them in float64
    *.onnx_adapter      one a composition, in the adapters form
    tuning.json         where it was tuned: settings of a machine, no part of the bundle

Answers are probabilities in [0, 1] for binary tasks (the sigmoid is in the graph, and so is the
calibration where one was fitted) and values in the task's own units for regression tasks. A second
output, ``applicability``, is there where ``outputs`` names it. ``export.contract_parts`` says what
the three forms are, ``export.arrays`` what goes in and comes out.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError, GraphAdaptError
from graphadapt.export.arrays import ANSWERS, ARRAYS, OUTPUTS
from graphadapt.export.contract_parts import (
    Applicability,
    Bucket,
    Calibration,
    Composition,
    Form,
    Precision,
)
from graphadapt.export.parity_record import Parity
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION
from graphadapt.typed_tables import build_table

__all__ = [
    "BUNDLE_FORMAT",
    "CONTRACT_FILE",
    "MODEL_FILE",
    "OPSET",
    "PROBES_FILE",
    "TUNING_FILE",
    "BundleContract",
    "FileInfo",
    "fingerprint",
    "is_bundle",
    "read_contract",
]

BUNDLE_FORMAT: Final = 2
"""Version of ``bundle.json``; a reader refuses every other one."""

KIND: Final = "graphadapt bundle"
"""How ``bundle.json`` says what it is."""

CONTRACT_FILE: Final = "bundle.json"
MODEL_FILE: Final = "model.onnx"
PROBES_FILE: Final = "probes.json"
TUNING_FILE: Final = "tuning.json"

OPSET: Final = 18
"""ONNX operator set of the model."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What tells a file from a damaged one."""

    size: int
    """Bytes."""

    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "FileInfo":
        """Describe the content of a file."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleContract:
    """Everything that is said about a bundle, and all that a server needs to know of it."""

    tasks: tuple[TaskInfo, ...]
    """In the order of the answers' columns."""

    composition: Mapping[str, float]
    """w, the weight of each task of the mix that was frozen; of the first of several."""

    form: Form = "merged"
    compositions: Mapping[str, Composition] = field(default_factory=dict)
    """The mixes of the adapters form by name; empty in the others."""

    buckets: tuple[Bucket, ...] = ()
    """Shapes of the padded form, the smallest first; empty in the others."""

    precision: Precision = field(default_factory=Precision)
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    """Of the binary tasks that have one, by name; in the adapters form compositions hold theirs."""

    applicability: Applicability = field(default_factory=Applicability)
    """Of the second output; in the adapters form compositions hold theirs."""

    parameters: int = 0
    """Numbers in ``model.onnx``, all weights and constants that are not whole."""

    kept: Mapping[str, Any] = field(default_factory=dict)
    """Adapters kept at each site, and at the readout for each task."""

    selection: Mapping[str, Any] = field(default_factory=dict)
    """Rule that chose them; empty keeps all."""

    reads: tuple[str, ...]
    """Names of the model's inputs, in the file's order; an adapter file feeds the others."""

    outputs: tuple[str, ...] = (ANSWERS.name,)
    """Names of the model's outputs, in the file's order."""

    feature_blocks: tuple[FeatureBlock, ...] = ()
    """Molecule-level features, side by side in the ``features`` array."""

    featurisation_version: int = FEATURISATION_VERSION
    most_bonds: int
    """Most bonds of one atom; a molecule with more is refused, never cut."""

    merge_from: int = 0
    """Atoms of a batch from which on looking for equal ones costs less than it saves."""

    opset: int = OPSET
    parity: Parity
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the model, such as the freeze gap on validation."""

    origin: Mapping[str, Any] = field(default_factory=dict)
    """Run and settings that the model came from."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Packages that wrote the bundle."""

    files: Mapping[str, FileInfo]
    """Size and hash of every other file of the bundle, by name."""

    def __post_init__(self) -> None:
        if not self.tasks:
            raise BundleError("a bundle answers at least one task, this one has none")
        unknown = [name for name in self.reads if name not in ARRAYS]
        if unknown:
            raise BundleError(
                f"the model reads {', '.join(unknown)}, which this version of graphadapt cannot "
                "make; upgrade graphadapt or export again"
            )
        if self.outputs[:1] != (ANSWERS.name,) or not set(self.outputs) <= set(OUTPUTS):
            raise BundleError(f"a bundle cannot answer with {list(self.outputs)}; export again")
        stated = {"adapters": bool(self.compositions), "padded": bool(self.buckets)}
        if stated != {form: form == self.form for form in stated}:
            raise BundleError(
                f"form {self.form!r} does not go with {len(self.compositions)} compositions and "
                f"{len(self.buckets)} buckets; export again"
            )

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the answers' columns."""
        return tuple(task.name for task in self.tasks)

    @property
    def applicabilities(self) -> tuple[Applicability, ...]:
        """What each composition's second output is measured by; of one network, its own."""
        several = [each.applicability for each in self.compositions.values()]
        return tuple(several) or (self.applicability,)

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The user's own feature columns, which molecules must come with; empty for most."""
        own = [block.columns for block in self.feature_blocks if block.kind == "columns"]
        return tuple(name for names in own for name in names)

    def to_text(self) -> str:
        """The content of ``bundle.json``, which carries a hash of itself."""
        table = json.loads(json.dumps(asdict(self)))
        table["feature_blocks"] = [block.to_dict() for block in self.feature_blocks]
        table = {"kind": KIND, "format": BUNDLE_FORMAT, **table}
        return json.dumps({**table, "sha256": fingerprint(table)}, indent=1, ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> "BundleContract":
        """Read what :meth:`to_text` wrote.

        Raises:
            BundleError: if the text is damaged, foreign, changed, or of another version.
        """
        table = _checked_table(text)
        _check_hash(table)
        missing = [item.name for item in fields(cls) if item.name not in table]
        if missing:
            raise BundleError(
                f"{CONTRACT_FILE} does not say {', '.join(missing)}: it comes from another version "
                "of graphadapt; export again"
            )
        try:
            contract: BundleContract = build_table(cls, _without(table, "kind", "format", "sha256"))
        except GraphAdaptError as error:
            raise BundleError(
                f"{CONTRACT_FILE} cannot be used: {error}; export again, or upgrade graphadapt"
            ) from error
        _check_files(contract)
        return contract


def read_contract(folder: Path) -> BundleContract:
    """The contract of the bundle in a folder; whether its files are as it says is not looked at.

    Raises:
        BundleError: if there is none, or it is damaged, foreign, changed, or of another version.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is no folder; give the folder that `graphadapt export` wrote")
    try:
        text = (folder / CONTRACT_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleError(f"{folder} is no bundle: it has no {CONTRACT_FILE}") from None
    except UnicodeDecodeError as error:
        raise BundleError(f"{folder}: {CONTRACT_FILE} is damaged: {error}") from error
    except OSError as error:
        raise BundleError(f"{folder}: {CONTRACT_FILE} cannot be read: {error.strerror}") from error
    try:
        return BundleContract.from_text(text)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from error


def is_bundle(folder: Path) -> bool:
    """Whether the folder says that it is a bundle, sound or not."""
    path = folder / CONTRACT_FILE
    return path.is_file() and f'"{KIND}"' in path.read_text(encoding="utf-8", errors="replace")


def fingerprint(table: Mapping[str, Any]) -> str:
    """The sha256 of a JSON table, whatever its layout and order of keys."""
    plain = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(plain.encode(errors="surrogatepass")).hexdigest()


def _checked_table(text: str) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:  # also of whole numbers without end
        raise BundleError(f"{CONTRACT_FILE} is cut short or damaged: {error}") from error
    if not isinstance(table, dict) or table.get("kind") != KIND:
        raise BundleError(f"{CONTRACT_FILE} was not written by graphadapt")
    version = table.get("format")
    if type(version) is not int or version < 1:
        raise BundleError(f"{CONTRACT_FILE} gives {version!r} as its format; export again")
    if version > BUNDLE_FORMAT:
        raise BundleError(
            f"the bundle is of format {version}, this graphadapt reads {BUNDLE_FORMAT}; "
            "upgrade graphadapt"
        )
    if version < BUNDLE_FORMAT:
        raise BundleError(
            f"the bundle is of format {version}, which no probes come with; this graphadapt reads "
            f"{BUNDLE_FORMAT}: export again"
        )
    return table


def _check_hash(table: Mapping[str, Any]) -> None:
    if table.get("sha256") != fingerprint(_without(table, "sha256")):
        raise BundleError(f"{CONTRACT_FILE} was changed after it was written; export again")


def _without(table: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in names}


def _check_files(contract: BundleContract) -> None:
    """All in the bundle's own folder, the model among them, and an adapter file a composition."""
    foreign = [name for name in contract.files if not _is_beside(name) or name == CONTRACT_FILE]
    if foreign:
        raise BundleError(f"{CONTRACT_FILE} names {foreign[0]!r}, which is not in the bundle")
    if MODEL_FILE not in contract.files:
        raise BundleError(f"{CONTRACT_FILE} names no {MODEL_FILE}; export again")
    for name, each in contract.compositions.items():
        if each.file not in contract.files:
            raise BundleError(
                f"{CONTRACT_FILE} keeps composition {name!r} in {each.file!r}, which is none of "
                "the bundle's files; export again"
            )


def _is_beside(name: str) -> bool:
    """Whether a name is that of a file in the bundle's own folder."""
    return Path(name).name == name not in ("", "..") and name.isprintable()
