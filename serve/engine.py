"""An open model: arranged batches in, answers out, from any number of threads.

Shapes: G molecules of a batch, W numbers of an answer: one a task, then the applicability where the
model gives it.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError
from graphadapt.export.adapter_files import adapter_paths, run_options
from graphadapt.export.collate import Inputs
from graphadapt.export.session import CPU, CUDA, TENSORRT
from graphadapt.serve.bundle_reader import Bundle
from graphadapt.serve.capture_gate import GATE
from graphadapt.serve.device_runs import DeviceRuns
from graphadapt.serve.provider_chain import open_chain
from graphadapt.serve.shape_profile import ShapeProfile, shape_profile
from graphadapt.serve.tuning import Tunings

__all__ = ["Engine"]


class Engine:
    """The sessions of a bundle.

    On the CPU, one session answers batches side by side, and a second one answers a batch that is
    alone where that was measured to want other settings; it takes its memory a second time. On
    TensorRT, which is built for a range of shapes, a second one answers what lies outside of it.

    Args:
        bundle: verified.
        chain: providers by ONNX Runtime's names, the preferred first.
        tunings: what to run with, wherever that turns out to be.
        strict: whether the first provider has to serve.
        in_place: whether the padded form runs in arrays that stay in place on the CPU too, as it
            does on every other provider.

    Raises:
        DependencyError: if ONNX Runtime is missing or no provider serves.
        BundleError: if an adapter file cannot be read.
    """

    def __init__(
        self,
        bundle: Bundle,
        chain: Sequence[str],
        tunings: Tunings,
        *,
        strict: bool,
        in_place: bool = False,
    ) -> None:
        contract = bundle.contract
        self.compositions = tuple(contract.compositions)
        self._outputs = contract.outputs
        widths = {"answers": len(contract.tasks)}
        self._widths = [widths.get(name, 0) for name in contract.outputs]
        padded = contract.form == "padded"
        self._profile: ShapeProfile | None = None
        if TENSORRT in chain:
            self._profile = shape_profile(contract, tunings.device.atoms_per_run)
        settings = {name: tunings.of(name).many for name in (*chain, CUDA, CPU)}
        opened = open_chain(
            bundle.model,
            chain,
            settings,
            strict=strict,
            graphs=padded,
            half=contract.precision.name == "fp16",
            profile=self._profile,
        )
        self.providers, self.passed_over = opened.providers, opened.passed_over
        self.tuning = tunings.of(self.providers[0])
        """What it runs with."""
        self._many = self._one = opened.session
        self._beyond: Any = None
        if self.providers[0] == TENSORRT:
            behind = open_chain(bundle.model, self.providers[1:], settings)
            self._beyond = behind.session
            self.passed_over += behind.passed_over
        if self.on_cpu and self.tuning.one != self.tuning.many:
            self._one = open_chain(bundle.model, (CPU,), {CPU: self.tuning.one}).session
        self._device: DeviceRuns | None = None
        if padded and (in_place or not self.on_cpu):
            self._device = DeviceRuns(
                self._many, self._outputs, self._widths, records=opened.records
            )
        self._options = _run_options(bundle)

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU answers."""
        return self.providers[0] == CPU

    @property
    def device(self) -> DeviceRuns | None:
        """Runs in arrays that stay in place; None where there are none."""
        return self._device

    @property
    def keeps_shapes(self) -> bool:
        """Whether runs have to keep to the bundle's buckets."""
        return self._device is not None

    @property
    def width(self) -> int:
        """W."""
        return sum(width or 1 for width in self._widths)

    def composition(self, name: str | None) -> str:
        """The composition that is meant; the first where none is named, "" in other forms.

        Raises:
            ConfigError: that lists those that exist.
        """
        if name is None:
            return self.compositions[0] if self.compositions else ""
        if name not in self.compositions:
            known = ", ".join(self.compositions) or "only the one that it was frozen for"
            raise ConfigError(f"the bundle has no composition {name!r}; it has {known}")
        return name

    def run(
        self, inputs: Inputs, composition: str, *, alone: bool, recurs: bool = False
    ) -> NDArray[np.float32]:
        """Answer one batch, ``(G, W)``.

        Args:
            inputs: every array that the model reads.
            composition: the mix to answer by.
            alone: whether no other batch shares the threads.
            recurs: whether other batches will have the very shape of this one.
        """
        if self._beyond is not None and self._profile and not self._profile.holds(inputs):
            found = self._plain(self._beyond, inputs, composition)
        elif self._device is not None:
            found = self._device.run(inputs, recurs=recurs)
        else:
            found = self._plain(self._one if alone else self._many, inputs, composition)
        if len(found) == 1:
            answers: NDArray[np.float32] = found[0]
            return answers
        return np.concatenate([each.reshape(len(each), -1) for each in found], axis=1)

    def _plain(
        self, session: Any, inputs: Inputs, composition: str
    ) -> Sequence[NDArray[np.float32]]:
        """Arrays there and back with the run."""
        with nullcontext() if self.on_cpu else GATE.shared():
            found: Sequence[NDArray[np.float32]] = session.run(
                list(self._outputs), inputs, self._options[composition]
            )
        return found

    def close(self) -> None:
        """End a device's thread."""
        if self._device is not None:
            self._device.close()


def _run_options(bundle: Bundle) -> Mapping[str, Any]:
    """Options of a run for each composition, from the bytes that were verified."""
    compositions = bundle.contract.compositions
    if not compositions:
        return {"": None}
    with adapter_paths(compositions, bundle.contents) as paths:
        return {name: run_options(path) for name, path in paths.items()}
