"""ogb's own featuriser as the witness, and quiet RDKit."""

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rdkit import Chem, rdBase


@pytest.fixture(autouse=True)
def _quiet_rdkit() -> Iterator[None]:
    with rdBase.BlockLogs():
        yield


@pytest.fixture(scope="session")
def ogb() -> SimpleNamespace:
    """The parts of ogb that featurise, imported without its look at the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "outdated", None)
        features = pytest.importorskip("ogb.utils.features")
        molecules = pytest.importorskip("ogb.utils.mol")
    return SimpleNamespace(
        allowable=features.allowable_features,
        atom_sizes=features.get_atom_feature_dims(),
        bond_sizes=features.get_bond_feature_dims(),
        atom=features.atom_to_feature_vector,
        bond=features.bond_to_feature_vector,
        smiles2graph=molecules.smiles2graph,
    )


@pytest.fixture(scope="session")
def witness(ogb: SimpleNamespace) -> Callable[[str], dict[str, Any]]:
    """smiles2graph; where RDKit refuses, ogb's vectors after parsing without property checks."""

    def graph(text: str) -> dict[str, Any]:
        if Chem.MolFromSmiles(text) is not None:
            return ogb.smiles2graph(text)
        mol = Chem.MolFromSmiles(text, sanitize=False)
        mol = Chem.RemoveHs(mol, updateExplicitCount=True, sanitize=False)
        Chem.SanitizeMol(mol, Chem.SANITIZE_ALL ^ Chem.SANITIZE_PROPERTIES)
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
        edges, features = [], []
        for bond in mol.GetBonds():
            begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            edges += [(begin, end), (end, begin)]
            features += [ogb.bond(bond), ogb.bond(bond)]
        return {
            "node_feat": np.array([ogb.atom(atom) for atom in mol.GetAtoms()]),
            "edge_index": np.array(edges, dtype=np.int64).reshape(-1, 2).T,
            "edge_feat": np.array(features, dtype=np.int64).reshape(-1, 3),
        }

    return graph
