"""The Triton repository: configurations read back, and programs run as Triton would run them."""

import re
import shutil
import sys
import threading
from collections import deque
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from graphadapt.errors import BundleError
from graphadapt.export.bundle import write_bundle
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.collate import inputs_for
from graphadapt.export.padding import BUCKETS, pad
from graphadapt.export.probes import Probes
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.session import open_session
from graphadapt.export.triton import check_repository, write_triton
from graphadapt.molecules.features import FeatureBlock
from graphadapt.serve.predictor import Predictor

BLOCKS = (FeatureBlock(kind="counts", size=16), FeatureBlock(kind="columns", columns=("pH",)))
SMILES = ("CCO", "c1ccccc1", "no molecule", "CC(C)(C)C")


@pytest.fixture(scope="module")
def bundle(make_backbone, make_frozen, make_embedding, tmp_path_factory):
    """Of the padded form, GCN so that degrees are read, with features and a user's column."""
    embedding = make_embedding([True] * 16 + [False])
    frozen = make_frozen(make_backbone("gcn", width=8, layers=2), embedding)
    folder = tmp_path_factory.mktemp("triton") / "my model"
    plan = ParityPlan(repeats=2, batch_sizes=(1, 16), threads=(1,))
    write_bundle(frozen, folder, feature_blocks=BLOCKS, form="padded", plan=plan)
    return folder


