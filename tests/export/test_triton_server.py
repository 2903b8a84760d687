"""SMILES answered by a real Triton server, from the repositories that are written here.

The server is the one that ``nvidia-pytriton`` carries, in an environment of its own, because it
wants NumPy below 2; GRAPHADAPT_TRITON_PYTHON names that environment's Python. In the repository::

    python3 -m venv triton_env
    triton_env/bin/pip install 'nvidia-pytriton==0.7.*' 'numpy<2' '.[serve]'
    GRAPHADAPT_TRITON_PYTHON=triton_env/bin/python pytest tests/export/test_triton_server.py

That Python has to have a shared libpython, which Triton's stub is linked to, as Debian's, Ubuntu's
and conda's have. A Triton of another kind runs ``model.py`` alike: its Python needs
``graphadapt[serve]``.
"""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from graphadapt.export.bundle import write_bundle
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.triton import write_triton
from graphadapt.molecules.features import FeatureBlock
from graphadapt.serve.predictor import Predictor

PYTHON = os.environ.get("GRAPHADAPT_TRITON_PYTHON", "")  # relative to where pytest was started

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="GRAPHADAPT_TRITON_PYTHON names no Python with nvidia-pytriton"
)

BLOCKS = (FeatureBlock(kind="counts", size=16), FeatureBlock(kind="columns", columns=("pH",)))
PLAIN, OWN = "plain", "own_columns"
SMILES = ["CCO", "c1ccccc1", "no molecule", "CC(C)(C)C", "C" * 90, "[Na+].[Cl-]", "FS(F)(F)(F)(F)F"]
WRONG = SMILES.index("no molecule")

SECONDS = 120
"""Most that the server may take to start, or to stop."""

WHERE = """
import importlib.util, json, site, sys, sysconfig
found = importlib.util.find_spec("pytriton")
print(json.dumps({
    "pytriton": found.origin if found else "",
    "version": "{}.{}".format(*sys.version_info),
    "packages": site.getsitepackages(),
    "libraries": sysconfig.get_config_var("LIBDIR"),
}))
"""

ASK = """
import json, sys
import numpy as np
import tritonclient.http as triton
client = triton.InferenceServerClient(sys.argv[1])
texts = json.loads(sys.argv[3])
smiles = triton.InferInput("smiles", [len(texts), 1], "BYTES")
smiles.set_data_from_numpy(np.array([[text.encode()] for text in texts], np.object_))
found = client.infer(sys.argv[2], [smiles])
print(json.dumps({
    "answers": found.as_numpy("answers").tolist(),
    "error": [text.decode() for text in found.as_numpy("error")[:, 0]],
}))
"""

PARSE = """
import sys
from pathlib import Path
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
for place in sys.argv[1:]:
    for path in sorted(Path(place).glob("*/config.pbtxt")):
        found = text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
        print(found.name, found.backend, found.max_batch_size, len(found.input), len(found.output))
"""


def in_triton_python(script, *arguments):
    command = [PYTHON, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Server:
    """Triton with the SMILES models of some repositories."""

    def __init__(self, repositories, place):
        self.log = place / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        where = json.loads(in_triton_python(WHERE))
        assert where["pytriton"], f"{PYTHON} has no nvidia-pytriton"
        home = Path(where["pytriton"]).parent / "tritonserver"
        command = [
            home / "bin" / "tritonserver",
            *(f"--model-repository={each}" for each in repositories.values()),
            f"--backend-directory={backends(home, where['version'], place)}",
            # its ONNX Runtime backend is not in the package
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in repositories),
            "--http-address=127.0.0.1",
            f"--http-port={self.address.rpartition(':')[2]}",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ]
        with self.log.open("wb") as log:
            # not from the source tree, which would come before what is installed
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment(home, where), cwd=place
            )

    def wait(self):
        """Until all models are ready."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.get("v2/health/ready")
            except OSError:
                time.sleep(0.2)
                continue
            return
        self.stop()
        pytest.fail("Triton did not start: " + self.log.read_text("utf-8", "replace")[-3000:])

    def stop(self):
        """What the server exits with."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}/{path}", timeout=SECONDS) as answer:
            return answer.read()

    def ask(self, model, smiles, **columns):
        """Every output by name, of one request in KServe's JSON."""
        inputs = [array("smiles", "BYTES", [[text] for text in smiles])]
        inputs += [array(name, "FP32", values) for name, values in columns.items()]
        url = f"http://{self.address}/v2/models/{model}/infer"
        body = json.dumps({"inputs": inputs}).encode()
        with urllib.request.urlopen(url, body, timeout=SECONDS) as answer:
            outputs = json.loads(answer.read())["outputs"]
        return {each["name"]: np.reshape(each["data"], each["shape"]) for each in outputs}


def array(name, datatype, rows):
    flat = [value for row in rows for value in row]
    return {"name": name, "datatype": datatype, "shape": [len(rows), len(rows[0])], "data": flat}


def backends(home, version, place):
    """The Python backend with the stub of this version of Python beside it."""
    folder = place / "backends"
    shutil.copytree(home / "backends" / "python", folder / "python")
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, folder / "python" / stub.name)
    (folder / "python" / stub.name).chmod(0o755)
    return folder


