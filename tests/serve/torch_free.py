"""A bundle made with torch answers alike where torch is not installed.

python tests/serve/torch_free.py make FOLDER     # with graphadapt[export,serve]
python tests/serve/torch_free.py check FOLDER    # with graphadapt[serve] alone
"""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

MOLECULES = Path(__file__).resolve().parents[1] / "molecules.csv"
ABSENT = ("torch", "dgl", "ogb", "onnx", "onnxscript", "pandas")

SETTINGS = """
[features]
blocks = ["counts"]
hidden = [32]
[backbone]
layers = 2
width = 16
[adapters]
count = 4
rank = 2
sites = ["convolutions.1.expand"]
[sampler]
batch_size = 16
task_count = 2
[trainer]
epochs = 2
learning_rate = 0.02
"""


def main(action: str, folder: Path) -> None:
    {"make": make, "check": check}[action](folder.resolve())


def make(folder: Path) -> None:
    folder.mkdir(parents=True)
    settings = folder / "run.toml"
    settings.write_text(f'[data]\nstore = "{folder / "store"}"\n{SETTINGS}', encoding="utf-8")
    graphadapt(
        "prepare",
        MOLECULES,
        "-o",
        folder / "store",
        "--split",
        "column:part",
        "--features",
        "counts",
    )
    graphadapt("train", settings, "-o", folder / "run")
    graphadapt("export", folder / "run", "-o", folder / "bundle", "--tasks", "greasy,potency")
    asked = MOLECULES.read_text("utf-8") + "no molecule,,,,,test\n"
    (folder / "asked.csv").write_text(asked, encoding="utf-8")
    graphadapt("predict", folder / "bundle", folder / "asked.csv", "-o", folder / "full.csv")


def check(folder: Path) -> None:
    found = [name for name in ABSENT if importlib.util.find_spec(name)]
    if found:
        raise SystemExit(f"this environment is not light: it has {', '.join(found)}")
    graphadapt("doctor", "serve")
    graphadapt("inspect", folder / "bundle")
    graphadapt("predict", folder / "bundle", folder / "asked.csv", "-o", folder / "light.csv")
    expected, answered = read(folder / "full.csv"), read(folder / "light.csv")
    if len(expected) != 64 or [row.keys() for row in expected] != [row.keys() for row in answered]:
        raise SystemExit("the answers have other rows or columns without torch")
    for number, (row, other) in enumerate(zip(expected, answered, strict=True), start=1):
        for column, text in row.items():
            if not alike(text, other[column]):
                raise SystemExit(
                    f"row {number}, {column}: {text} with torch installed, {other[column]} without"
                )
    refused = run("train", "quickstart", "-o", folder / "run2")
    if refused.returncode != 1 or "pip install 'graphadapt[train]'" not in refused.stderr:
        raise SystemExit(f"training without torch says: {refused.stderr}")
    print(f"{len(expected)} molecules answered alike without torch")


def alike(text: str, other: str) -> bool:
    try:
        return abs(float(text) - float(other)) <= 1e-6 * max(1.0, abs(float(text)))
    except ValueError:
        return text == other


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def graphadapt(*arguments: object) -> None:
    done = run(*arguments)
    if done.returncode != 0:
        raise SystemExit(f"graphadapt {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "graphadapt", *map(str, arguments)]
    # not from the source tree, which would come before what is installed
    return subprocess.run(command, cwd=MOLECULES.parent, capture_output=True, text=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
