"""Which session answers what: in place, beyond a range of shapes, or as it is."""

from types import SimpleNamespace

import numpy as np
import pytest

from graphadapt.export.contract_parts import Bucket
from graphadapt.export.session import CPU, CUDA, TENSORRT
from graphadapt.serve import engine as module
from graphadapt.serve.bundle_reader import read_bundle
from graphadapt.serve.engine import Engine
from graphadapt.serve.provider_chain import Opened
from graphadapt.serve.tuning import Tunings, default_tuning

BUCKETS = (Bucket(atoms=4, slots=4, graphs=8), Bucket(atoms=6, slots=4, graphs=4))


@pytest.fixture
def bundle(make_bundle):
    return read_bundle(make_bundle(("padded_counts",), form="padded", buckets=BUCKETS))


def engine(bundle, chain=(CPU,), **settings):
    tuning = default_tuning(bundle.contract)
    return Engine(bundle, chain, Tunings(tuning, tuning), strict=False, **settings)


def arrays(graphs, rows):
    counts = np.arange(graphs * rows, dtype=np.float32).reshape(graphs, rows)
    return {"padded_counts": counts}


def test_the_cpu_runs_in_place_only_where_it_is_asked_to(bundle):
    usual, in_place = engine(bundle), engine(bundle, in_place=True)
    assert usual.device is None
    assert not usual.keeps_shapes
    assert in_place.keeps_shapes
    for graphs, rows in ((8, 4), (1, 4), (8, 4)):
        inputs = arrays(graphs, rows)
        for each in (usual, in_place):
            found = each.run(inputs, "", alone=True, recurs=True)
            np.testing.assert_array_equal(found[:, 0], inputs["padded_counts"].sum(axis=1))
    assert len(in_place.device.register) == 2
    in_place.close()


class Session:
    """Answers with the sum of each row, and keeps the shapes that it was asked."""

    def __init__(self, providers):
        self.providers, self.asked = providers, []

    def get_providers(self):
        return list(self.providers)

    def run(self, outputs, inputs, options):
        self.asked.append(inputs["padded_counts"].shape)
        return [inputs["padded_counts"].sum(axis=1, keepdims=True)]


def test_what_lies_outside_of_tensorrts_range_is_answered_behind_it(bundle, monkeypatch):
    sessions, asked, given = [], [], []

    def open_chain(model, chain, settings=None, **others):
        sessions.append(Session(chain))
        asked.append(others)
        given.append(settings)
        return Opened(sessions[-1], tuple(chain), ("CUDA does not start",) * (len(given) - 1))

    within = []
    device = SimpleNamespace(
        run=lambda inputs, recurs: (
            within.append(inputs["padded_counts"].shape)
            or [inputs["padded_counts"].sum(axis=1, keepdims=True)]
        ),
        close=lambda: None,
    )
    monkeypatch.setattr(module, "open_chain", open_chain)
    monkeypatch.setattr(module, "DeviceRuns", lambda *_, records: device)
    opened = engine(bundle, (TENSORRT, CUDA, CPU))
    first, beyond = sessions
    assert beyond.providers == (CUDA, CPU)
    assert asked[0]["graphs"]
    assert not asked[0]["half"]
    assert asked[0]["profile"].most == {"padded_counts": (8, 6)}
    assert asked[1] == {}
    assert given[1].keys() >= {CUDA, CPU}, "with the settings of where it runs"
    assert opened.passed_over == ("CUDA does not start",)
    for graphs, rows in ((8, 4), (1, 6), (1, 7), (9, 4), (2, 5)):
        inputs = arrays(graphs, rows)
        found = opened.run(inputs, "", alone=True)
        np.testing.assert_array_equal(found[:, 0], inputs["padded_counts"].sum(axis=1))
    assert within == [(8, 4), (1, 6), (2, 5)]
    assert beyond.asked == [(1, 7), (9, 4)]
    assert first.asked == []
