"""Grouped edges and distinct messages against plain Python."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.graphs.edges import bond_order, distinct_messages, edge_messages, group_edges

edge_lists = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=30)
bond_lists = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 59)), max_size=30
)


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


@given(bond_lists)
def test_messages_are_the_distinct_senders_and_bonds(rows):
    source, target, code = columns(rows, 3)
    messages = distinct_messages(source, target, code, num_nodes=5)
    pairs = list(zip(messages.sending.source.tolist(), messages.code.tolist(), strict=True))
    assert sorted(pairs) == sorted({(row[0], row[2]) for row in rows})
    carried = [pairs[message] for message in messages.receiving.source.tolist()]
    assert carried == [(row[0], row[2]) for row in rows]
    assert torch.equal(messages.receiving.target, target)


@given(bond_lists)
def test_messages_of_edges_are_the_edges(rows):
    source, target, code = columns(rows, 3)
    messages = edge_messages(code, group_edges(source, target, 5, 5))
    assert messages.sending.source.tolist() == source.tolist()
    assert messages.sending.target.tolist() == list(range(len(rows)))
    assert messages.code.tolist() == code.tolist()
    assert messages.receiving.source.tolist() == list(range(len(rows)))
    assert messages.receiving.target.tolist() == target.tolist()


@given(bond_lists)
def test_both_kinds_of_messages_are_grouped_at_both_ends(rows):
    source, target, code = columns(rows, 3)
    for messages in (
        distinct_messages(source, target, code, num_nodes=5),
        edge_messages(code, group_edges(source, target, 5, 5)),
    ):
        count = len(messages.code)
        for edges, senders, receivers in (
            (messages.sending, 5, count),
            (messages.receiving, count, 5),
        ):
            check_groups(edges, senders, receivers)


def check_groups(edges, num_sources, num_targets):
    """Hold grouped edges against a grouping of their own columns."""
    expected = group_edges(edges.source, edges.target, num_sources, num_targets)
    identity = torch.arange(len(edges.source))
    for name in expected.__slots__:
        found = getattr(edges, name)
        assert torch.equal(identity if found is None else found, getattr(expected, name)), name


@given(bond_lists)
def test_codes_stand_in_both_orders(rows):
    source, target, code = columns(rows, 3)
    order = bond_order(source, target, code, 5)
    assert order.codes_by_target.tolist() == [rows[e][2] for e in order.edges.by_target]
    assert order.codes_by_source.tolist() == [rows[e][2] for e in order.edges.by_source]
