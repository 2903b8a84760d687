"""Grouped edges and distinct messages against plain Python."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.graphs.edges import bond_messages, group_edges

edge_lists = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=30)


def columns(rows, width):
    table = torch.tensor(rows, dtype=torch.int64).reshape(-1, width)
    return tuple(table.T.contiguous())


@given(edge_lists)
def test_every_group_holds_the_edges_of_its_node(pairs):
    source, target = columns(pairs, 2)
    edges = group_edges(source, target, num_sources=7, num_targets=5)
    for node in range(5):
        group = edges.by_target[edges.target_offsets[node] : edges.target_offsets[node + 1]]
        assert group.tolist() == [e for e, pair in enumerate(pairs) if pair[1] == node]
    for node in range(7):
        group = edges.by_source[edges.source_offsets[node] : edges.source_offsets[node + 1]]
        assert group.tolist() == [e for e, pair in enumerate(pairs) if pair[0] == node]
    assert edges.sources_by_target.tolist() == [pairs[e][0] for e in edges.by_target]
    assert edges.targets_by_source.tolist() == [pairs[e][1] for e in edges.by_source]


@given(edge_lists)
def test_turning_edges_round_is_grouping_them_the_other_way(pairs):
    source, target = columns(pairs, 2)
    turned = group_edges(source, target, 7, 5).reversed()
    expected = group_edges(target, source, 5, 7)
    for name in expected.__slots__:
        assert torch.equal(getattr(turned, name), getattr(expected, name)), name


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 59)), max_size=30))
def test_messages_are_the_distinct_senders_and_bonds(rows):
    source, target, code = columns(rows, 3)
    messages = bond_messages(source, target, code, num_nodes=5)
    pairs = list(zip(messages.source.tolist(), messages.code.tolist(), strict=True))
    assert sorted(pairs) == sorted({(row[0], row[2]) for row in rows})
    carried = [pairs[message] for message in messages.edges.source.tolist()]
    assert carried == [(row[0], row[2]) for row in rows]
    assert torch.equal(messages.edges.target, target)
