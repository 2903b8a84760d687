"""How fast is the featuriser beside ogb's smiles2graph and RDKit's bare parser, and is it the same?

    python benchmarks/featurise_speed.py --data FOLDER [--check-all]
    python benchmarks/featurise_speed.py --small

FOLDER holds ``ogb/ogbg_mol{tox21,toxcast,muv,sider}`` in OGB's layout. Everything runs in one
process on one core and is timed by the CPU time of that process. ``--check-all`` also compares the
arrays of every molecule of the four sets; where smiles2graph raises, with ogb's atom and bond
vectors after parsing without property sanitisation.
"""

import argparse
import csv
import gzip
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from evidence.results import save_results
from evidence.tables import markdown_table
from evidence.timing import alternate, ratio, timing_options
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.progress import track

sys.modules.setdefault("outdated", None)  # ogb would ask the network for its newest version
from ogb.utils.features import atom_to_feature_vector, bond_to_feature_vector  # noqa: E402
from ogb.utils.mol import smiles2graph  # noqa: E402

SETS = ("tox21", "toxcast", "muv", "sider")

PARSE, PEER, OURS = "RDKit parse only", "ogb smiles2graph", "graphadapt"

SMALL = {
    "small": (
        "CC(=O)Oc1ccccc1C(=O)O",
        "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
        "C[C@H](N)C(=O)O",
        "F/C=C/F",
        "[Na+].[Cl-]",
        "[2H]O[2H]",
        "CC(=O)O[AlH3](O)O",
        "C" * 200,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAPHADAPT_DATA"))
    parser.add_argument("--sample", type=int, default=500, help="molecules timed in each set")
    parser.add_argument("--check-all", action="store_true")
    timing_options(
        parser,
        blocks=15,
        output=Path("benchmarks/results/featurise_speed.json"),
        small="a few built-in molecules, one block",
    )
    options = parser.parse_args()
    if options.small:
        options.blocks = 1
    elif options.data is None:
        parser.error("give --data or set GRAPHADAPT_DATA, or use --small")
    sets = SMALL if options.small else {name: molecules(options.data, name) for name in SETS}
    with rdBase.BlockLogs():
        rows = list(timed_rows(sets, options.sample, options.blocks, options.seed))
        checked = list(checked_rows(sets)) if options.check_all or options.small else []
    print(markdown_table(rows))
    if checked:
        print("\n" + markdown_table(checked))
    save_results(options.output, [*rows, *checked], seeds=[options.seed])


def molecules(data: Path, name: str) -> tuple[str, ...]:
    path = data / "ogb" / f"ogbg_mol{name}" / "mapping" / "mol.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return tuple(row["smiles"] for row in csv.DictReader(file))


def timed_rows(
    sets: Mapping[str, Sequence[str]], sample: int, blocks: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Rates and ratios for each set, and for a sample of all of them pooled."""
    pooled = {"pooled": list(chain.from_iterable(sets.values()))} if len(sets) > 1 else {}
    groups = {**pooled, **sets}
    for name in track(groups, len(groups), "timing"):
        picked = random.Random(seed).sample(groups[name], min(sample, len(groups[name])))
        texts = [text for text in picked if Chem.MolFromSmiles(text) is not None]
        work = {
            PARSE: each(Chem.MolFromSmiles, texts),
            PEER: each(smiles2graph, texts),
            OURS: each(featurise_smiles, texts),
        }
        timings = alternate(work, blocks=blocks, repeats=1, clock=time.process_time)
        for way, timing in timings.items():
            yield {
                "set": name,
                "way": way,
                "molecules": len(texts),
                **timing.row(pieces=len(texts)),
                **ratio(timings[PEER], timing).row("times_smiles2graph"),
                **ratio(timings[PARSE], timing).row("share_of_parse_rate"),
            }


def each(work: Callable[[str], object], texts: Sequence[str]) -> Callable[[], None]:
    def over_all() -> None:
        for text in texts:
            work(text)

    return over_all


def checked_rows(sets: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """How many molecules of each set have the witness's arrays."""
    for name, texts in sets.items():
        found = Counter(check(text) for text in track(texts, len(texts), f"checking {name}"))
        yield {
            "set": name,
            "molecules": len(texts),
            "identical to smiles2graph": found[True, True],
            "identical where it raises": found[False, True],
            "different": found[True, False] + found[False, False],
        }


def check(text: str) -> tuple[bool, bool]:
    """Whether smiles2graph reads ``text``, and whether our arrays are the witness's."""
    ours = directed(featurise_smiles(text))
    accepted = Chem.MolFromSmiles(text) is not None
    theirs = smiles2graph(text) if accepted else unsanitised_graph(text)
    names = ("node_feat", "edge_index", "edge_feat")
    return accepted, all(np.array_equal(ours[name], theirs[name]) for name in names)


def directed(arrays: MoleculeArrays) -> dict[str, Any]:
    """Our arrays in smiles2graph's form, two edges a bond."""
    both_ways = np.stack([arrays.bonds, arrays.bonds[:, ::-1]], axis=1).reshape(-1, 2)
    return {
        "node_feat": arrays.atoms,
        "edge_index": both_ways.T,
        "edge_feat": arrays.bond_features.repeat(2, axis=0),
    }


def unsanitised_graph(text: str) -> dict[str, Any]:
    mol = Chem.MolFromSmiles(text, sanitize=False)
    mol = Chem.RemoveHs(mol, updateExplicitCount=True, sanitize=False)
    Chem.SanitizeMol(mol, Chem.SANITIZE_ALL ^ Chem.SANITIZE_PROPERTIES)
    Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    edges, features = [], []
    for bond in mol.GetBonds():
        begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        edges += [(begin, end), (end, begin)]
        features += [bond_to_feature_vector(bond)] * 2
    return {
        "node_feat": np.array([atom_to_feature_vector(atom) for atom in mol.GetAtoms()]),
        "edge_index": np.array(edges).T,
        "edge_feat": np.array(features),
    }


if __name__ == "__main__":
    main()