def environment(home, where):
    paths = {
        "LD_LIBRARY_PATH": [home.parents[1] / "nvidia_pytriton.libs", where["libraries"]],
        "PATH": [Path(PYTHON).absolute().parent, os.environ["PATH"]],
        "PYTHONPATH": where["packages"],
    }
    return os.environ | {name: os.pathsep.join(map(str, each)) for name, each in paths.items()}


@pytest.fixture(scope="module")
def bundles(tiny_run, make_backbone, make_frozen, make_embedding, tmp_path_factory):
    """Of a trained run by the command line, and one that reads a column of the user's own."""
    from click.testing import CliRunner

    from graphadapt.cli import main

    folder = tmp_path_factory.mktemp("triton")
    places = [folder / PLAIN, "--form", "padded", "--triton", folder / "models"]
    arguments = ["export", tiny_run, "-o", *places, "--repeats", 1]
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    embedding = make_embedding([True] * 16 + [False])
    frozen = make_frozen(make_backbone("gcn", width=8, layers=2), embedding)
    plan = ParityPlan(repeats=1, batch_sizes=(1, 16), threads=(1,))
    write_bundle(frozen, folder / OWN, feature_blocks=BLOCKS, form="padded", plan=plan)
    write_triton(folder / OWN, folder / "own_models")
    return folder


@pytest.fixture(scope="module")
def repositories(bundles):
    return {PLAIN: bundles / "models", OWN: bundles / "own_models"}


@pytest.fixture(scope="module")
def server(repositories, tmp_path_factory):
    server = Server(repositories, tmp_path_factory.mktemp("server"))
    server.wait()
    yield server
    assert server.stop() == 0, server.log.read_text("utf-8", "replace")[-3000:]


@pytest.fixture(scope="module")
def expected(bundles):
    with Predictor(bundles / PLAIN) as predictor:
        return predictor.predict(SMILES)


def same(answers, expected):
    np.testing.assert_allclose(np.float32(answers), expected.values, rtol=1e-5, atol=1e-7)


def test_smiles_are_answered_as_by_a_predictor(server, expected):
    found = server.ask(PLAIN, SMILES)
    same(found["answers"], expected)
    assert np.isnan(expected.values[WRONG]).all()
    assert [bool(text) for text in found["error"][:, 0]] == [
        text == SMILES[WRONG] for text in SMILES
    ]
    assert found["error"][WRONG, 0] == expected.failures[WRONG]
    if expected.applicability is not None:
        np.testing.assert_allclose(
            np.float32(found["applicability"]).reshape(-1), expected.applicability, rtol=1e-4
        )


def test_triton_s_own_client_reads_the_same(server, expected):
    found = json.loads(in_triton_python(ASK, server.address, PLAIN, json.dumps(SMILES)))
    same(found["answers"], expected)
    assert [text for text in found["error"] if text] == [expected.failures[WRONG]]


def test_the_users_own_column_comes_along(server, bundles):
    acidity = [7.0, 1.0, 0.0, math.nan, 3.0]
    with Predictor(bundles / OWN) as predictor:
        expected = predictor.predict(SMILES[:5], {"pH": acidity})
    found = server.ask(OWN, SMILES[:5], columns=[[value] for value in acidity])
    same(found["answers"], expected)
    errors = {row: text for row, text in enumerate(found["error"][:, 0]) if text}
    assert errors == expected.failures
    assert errors.keys() == {WRONG, 3}


def test_requests_that_come_at_once_are_told_apart(server, bundles):
    texts = ["C" * (1 + place % 20) + "O" for place in range(96)]
    with Predictor(bundles / PLAIN) as predictor:
        expected = predictor.predict(texts).values

    def ask(place):
        count = 1 + place % 5
        found = server.ask(PLAIN, texts[place : place + count])["answers"]
        np.testing.assert_allclose(np.float32(found), expected[place : place + count], rtol=1e-4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(90)))


@pytest.mark.parametrize(
    ("model", "count", "columns", "reason"),
    [
        (PLAIN, 300, {}, "must be <= 256"),
        (PLAIN, 1, {"columns": [[1.0]]}, "columns"),
        (OWN, 2, {}, "expected 2 inputs but got 1"),
        (OWN, 2, {"columns": [[1.0]]}, "batch"),
    ],
    ids=["too many", "an input that is not read", "a missing input", "too few columns"],
)
def test_a_wrong_request_is_refused_and_the_next_is_answered(
    server, expected, model, count, columns, reason
):
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.ask(model, ["C"] * count, **columns)
    assert refused.value.code == 400
    assert reason in json.loads(refused.value.read())["error"]
    same(server.ask(PLAIN, SMILES)["answers"], expected)


def test_triton_says_what_the_model_takes(server):
    stated = json.loads(server.get(f"v2/models/{OWN}"))
    assert [(each["name"], each["datatype"]) for each in stated["inputs"]] == [
        ("smiles", "BYTES"),
        ("columns", "FP32"),
    ]
    assert {each["name"] for each in stated["outputs"]} == {"answers", "error"}


def test_every_configuration_is_one_by_triton_s_own_schema(repositories):
    lines = in_triton_python(PARSE, *repositories.values()).splitlines()
    found = {name: rest for name, *rest in map(str.split, lines)}
    assert found[OWN] == ["python", "256", "2", "2"]
    assert found[PLAIN][:3] == ["python", "256", "1"]
    buckets = [rest for name, rest in found.items() if name not in repositories]
    assert len(buckets) == len(found) - 2 > 2
    assert {rest[0] for rest in buckets} == {"onnxruntime"}
