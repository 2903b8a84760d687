"""Buckets fitted to molecules: the fewest, at the best borders, under the stated padding."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.data.ragged import GraphColumns
from graphadapt.errors import ConfigError
from graphadapt.export import bucket_fit
from graphadapt.export.bucket_fit import buckets_for, fit_buckets, sizes_and_slots
from graphadapt.export.collate import largest_degree
from graphadapt.export.contract import read_contract
from graphadapt.export.contract_parts import bucket_for
from graphadapt.export.padding import BUCKETS, ROWS
from graphadapt.export.repeated_runs import ParityPlan
from graphadapt.export.run_bundle import ExportOptions, export_run
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.run import Run

SIZES = st.lists(st.integers(1, 25), min_size=1, max_size=40)


def least_padding(sizes, count):
    """By trying all borders."""
    *inner, largest = sorted(set(sizes))
    rows = [
        sum(min(border for border in (*borders, largest) if border >= size) for size in sizes)
        for borders in combinations(inner, min(count - 1, len(inner)))
    ]
    return 1 - sum(sizes) / min(rows)


@given(SIZES, st.integers(1, 4))
def test_borders_lie_where_the_fewest_rows_are_needed(sizes, count):
    fitted = fit_buckets(np.array(sizes), np.ones(len(sizes), int), 0.0, count)
    assert fitted.padding == pytest.approx(least_padding(sizes, count), abs=1e-12)
    assert len(fitted.buckets) <= count
    assert fitted.outside == 0


@given(SIZES, st.floats(0, 0.9))
def test_no_more_buckets_than_the_padding_asks_for(sizes, most):
    fitted = fit_buckets(np.array(sizes), np.ones(len(sizes), int), most, 30)
    assert fitted.padding <= most
    count = len(fitted.buckets)
    assert count == 1 or least_padding(sizes, count - 1) > most


def test_the_shares_are_those_of_molecules_put_into_buckets():
    random = np.random.default_rng(0)
    sizes = np.clip(random.normal(25, 9, 5000).astype(int), 1, 200)
    sizes[:3] = 190
    slots = random.choice([2, 3, 4, 5, 6], 5000, p=[0.1, 0.6, 0.294, 0.004, 0.002])
    fitted = fit_buckets(sizes, slots)
    found = [bucket_for(fitted.buckets, *each) for each in zip(sizes, slots, strict=True)]
    held = np.array([bucket is not None for bucket in found])
    rows = sum(bucket.atoms for bucket in found if bucket is not None)
    assert fitted.padding == pytest.approx(1 - sizes[held].sum() / rows)
    assert fitted.outside == pytest.approx(1 - held.mean())
    assert 0 < fitted.outside < 0.002
    assert fitted.padding <= 0.1
    assert 3 <= len(fitted.buckets) <= 12
    assert list(fitted.buckets) == sorted(fitted.buckets)
    assert [bucket.slots for bucket in fitted.buckets[:-1]] == [4] * (len(fitted.buckets) - 1)
    assert fitted.buckets[-1].slots == 6
    assert all(0.9 * ROWS < bucket.atoms * bucket.graphs <= ROWS for bucket in fitted.buckets)


def test_the_most_buckets_are_taken_where_even_they_leave_more_padding():
    sizes = np.arange(1, 101)
    fitted = fit_buckets(sizes, np.full(100, 3), 0.01, 5)
    assert len(fitted.buckets) == 5
    assert 0.01 < fitted.padding < 0.2
    assert fitted.to_dict() == {"padding": fitted.padding, "outside": 0.0}


def test_a_molecule_larger_than_a_batch_still_has_a_bucket():
    (bucket,) = fit_buckets(np.array([2 * ROWS]), np.array([0])).buckets
    assert (bucket.atoms, bucket.slots, bucket.graphs) == (2 * ROWS, 1, 1)


def test_sizes_and_bonds_are_counted_over_columns():
    smiles = ["CCO", "[He]", "FS(F)(F)(F)(F)F", "[Na+].[Cl-]", "c1ccccc1", "CC(C)(C)C", "C"]
    molecules = [featurise_smiles(text) for text in smiles]
    sizes, slots = sizes_and_slots(GraphColumns.from_molecules(molecules))
    assert sizes.tolist() == [len(each.atoms) for each in molecules]
    assert slots.tolist() == [largest_degree(each) for each in molecules] == [2, 0, 6, 0, 2, 4, 0]


def test_the_training_molecules_of_a_store_are_looked_at_alone():
    chains = [featurise_smiles("C" * size) for size in (5, 9, 12, 90)]
    columns = GraphColumns.from_molecules(chains * 100)
    fitted = buckets_for(columns, np.flatnonzero(np.arange(400) % 4 < 3))
    assert [(each.atoms, each.slots) for each in fitted.buckets] == [(5, 2), (9, 2), (12, 2)]
    assert fitted.to_dict() == {"padding": 0.0, "outside": 0.0}


def test_few_molecules_leave_the_buckets_of_drug_like_ones():
    columns = GraphColumns.from_molecules([featurise_smiles("C" * size) for size in (8, 24, 150)])
    fitted = buckets_for(columns, np.arange(3))
    assert fitted.buckets == BUCKETS
    assert fitted.padding == pytest.approx(1 - (8 + 24) / (16 + 24))
    assert fitted.outside == pytest.approx(1 / 3)


def test_an_exported_run_states_its_buckets(tiny_run, tmp_path, monkeypatch):
    run = Run.open(tiny_run)
    monkeypatch.setattr(bucket_fit, "_FEWEST_MOLECULES", 10)
    plan = ParityPlan(repeats=1, batch_sizes=(1,), threads=(1,))
    options = ExportOptions(form="padded", applicability=False, calibrate="none")
    export_run(run, tmp_path / "bundle", options=options, plan=plan, shown=False)
    contract = read_contract(tmp_path / "bundle")
    rows = run.dataset.rows("train")
    expected = fit_buckets(*sizes_and_slots(run.dataset.store.columns.take(rows)))
    assert contract.buckets == expected.buckets != BUCKETS
    assert contract.metrics["buckets"] == expected.to_dict()
    assert expected.padding <= 0.1


@pytest.mark.parametrize(("most", "count"), [(-0.1, 3), (1.0, 3), (0.1, 0)])
def test_settings_that_cannot_work_are_refused(most, count):
    with pytest.raises(ConfigError, match="cannot be fitted; use a share"):
        fit_buckets(np.array([3]), np.array([2]), most, count)


def test_no_molecules_are_refused():
    with pytest.raises(ConfigError, match="no molecules to fit buckets to"):
        fit_buckets(np.zeros(0, int), np.zeros(0, int))