@pytest.fixture(scope="module")
def repository(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository") / "models"
    write_triton(bundle, folder)
    return folder


def parsed(text):
    """Protobuf's text format as tables of lists, one entry for each time a field stands there."""
    return message(deque(re.findall(r'"[^"]*"|[\w.-]+|[{}\[\]:,]', text)))


def message(tokens):
    fields = {}
    while tokens and tokens[0] != "}":
        name = tokens.popleft()
        if tokens.popleft() == "{":
            found = message(tokens)
            assert tokens.popleft() == "}"
        else:
            found = value(tokens)
        fields.setdefault(name, []).append(found)
    return fields


def value(tokens):
    token = tokens.popleft()
    if token == "[":
        return items(tokens)
    if token.startswith('"'):
        return token[1:-1]
    return int(token) if re.fullmatch(r"-?\d+", token) else token


def items(tokens):
    found = []
    while tokens[0] != "]":
        found.append(value(tokens))
        if tokens[0] == ",":
            tokens.popleft()
    tokens.popleft()
    return found


def config(repository, name):
    return parsed((repository / name / "config.pbtxt").read_text("utf-8"))


def test_there_is_a_model_for_smiles_and_one_for_each_bucket(repository):
    names = {f"my_model_{bucket.atoms}x{bucket.slots}" for bucket in BUCKETS}
    assert {path.name for path in repository.iterdir()} == names | {"my_model", "my_model_any"}
    for path in repository.iterdir():
        assert config(repository, path.name)["name"] == [path.name]


@pytest.mark.parametrize("bucket", BUCKETS, ids=str)
def test_a_bucket_states_every_array_and_batches(repository, bundle, bucket):
    contract, contents = read_bundle_files(bundle)
    name = f"my_model_{bucket.atoms}x{bucket.slots}"
    found = config(repository, name)
    assert found["backend"] == ["onnxruntime"]
    assert found["max_batch_size"] == [bucket.graphs]
    assert found["dynamic_batching"][0]["max_queue_delay_microseconds"][0] > 0
    assert [each["name"][0] for each in found["input"]] == list(contract.reads)
    assert [each["name"][0] for each in found["output"]] == list(contract.outputs)
    dims = {each["name"][0]: tuple(each["dims"][0]) for each in found["input"]}
    types = {each["name"][0]: each["data_type"][0] for each in found["input"]}
    probes = Probes(BLOCKS, ("CCO", "c1ccccc1"))
    arrays = pad(probes.molecules, probes.features, atoms=bucket.atoms, slots=bucket.slots)
    for array in contract.reads:
        assert arrays[array].shape[1:] == dims[array]
        kind = {"float32": "TYPE_FP32", "int32": "TYPE_INT32", "uint8": "TYPE_UINT8"}
        assert types[array] == kind[arrays[array].dtype.name]
    assert (repository / name / "1" / "model.onnx").read_bytes() == contents["model.onnx"]


def test_arrays_of_a_bucket_are_answered_as_those_of_any_shape(bundle):
    contract, contents = read_bundle_files(bundle)
    probes = Probes(BLOCKS, ("CCO", "c1ccccc1", "CC(C)(C)C"))
    session = open_session(contents["model.onnx"])
    natural = session.run(None, inputs_for(contract.reads, probes.molecules, probes.features))[0]
    for bucket in BUCKETS[:3]:
        arrays = pad(probes.molecules, probes.features, atoms=bucket.atoms, slots=bucket.slots)
        found = session.run(None, {name: arrays[name] for name in contract.reads})[0]
        np.testing.assert_allclose(found, natural, rtol=1e-5, atol=1e-6)


def test_molecules_that_fit_no_bucket_have_a_model_of_any_shape(repository):
    found = config(repository, "my_model_any")
    dims = {each["name"][0]: each["dims"][0] for each in found["input"]}
    assert dims["padded_neighbours"] == [-1, -1]
    assert "dynamic_batching" not in found


@pytest.fixture
def program(repository, monkeypatch):
    """The SMILES model, as Triton would load it."""
    backend = ModuleType("triton_python_backend_utils")
    backend.Tensor = tensor
    backend.InferenceResponse = response
    backend.TritonError = str
    backend.get_input_tensor_by_name = lambda request, name: request[name]
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    names = {}
    text = (repository / "my_model" / "1" / "model.py").read_text("utf-8")
    exec(compile(text, "model.py", "exec"), names)
    model = names["TritonPythonModel"]()
    model.initialize({"model_repository": str(repository / "my_model"), "model_version": "1"})
    yield model
    model.finalize()


def tensor(name, array):
    return SimpleNamespace(name=name, as_numpy=lambda: array)


def response(output_tensors=(), error=None):
    outputs = {each.name: each.as_numpy() for each in output_tensors}
    return SimpleNamespace(error=error, outputs=outputs)


def request_of(smiles, acidity):
    rows = np.array([[text.encode()] for text in smiles], np.object_)
    columns = np.array(acidity, np.float32).reshape(-1, 1)
    return {"smiles": tensor("smiles", rows), "columns": tensor("columns", columns)}


ACIDITY = (7.0, 1.0, 0.0, 3.0)


def test_the_smiles_model_answers_like_the_bundle(repository, bundle, program):
    found = config(repository, "my_model")
    assert found["backend"] == ["python"]
    assert [each["name"][0] for each in found["input"]] == ["smiles", "columns"]
    assert found["input"][1]["dims"] == [[1]]
    requests = [request_of(SMILES[:1], ACIDITY[:1]), request_of(SMILES[1:], ACIDITY[1:])]
    outputs = [each.outputs for each in program.execute(requests)]
    assert [each["answers"].shape for each in outputs] == [(1, 2), (3, 2)]
    answers = np.concatenate([each["answers"] for each in outputs])
    expected = Predictor(bundle).predict(list(SMILES), columns={"pH": list(ACIDITY)})
    np.testing.assert_allclose(answers, expected.values, rtol=1e-5)
    errors = np.concatenate([each["error"] for each in outputs])[:, 0]
    assert [bool(error) for error in errors] == [False, False, True, False]


def test_a_request_that_cannot_be_answered_fails_alone(program):
    sound, crooked = request_of(SMILES[:2], ACIDITY[:2]), request_of(SMILES[:3], ACIDITY[:2])
    short = request_of(SMILES[:1], ACIDITY[:2])  # together with the other, the rows would add up
    first, wrong, other, last = program.execute([sound, crooked, short, sound])
    assert wrong.error == "2 rows of columns were given for 3 SMILES"
    assert other.error == "2 rows of columns were given for 1 SMILES"
    assert first.error is last.error is None
    expected = program.execute([sound])[0].outputs["answers"]
    for each in (first, last):
        np.testing.assert_allclose(each.outputs["answers"], expected, rtol=1e-5)


def test_the_end_of_the_model_ends_its_threads(program):
    before = set(threading.enumerate())
    program.execute([request_of(["CCO"] * 200, [7.0] * 200)])
    program.finalize()
    assert set(threading.enumerate()) <= before


def test_nothing_is_written_over_and_nothing_from_another_form(repository, bundle, tmp_path):
    with pytest.raises(BundleError, match="is not empty; give a new folder"):
        write_triton(bundle, repository)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="is a file; give a folder"):
        check_repository(tmp_path / "file", bundle)
    for place in (bundle, bundle / "models", bundle.parent):
        with pytest.raises(BundleError, match=r"is not empty|lie within each other"):
            check_repository(place, bundle)
    with pytest.raises(BundleError, match="lie within each other; give each a folder of its own"):
        check_repository(tmp_path / "new", tmp_path / "new" / "bundle")
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    (damaged / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="has 0 bytes where"):
        write_triton(damaged, tmp_path / "models")
    assert not (tmp_path / "models").exists()
