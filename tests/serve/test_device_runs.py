"""Arrays stay in place, and no graph is replayed for shapes that it was not recorded for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from graphadapt.errors import ConfigError
from graphadapt.export.contract import OPSET
from graphadapt.export.session import CPU, open_session
from graphadapt.serve import device_runs as module
from graphadapt.serve.device_runs import DeviceRuns, GraphRegister, shapes_of


def summing_session():
    """Sum of each row of one array, doubled where another says so; and the row's length."""
    nodes = [
        helper.make_node("ReduceSum", ["padded_counts", "axis"], ["sums"], keepdims=1),
        helper.make_node("Mul", ["sums", "features"], ["answers"]),
        helper.make_node("ReduceMax", ["padded_counts", "axis"], ["applicability"], keepdims=0),
    ]
    kinds = {"padded_counts": ["graphs", "rows"], "features": ["graphs", 1]}
    graph = helper.make_graph(
        nodes,
        "sums",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)
            for name, axes in kinds.items()
        ],
        [
            helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["graphs", 1]),
            helper.make_tensor_value_info("applicability", TensorProto.FLOAT, ["graphs"]),
        ],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return open_session(proto.SerializeToString())


OUTPUTS, WIDTHS = ("answers", "applicability"), (1, 0)


def arrays(graphs, rows, seed=0):
    random = np.random.default_rng(seed)
    return {
        "padded_counts": random.random((graphs, rows), np.float32),
        "features": random.random((graphs, 1), np.float32),
    }


def expected(inputs):
    sums = inputs["padded_counts"].sum(axis=1, keepdims=True) * inputs["features"]
    return sums, inputs["padded_counts"].max(axis=1)


def test_answers_are_those_of_a_plain_run_whatever_ran_before():
    session = summing_session()
    runs = DeviceRuns(session, OUTPUTS, WIDTHS)
    for seed in range(12):
        inputs = arrays(*((3, 4), (1, 4), (3, 7))[seed % 3], seed)
        answers, figure = runs.run(inputs, recurs=True)
        plain = session.run(list(OUTPUTS), inputs)
        np.testing.assert_array_equal(answers, plain[0])
        np.testing.assert_array_equal(figure, plain[1])
        np.testing.assert_allclose(answers, expected(inputs)[0], rtol=1e-6)
    assert len(runs.register) == 3
    runs.close()


def test_answers_stay_when_the_same_place_answers_again():
    runs = DeviceRuns(summing_session(), OUTPUTS, WIDTHS)
    first, second = arrays(2, 3, 1), arrays(2, 3, 2)
    answers = runs.run(first, recurs=True)[0]
    runs.run(second, recurs=True)
    np.testing.assert_allclose(answers, expected(first)[0], rtol=1e-6)


def test_many_threads_take_turns():
    runs = DeviceRuns(summing_session(), OUTPUTS, WIDTHS)

    def ask(seed):
        inputs = arrays(1 + seed % 3, 5, seed)
        np.testing.assert_allclose(runs.run(inputs, recurs=True)[0], expected(inputs)[0], rtol=1e-6)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(200)))
    assert len(runs.register) == 3


def test_shapes_that_do_not_come_again_take_no_place():
    runs = DeviceRuns(summing_session(), OUTPUTS, WIDTHS)
    for rows in range(2, 102):
        inputs = arrays(2, rows)
        found = runs.run(inputs, recurs=rows in (50, 101))[0]
        np.testing.assert_allclose(found, expected(inputs)[0], rtol=1e-6)
    assert len(runs.register) == 2


def test_a_number_stands_for_one_shape_forever():
    register = GraphRegister()
    small, large = shapes_of(arrays(1, 2)), shapes_of(arrays(8, 2))
    assert register.number(small) == 1
    assert register.number(large) == 2
    assert register.number(small) == 1
    register.check(1, small)
    with pytest.raises(ConfigError, match=r"graph 1 was recorded for .*\[1, 2\].*for .*\[8, 2\]"):
        register.check(1, large)
    with pytest.raises(ConfigError, match="graph 3 was never recorded; there are 2"):
        register.check(3, large)


def test_another_type_is_another_shape():
    inputs = arrays(1, 2)
    halves = {name: array.astype(np.float16) for name, array in inputs.items()}
    assert shapes_of(inputs) != shapes_of(halves)


class Graphs:
    """A device session that, like CUDA graphs, answers by what was recorded under a number.

    The first run of a number records the addresses that are bound; any later one reads and writes
    those addresses, whatever is bound then.
    """

    def __init__(self):
        self.recorded = {}
        self.threads = set()
        self.plain = 0

    def get_providers(self):
        return ["CUDAExecutionProvider", CPU]

    def io_binding(self):
        bound = SimpleNamespace(inputs={}, outputs={}, synchronised=[])
        bound.bind_ortvalue_input = bound.inputs.__setitem__
        bound.bind_ortvalue_output = bound.outputs.__setitem__
        bound.synchronize_inputs = lambda: bound.synchronised.append("in")
        bound.synchronize_outputs = lambda: bound.synchronised.append("out")
        return bound

    def run_with_iobinding(self, binding, options):
        self.threads.add(threading.current_thread().name)
        number = options["gpu_graph_id"]
        assert number != "-1"
        recorded = self.recorded.setdefault(number, binding)
        counts = recorded.inputs["padded_counts"].array
        recorded.outputs["answers"].array[:] = counts.sum(axis=1, keepdims=True)
        recorded.outputs["applicability"].array[:] = counts.max(axis=1)

    def run(self, outputs, inputs, options):
        assert options["gpu_graph_id"] == "-1"
        self.plain += 1
        counts = inputs["padded_counts"]
        return [counts.sum(axis=1, keepdims=True), counts.max(axis=1)]


