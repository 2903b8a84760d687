"""Runs on a device through arrays that stay in place, each bucket replayed as one CUDA graph.

A CUDA graph repeats what was recorded, at the addresses it was recorded with, whatever it is given.
So every shape has arrays of its own on the device, the number of its graph is bound to that shape
by a register, and a run whose arrays are of any other shape is refused before it starts. A session
never gives up a graph, so only shapes that come again are recorded: those of the buckets, of which
there are few. A molecule that fits none is run as it is. ONNX Runtime records per thread, and runs
one graph at a time: all runs of a device go through one thread. Weights are on the device from the
opening of the session on.

The first run of a shape is three: ONNX Runtime takes the memory in one or two, and records in the
last, beside which nothing else may use the device.

Where nothing is recorded, on the CPU and by providers that cannot, the same code runs: so it is
tested.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError
from graphadapt.export.arrays import OUTPUTS
from graphadapt.export.collate import Inputs
from graphadapt.export.session import CPU, onnx_runtime
from graphadapt.serve.capture_gate import GATE

__all__ = ["DeviceRuns", "GraphRegister", "Shapes", "shapes_of"]

_GRAPH: Final = "gpu_graph_id"
"""The run option by which ONNX Runtime tells recordings apart."""

_NO_GRAPH: Final = "-1"

Shapes = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, type and shape of every array of a run, in the order of the names."""


def shapes_of(inputs: Mapping[str, NDArray[Any]]) -> Shapes:
    """What has to be equal for a recording to be replayed.

    Example:
        >>> shapes_of({"b": np.zeros(2, np.float32), "a": np.zeros((1, 3), np.int64)})
        (('a', 'int64', (1, 3)), ('b', 'float32', (2,)))
    """
    return tuple((name, str(inputs[name].dtype), inputs[name].shape) for name in sorted(inputs))


class GraphRegister:
    """Which graph was recorded for which shapes; a number is given once and never changes hands."""

    def __init__(self) -> None:
        self._numbers: dict[Shapes, int] = {}
        self._shapes: dict[int, Shapes] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, shapes: Shapes) -> int:
        """The number of the graph for these shapes, from 1 on; a new one for new shapes."""
        number = self._numbers.setdefault(shapes, len(self._numbers) + 1)
        self._shapes[number] = shapes
        return number

    def check(self, number: int, shapes: Shapes) -> None:
        """Refuse to replay a graph for shapes that it was not recorded for.

        Raises:
            ConfigError: that names both.
        """
        recorded = self._shapes.get(number)
        if recorded is None:
            raise ConfigError(f"graph {number} was never recorded; there are {len(self)}")
        if recorded != shapes:
            raise ConfigError(
                f"graph {number} was recorded for {_shown(recorded)} and cannot be replayed for "
                f"{_shown(shapes)}; ask for the graph of that shape"
            )


class _Place(NamedTuple):
    """The arrays of one shape on the device, and how they are run."""

    number: int
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    binding: Any
    options: Any


class DeviceRuns:
    """A session whose runs read and write arrays at fixed places.

    Args:
        session: of ONNX Runtime, open.
        outputs: names of the outputs to read.
        widths: columns of each output, 0 for one number a molecule.
        records: whether the session was opened to record graphs.
    """

    def __init__(
        self, session: Any, outputs: Sequence[str], widths: Sequence[int], *, records: bool = True
    ) -> None:
        self._session = session
        self._outputs = dict(zip(outputs, widths, strict=True))
        self._device = "cpu" if session.get_providers()[0] == CPU else "cuda"
        self.records = records
        self.register = GraphRegister()
        self._places: dict[Shapes, _Place] = {}
        self._thread = ThreadPoolExecutor(1, "graphadapt-device")

    def run(self, inputs: Inputs, *, recurs: bool) -> list[NDArray[np.float32]]:
        """Answer one batch; any number of threads may ask, and take turns.

        Args:
            inputs: every input of the model; the first axis counts molecules.
            recurs: whether the shape is one of few that come again, and so worth a recording.

        Returns:
            The outputs in their order, copied from the device.
        """
        return self._thread.submit(self._replay if recurs else self._once, inputs).result()

    def hold(self, inputs: Inputs) -> Callable[[], None]:
        """Answer one batch in its place, again with every call: nothing is copied there or back.

        Another batch of the same shape takes its place.
        """
        self.run(inputs, recurs=True)
        place = self._places[shapes_of(inputs)]
        return lambda: self._thread.submit(self._again, place).result()

    def close(self) -> None:
        """End the device's thread once what it was asked for is done."""
        self._thread.shutdown()

    def _once(self, inputs: Inputs) -> list[NDArray[np.float32]]:
        with GATE.shared():
            return list(self._session.run(list(self._outputs), inputs, self._options(_NO_GRAPH)))

    def _replay(self, inputs: Inputs) -> list[NDArray[np.float32]]:
        shapes = shapes_of(inputs)
        is_first = shapes not in self._places
        with GATE.alone() if is_first and self.records else GATE.shared():
            place = self._make(shapes) if is_first else self._places[shapes]
            self.register.check(place.number, shapes)
            for name, value in place.inputs.items():
                value.update_inplace(np.ascontiguousarray(inputs[name]))
            place.binding.synchronize_inputs()
            self._go(place)
            found = [value.numpy().copy() for value in place.outputs.values()]
        self._places[shapes] = place
        return found

    def _again(self, place: _Place) -> None:
        with GATE.shared():
            self._go(place)

    def _go(self, place: _Place) -> None:
        self._session.run_with_iobinding(place.binding, place.options)
        place.binding.synchronize_outputs()

    def _make(self, shapes: Shapes) -> _Place:
        """Arrays on the device for one shape, bound to the session, and a number for its graph."""
        make = onnx_runtime().OrtValue.ortvalue_from_shape_and_type
        binding = self._session.io_binding()
        inputs = {
            name: make(list(shape), np.dtype(dtype).type, self._device, 0)
            for name, dtype, shape in shapes
        }
        count = shapes[0][2][0]
        outputs = {
            name: make([count, width] if width else [count], _type_of(name), self._device, 0)
            for name, width in self._outputs.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        number = self.register.number(shapes)
        options = self._options(str(number) if self.records else _NO_GRAPH)
        return _Place(number, inputs, outputs, binding, options)

    def _options(self, graph: str) -> Any:
        options = onnx_runtime().RunOptions()
        options.add_run_config_entry(_GRAPH, graph)
        return options


def _type_of(output: str) -> type[Any]:
    return np.dtype(OUTPUTS[output].dtype).type


def _shown(shapes: Shapes) -> str:
    return ", ".join(f"{name} {dtype}{list(shape)}" for name, dtype, shape in shapes)
