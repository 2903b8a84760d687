"""Which of your assays are related? Estimate it, test it on unseen cells, draw it, edit it, use it.

    python examples/relation_matrix.py [--store STORE] [--folder relations] [--small]

Without ``--store``, a folder that ``graphadapt prepare`` made, it reads the bundled MoleculeACE
matrix. Two assays are related as far as their training labels agree on the molecules that both were
measured on, shrunk towards none where those are few.
"""

import argparse
from pathlib import Path

import numpy as np

from graphadapt.config import DataConfig, RelationConfig, RunConfig
from graphadapt.data.dataset import Dataset
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.data.split import TEST, TRAIN
from graphadapt.data.store import GraphStore
from graphadapt.relation.build import build_relation
from graphadapt.relation.estimate import label_relation
from graphadapt.relation.file import write_relation
from graphadapt.relation.matrix import Relation
from graphadapt.report.picture import draw_run
from graphadapt.report.relations import describe_relation, pair_table
from graphadapt.report.table import Cell, format_table

KINDS = ("labels", "shuffled", "uniform", "identity")


def main() -> None:
    """Run every step and print what it gives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="A prepared store of yours.")
    parser.add_argument("--folder", type=Path, default=Path("relations"), help="For what is made.")
    parser.add_argument("--small", action="store_true", help="Six targets instead of thirty.")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    names, labels_GT, split_GT = read_labels(options.store, small=options.small)
    train_GT = split_GT == TRAIN

    # 1. The estimate and its controls: the same graph on the wrong tasks, all pairs alike, no pair.
    relations = {
        kind: build_relation(RelationConfig(kind=kind), labels_GT, train_GT, names, seed=0)
        for kind in KINDS
    }
    figures = describe_relation(relations["labels"], pairs=5)
    print(f"{figures['edges']} related pairs of {len(names)} tasks; the strongest:")
    print(pair_table(figures["strongest"]))

    # 2. Does it hold where it has not looked? Over all pairs that share enough test molecules: does
    # a larger weight go with a larger correlation of the labels there? Knowing nothing gives 0.
    unseen = label_relation(
        labels_GT, split_GT == TEST, names, shrinkage=0, minimum_overlap=8, neighbours=len(names)
    )
    rows: list[list[Cell]] = [
        [kind, describe_relation(relation)["edges"], *agreement(relation, unseen)]
        for kind, relation in relations.items()
    ]
    print("\nWeights against correlations of labels in test cells")
    print(format_table(["relation", "edges", "pairs compared", "correlation"], rows))

    # 3. A picture. For a trained run, `graphadapt inspect run --plot routing.png` adds the routes.
    picture = folder / "relations.png"
    drawn = {kind: relations[kind] for kind in ("labels", "shuffled")}
    draw_run(picture, drawn, gates={}, title=f"{len(names)} tasks")
    print(f"\npicture: {picture}")

    # 4. What you know and the labels do not: write the matrix, change it, give it to a run. Here
    # the first two assays are declared related; a spreadsheet does as well.
    edited = relations["labels"].weights.copy()
    edited[0, 1] = edited[1, 0] = 0.8
    table = folder / "relations.csv"
    write_relation(Relation.from_weights(edited, "file", names), table)
    config = RunConfig().with_settings(
        {"relation.prior.kind": "file", "relation.prior.file": str(table)}
    )
    own = build_relation(config.relation.prior, labels_GT, train_GT, names, seed=0)
    print(f"{table}: {names[0]} and {names[1]} are now related by {own.weights[0, 1]:.2f}")
    print(f"graphadapt train ... --set relation.prior.kind=file --set relation.prior.file={table}")


def read_labels(store: Path | None, *, small: bool) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Task names, labels and split codes, the last two molecules by tasks."""
    if store is not None:
        data = Dataset.select(GraphStore(store), DataConfig(), seed=0)
        return [task.name for task in data.tasks], data.labels, data.split
    proteases = ["CHEMBL204_Ki", "CHEMBL244_Ki"]  # thrombin, factor Xa
    opioid = ["CHEMBL233_Ki", "CHEMBL236_Ki", "CHEMBL237_Ki"]
    source = moleculeace_source([*proteases, *opioid, "CHEMBL287_Ki"] if small else ())
    assert source.split is not None
    return source.task_names, source.labels, source.split


def agreement(relation: Relation, unseen: Relation) -> tuple[int, float | None]:
    """Pairs that test cells can tell of, and how weights and test correlations go together."""
    told = np.triu(unseen.signed != 0)
    weights_P, unseen_P = relation.weights[told], unseen.signed[told]
    if len(weights_P) < 3 or weights_P.std() == 0:
        return len(weights_P), None  # all pairs alike say nothing about any
    return len(weights_P), float(np.corrcoef(weights_P, unseen_P)[0, 1])


if __name__ == "__main__":
    main()