class Value:
    """An array on the device."""

    def __init__(self, shape, kind, device, number):
        assert (device, number) == ("cuda", 0)
        self.array = np.full(shape, np.nan, kind)

    def update_inplace(self, array):
        assert array.shape == self.array.shape
        assert array.dtype == self.array.dtype
        self.array[:] = array

    def numpy(self):
        return self.array


class Options(dict):
    add_run_config_entry = dict.__setitem__


@pytest.fixture
def device(monkeypatch):
    runtime = SimpleNamespace(
        OrtValue=SimpleNamespace(ortvalue_from_shape_and_type=Value), RunOptions=Options
    )
    monkeypatch.setattr(module, "onnx_runtime", lambda: runtime)
    return Graphs()


def test_a_device_replays_one_graph_a_shape_from_one_thread(device):
    runs = DeviceRuns(device, OUTPUTS, WIDTHS)

    def ask(seed):
        inputs = arrays((1, 4, 16, 64)[seed % 4], 3, seed)
        answers, figure = runs.run(inputs, recurs=seed % 4 < 3)
        np.testing.assert_array_equal(answers, inputs["padded_counts"].sum(axis=1, keepdims=True))
        np.testing.assert_array_equal(figure, inputs["padded_counts"].max(axis=1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(40)))
    assert sorted(device.recorded) == ["1", "2", "3"]
    assert device.plain == 10
    assert len(device.threads) == 1
    shapes = {each.inputs["padded_counts"].array.shape for each in device.recorded.values()}
    assert len(shapes) == 3
    for each in device.recorded.values():
        assert each.synchronised[:2] == ["in", "out"]


def test_a_place_whose_number_was_mixed_up_is_refused(device):
    runs = DeviceRuns(device, OUTPUTS, WIDTHS)
    small, large = arrays(1, 3), arrays(4, 3)
    runs.run(small, recurs=True)
    runs.run(large, recurs=True)
    places = runs._places
    mixed = places[shapes_of(large)]._replace(number=1)
    places[shapes_of(large)] = mixed
    with pytest.raises(ConfigError, match="graph 1 was recorded for"):
        runs.run(large, recurs=True)


def test_a_batch_that_is_held_answers_again_without_a_copy(device):
    runs = DeviceRuns(device, OUTPUTS, WIDTHS)
    inputs = arrays(2, 3, 5)
    again = runs.hold(inputs)
    (place,) = runs._places.values()
    counts = place.inputs["padded_counts"].array
    np.testing.assert_array_equal(counts, inputs["padded_counts"])
    place.outputs["answers"].array[:] = np.nan
    before = len(place.binding.synchronised)
    again()
    found = place.outputs["answers"].array
    np.testing.assert_array_equal(found, inputs["padded_counts"].sum(axis=1, keepdims=True))
    assert place.binding.synchronised[before:] == ["out"], "nothing was put in again"
    assert list(device.recorded) == ["1"]


def test_a_session_that_records_nothing_is_never_given_a_number(device):
    numbers = []
    device.run_with_iobinding = lambda binding, options: numbers.append(options["gpu_graph_id"])
    runs = DeviceRuns(device, OUTPUTS, WIDTHS, records=False)
    for graphs in (1, 4, 1):
        runs.run(arrays(graphs, 3), recurs=True)
    assert numbers == ["-1"] * 3
    assert device.recorded == {}


def test_nothing_runs_on_a_device_while_another_session_records(device, monkeypatch):
    """Two sessions, each with a thread of its own, as several bundles have."""
    present, met = [], []

    def entering(recorded, run):
        def enter(binding, options):
            is_first = options["gpu_graph_id"] not in recorded
            present.append(is_first)
            run(binding, options)
            time.sleep(1e-3)  # lets the others in, if the gate does
            if is_first:
                met.append(list(present))
            present.remove(is_first)

        return enter

    sessions = [Graphs(), Graphs()]
    for session in sessions:
        run = entering(session.recorded, session.run_with_iobinding)
        monkeypatch.setattr(session, "run_with_iobinding", run)
    runs = [DeviceRuns(session, OUTPUTS, WIDTHS) for session in sessions]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: runs[n % 2].run(arrays(1 + n // 8, 3), recurs=True), range(80)))
    assert met == [[True]] * 20


def test_a_recording_that_fails_leaves_no_place_behind(device):
    runs, run = DeviceRuns(device, OUTPUTS, WIDTHS), device.run_with_iobinding

    def failing(binding, options):
        raise RuntimeError("out of memory")

    device.run_with_iobinding = failing
    with pytest.raises(RuntimeError, match="out of memory"):
        runs.run(arrays(2, 3), recurs=True)
    device.run_with_iobinding = run
    found = runs.run(arrays(2, 3), recurs=True)[0]
    np.testing.assert_array_equal(found, arrays(2, 3)["padded_counts"].sum(axis=1, keepdims=True))
    assert len(runs.register) == len(runs._places) == 1
