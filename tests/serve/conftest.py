"""Bundles small enough to work out by hand: the model counts atoms, or adds up features."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from graphadapt.data.store import TaskInfo
from graphadapt.export.contract import OPSET, BundleContract, FileInfo, Parity
from graphadapt.molecules.features import FeatureBlock

COUNTS = FeatureBlock(kind="counts", size=16)
COLUMNS = FeatureBlock(kind="columns", columns=("pH", "dose"))
TYPES = {"graph_atoms": ["graphs", "atoms"], "features": ["graphs", "features"]}


def summing_model(reads: tuple[str, ...], divisor: float = 1.0) -> bytes:
    """Sum of each array's rows, over a divisor; one task an array."""
    nodes = [
        helper.make_node("ReduceSum", [name, "axis"], [f"sum_{name}"], keepdims=1) for name in reads
    ]
    nodes += [
        helper.make_node("Concat", [f"sum_{name}" for name in reads], ["joined"], axis=1),
        helper.make_node("Div", ["joined", "divisor"], ["answers"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, TYPES[name]) for name in reads],
        [helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["graphs", len(reads)])],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("divisor", TensorProto.FLOAT, [1], [divisor]),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """``make_bundle(reads, blocks, divisor, **contract)``: the folder of a new bundle."""

    def make(
        reads: tuple[str, ...] = ("graph_atoms",),
        blocks: tuple[FeatureBlock, ...] = (),
        divisor: float = 1.0,
        **settings: object,
    ) -> Path:
        model = summing_model(reads, divisor)
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
            "files": {"model.onnx": FileInfo.of(model)},
        }
        folder = tmp_path / "bundle"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model)
        text = BundleContract(**(contract | settings)).to_text()
        (folder / "bundle.json").write_text(text, encoding="utf-8")
        return folder

    return make
