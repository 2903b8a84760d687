"""Bundles small enough to work out by hand: the model counts atoms, or adds up features."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphadapt.data.store import TaskInfo
from graphadapt.export.adapter_files import write_adapter_file
from graphadapt.export.contract import OPSET, BundleContract, FileInfo
from graphadapt.export.contract_parts import Composition
from graphadapt.export.parity_record import Parity
from graphadapt.molecules.features import FeatureBlock

COUNTS = FeatureBlock(kind="counts", size=16)
COLUMNS = FeatureBlock(kind="columns", columns=("pH", "dose"))
TYPES = {
    "graph_atoms": ["graphs", "atoms"],
    "features": ["graphs", "features"],
    "padded_counts": ["graphs", "rows"],
}


def summing_model(
    reads: tuple[str, ...], divisor: float = 1.0, *, figure: bool = False, is_open: bool = False
) -> bytes:
    """Sum of each array's rows, over a divisor; one task an array.

    With ``figure``, a second output has the first array's sum over a hundred. With ``is_open``, an
    adapter file has to give the divisor.
    """
    nodes = [
        helper.make_node("ReduceSum", [name, "axis"], [f"sum_{name}"], keepdims=1) for name in reads
    ]
    nodes += [
        helper.make_node("Concat", [f"sum_{name}" for name in reads], ["joined"], axis=1),
        helper.make_node("Div", ["joined", "divisor"], ["answers"]),
        helper.make_node("Squeeze", [f"sum_{reads[0]}", "axis"], ["sum"]),
        helper.make_node("Div", ["sum", "hundred"], ["applicability"]),
    ]
    outputs = [
        helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["graphs", len(reads)]),
        helper.make_tensor_value_info("applicability", TensorProto.FLOAT, ["graphs"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, TYPES[name]) for name in reads]
    if is_open:
        inputs.append(helper.make_tensor_value_info("divisor", TensorProto.FLOAT, [1]))
    graph = helper.make_graph(
        nodes if figure else nodes[:-2],
        "sums",
        inputs,
        outputs if figure else outputs[:1],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("hundred", TensorProto.FLOAT, [1], [100.0]),
            helper.make_tensor("divisor", TensorProto.FLOAT, [1], [divisor]),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """``make_bundle(reads, blocks, divisor, name, **contract)``: the folder of a new bundle.

    With ``divisors``, in the adapters form: one composition for each, by name.
    """

    def make(
        reads: tuple[str, ...] = ("graph_atoms",),
        blocks: tuple[FeatureBlock, ...] = (),
        divisor: float = 1.0,
        *,
        name: str = "bundle",
        divisors: dict[str, float] | None = None,
        **settings: object,
    ) -> Path:
        figure = "applicability" in settings.get("outputs", ())
        model = summing_model(reads, divisor, figure=figure, is_open=divisors is not None)
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model)
        files = {"model.onnx": FileInfo.of(model)}
        for mix, value in (divisors or {}).items():
            path = folder / f"{mix}.onnx_adapter"
            write_adapter_file(path, {"divisor": np.float32([value])})
            files[path.name] = FileInfo.of(path.read_bytes())
        contract = {
            "tasks": tuple(TaskInfo(f"sum_{name}", "regression", "1") for name in reads),
            "composition": {f"sum_{name}": 1 / len(reads) for name in reads},
            "reads": reads,
            "feature_blocks": blocks,
            "most_bonds": 64,
            "parity": Parity(
                largest_error=0.0,
                tolerance=1e-5,
                repeats=1,
                batch_sizes=(1,),
                threads=(1,),
                molecules=1,
                provider="CPUExecutionProvider",
            ),
            "files": files,
        }
        if divisors:
            contract["form"] = "adapters"
            contract["compositions"] = {
                mix: Composition(
                    file=f"{mix}.onnx_adapter",
                    weights={f"sum_{reads[0]}": 1.0},
                    parameters=1,
                    largest_error=0.0,
                    merged_error=0.0,
                )
                for mix in divisors
            }
        text = BundleContract(**(contract | settings)).to_text()
        (folder / "bundle.json").write_text(text, encoding="utf-8")
        return folder

    return make
