import itertools

import pytest
import torch

from graphadapt.graphs.derived import RecentValues, held_for_replays
from graphadapt.prior import pairs as module
from graphadapt.prior.pairs import all_pairs, other_pairs

CPU = torch.device("cpu")
SIZES = list(itertools.product([1, 3], [1, 2, 4], [1, 3]))


@pytest.mark.parametrize(("sites", "senders", "receivers"), SIZES)
def test_all_pairs_of_every_site_and_no_others(sites, senders, receivers):
    pairs = all_pairs(sites, senders, receivers, CPU)
    expected = [
        (site * senders + m, site * receivers + n)
        for site in range(sites)
        for n in range(receivers)
        for m in range(senders)
    ]
    assert list(zip(pairs.source.tolist(), pairs.target.tolist(), strict=True)) == expected
    assert pairs.position is None


@pytest.mark.parametrize(("sites", "nodes"), [(1, 1), (3, 1), (1, 4), (2, 3)])
def test_other_pairs_leave_out_oneself(sites, nodes):
    pairs = other_pairs(sites, nodes, CPU)
    expected = [
        (site * nodes + m, site * nodes + n)
        for site in range(sites)
        for n in range(nodes)
        for m in range(nodes)
        if m != n
    ]
    assert list(zip(pairs.source.tolist(), pairs.target.tolist(), strict=True)) == expected


def test_positions_find_the_pairs_among_all():
    pairs, everyone = other_pairs(2, 3, CPU), all_pairs(2, 3, 3, CPU)
    assert torch.equal(everyone.source[pairs.position], pairs.source)
    assert torch.equal(everyone.target[pairs.position], pairs.target)


def test_the_same_tensors_are_given_every_time():
    assert all_pairs(2, 3, 4, CPU) is all_pairs(2, 3, 4, CPU)
    assert other_pairs(2, 3, CPU).source is other_pairs(2, 3, CPU).source


def test_pairs_made_in_inference_mode_are_ordinary_tensors():
    with torch.inference_mode():
        pairs = other_pairs(5, 2, CPU)
    assert not pairs.source.is_inference()


def test_pairs_that_a_graph_reads_live_on_and_what_it_makes_is_not_kept(monkeypatch):
    capturing = [False]
    recent = RecentValues(2, is_capturing=lambda device: capturing[0])
    monkeypatch.setattr(module, "_KNOWN", recent)
    known = all_pairs(2, 3, 4, CPU)
    capturing[0] = True
    with held_for_replays() as held:
        assert all_pairs(2, 3, 4, CPU) is known
        of_the_graph = other_pairs(2, 3, CPU)
    capturing[0] = False
    assert held == [known]
    assert other_pairs(2, 3, CPU) is not of_the_graph
    for sites in range(1, 9):
        all_pairs(sites, 1, 1, CPU)
    assert len(recent) == 2
