"""The tables against OGB's own encoders, value for value."""

import pytest
import torch
from ogb.graphproppred.mol_encoder import AtomEncoder as OgbAtomEncoder
from ogb.graphproppred.mol_encoder import BondEncoder as OgbBondEncoder

from graphadapt.backbone.encoders import AtomEncoder, BondEncoder, multi_hot_rows
from graphadapt.molecules.vocabulary import ATOM_FEATURE_SIZES, BOND_FEATURE_SIZES, bond_code

WIDTH = 4


def with_ogbs_weights(encoder, reference_tables):
    for table, reference in zip(encoder.tables, reference_tables, strict=True):
        table.weight.data.copy_(reference.weight.data)
    return encoder


def test_atoms_are_looked_up_as_ogb_does():
    reference = OgbAtomEncoder(WIDTH)
    encoder = with_ogbs_weights(AtomEncoder(WIDTH), reference.atom_embedding_list)
    atoms = torch.stack([torch.randint(0, size, (50,)) for size in ATOM_FEATURE_SIZES], 1)
    torch.testing.assert_close(encoder(atoms), reference(atoms))


def test_every_bond_code_is_ogbs_sum():
    reference = OgbBondEncoder(WIDTH)
    encoder = with_ogbs_weights(BondEncoder(WIDTH), reference.bond_embedding_list)
    bonds = torch.cartesian_prod(*(torch.arange(size) for size in BOND_FEATURE_SIZES))
    codes = torch.from_numpy(bond_code(bonds.numpy()).astype("int64"))
    torch.testing.assert_close(encoder()[codes], reference(bonds))


def test_a_gpus_product_is_the_cpus_look_up_in_float32_even_under_autocast():
    table = torch.randn(20, WIDTH, requires_grad=True)
    rows = torch.tensor([[0, 7, 19], [3, 7, 12]])
    expected = table[rows].sum(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = multi_hot_rows(rows, table)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.sin().sum(), table)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_tables_have_ogbs_shapes_and_spread():
    encoder, reference = AtomEncoder(300), OgbAtomEncoder(300)
    for table, other in zip(encoder.tables, reference.atom_embedding_list, strict=True):
        assert table.weight.shape == other.weight.shape
        limit = (6 / sum(table.weight.shape)) ** 0.5
        assert table.weight.abs().max().item() == pytest.approx(limit, rel=0.01)


def test_gradients_are_the_numeric_ones():
    atoms = torch.stack([torch.randint(0, size, (5,)) for size in ATOM_FEATURE_SIZES], 1)
    for encoder, inputs in ((AtomEncoder(2).double(), (atoms,)), (BondEncoder(2).double(), ())):
        parameters = list(encoder.parameters())
        assert torch.autograd.gradcheck(
            lambda *_, encoder=encoder, inputs=inputs: encoder(*inputs), parameters
        )


def test_under_autocast_atoms_flow_in_its_precision():
    atoms = torch.zeros(3, 9, dtype=torch.int64)
    encoder = AtomEncoder(WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(atoms).dtype == torch.bfloat16
    assert encoder(atoms).dtype == torch.float32


def test_only_tables_are_saved():
    assert set(AtomEncoder(WIDTH).state_dict()) == {f"tables.{i}.weight" for i in range(9)}
