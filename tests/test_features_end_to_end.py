"""Molecule-level features of every kind, from a table through the commands to served answers."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.export.reference import Reference
from graphadapt.report.freeze_gap import freeze_run
from graphadapt.run import Run

SMALL = {
    "features.blocks": "['counts', 'descriptors', 'columns']",
    "features.hidden": "[8]",
    "backbone.kind": "gin",
    "backbone.weights": "''",
    "backbone.layers": 1,
    "backbone.width": 8,
    "adapters.count": 2,
    "adapters.rank": 2,
    "prior.width": 4,
    "relation.prior.minimum_overlap": 4,
    "relation.sampler.minimum_overlap": 4,
    "sampler.batch_size": 16,
    "trainer.epochs": 1,
    "trainer.precision": "float32",
    "trainer.device": "cpu",
}


def command(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folders(repository, tmp_path_factory):
    """A store with three kinds of features, a run that reads them, and its bundle."""
    place = tmp_path_factory.mktemp("features")
    store, run, bundle = place / "store", place / "run", place / "bundle"
    table = repository / "tests" / "molecules.csv"
    kinds = "counts,descriptors,columns:polar_area"
    command("prepare", table, "-o", store, "--features", kinds, "--split", "column:part")
    pairs = [text for key, value in SMALL.items() for text in ("--set", f"{key}={value}")]
    command("train", "plain", "-o", run, "--set", f"data.store='{store}'", *pairs)
    command("export", run, "-o", bundle, "--repeats", 2)
    return table, run, bundle


def test_the_bundle_reads_what_was_stored(folders):
    _, run, bundle = folders
    blocks = json.loads((bundle / "bundle.json").read_text())["feature_blocks"]
    assert [block["kind"] for block in blocks] == ["counts", "descriptors", "columns"]
    assert len(Run.open(run).inputs.blocks) == 3


def test_served_answers_are_those_of_the_run(folders):
    table, folder, bundle = folders
    run = Run.open(folder)
    store, rows = run.dataset.store, range(len(run.dataset.store))
    features = np.asarray(store.features(run.inputs.blocks), np.float32)
    frozen = freeze_run(run, composition_T=run.everyone)
    expected = Reference(frozen).answer([store.molecule(row) for row in rows], features)
    answers = list(csv.DictReader(command("predict", bundle, table).splitlines()))
    names = [task.name for task in run.inputs.tasks]
    found = np.array([[float(answer[name]) for name in names] for answer in answers])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    without = Reference(frozen).answer([store.molecule(row) for row in rows], 0 * features)
    assert np.abs(without - expected).max() > 1e-3
