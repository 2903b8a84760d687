"""What the cache takes for the same tensors, and what not."""

import gc

import torch

from graphadapt.graphs import derived
from graphadapt.graphs.derived import DerivedCache, forget_derived, held_for_replays


class Counting:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.calls


def test_the_same_tensors_are_worked_out_once():
    cache, make = DerivedCache(), Counting()
    first, second = torch.arange(3), torch.arange(3)
    assert cache.get("sum", (first, second), (3,), make) == 1
    assert cache.get("sum", (first, second), (3,), make) == 1
    assert make.calls == 1


def test_another_kind_count_tensor_or_order_is_another_value():
    cache, make = DerivedCache(), Counting()
    first, second = torch.arange(3), torch.arange(3)
    cache.get("sum", (first, second), (3,), make)
    assert cache.get("product", (first, second), (3,), make) == 2
    assert cache.get("sum", (first, second), (4,), make) == 3
    assert cache.get("sum", (second, first), (3,), make) == 4
    assert cache.get("sum", (first, second.clone()), (3,), make) == 5


def test_a_tensor_that_was_written_to_is_another_one():
    cache, make = DerivedCache(), Counting()
    index = torch.arange(3)
    cache.get("sum", (index,), (), make)
    index[0] = 2
    assert cache.get("sum", (index,), (), make) == 2


def test_the_longest_unused_value_is_forgotten():
    cache, make = DerivedCache(size=2), Counting()
    first, second, third = (torch.arange(3) for _ in range(3))
    cache.get("sum", (first,), (), make)
    cache.get("sum", (second,), (), make)
    cache.get("sum", (first,), (), make)
    cache.get("sum", (third,), (), make)
    assert len(cache) == 2
    assert cache.get("sum", (first,), (), make) == 1
    assert cache.get("sum", (second,), (), make) == 4


def capturing_cache(size=1):
    """A cache, and the list whose first entry says whether a graph is being captured."""
    capturing = [False]
    return DerivedCache(size, is_capturing=lambda device: capturing[0]), capturing


def test_what_a_capture_makes_is_not_remembered_and_what_it_reads_is_held():
    (cache, capturing), make = capturing_cache(), Counting()
    known, new, other = (torch.arange(3) for _ in range(3))
    assert cache.get("sum", (known,), (), make) == 1
    capturing[0] = True
    with held_for_replays() as held:
        assert cache.get("sum", (known,), (), make) == 1
        assert cache.get("sum", (new,), (), make) == 2
        assert cache.get("sum", (new,), (), make) == 3
    capturing[0] = False
    assert cache.get("sum", (new,), (), make) == 4
    assert cache.get("sum", (other,), (), make) == 5
    ((tensors, value),) = held
    assert (len(cache), value) == (1, 1)
    assert tensors[0] is known


def test_what_a_graph_reads_lives_as_long_as_what_holds_it():
    (cache, capturing), finished = capturing_cache(), []

    class Made:
        def __del__(self):
            finished.append(True)

    index = torch.arange(3)
    cache.get("sum", (index,), (), Made)
    capturing[0] = True
    with held_for_replays() as held:
        cache.get("sum", (index,), (), Made)
    forget_derived()
    gc.collect()
    assert (len(cache), finished) == (0, [])
    del held
    gc.collect()
    assert finished == [True]


def test_what_nobody_collects_for_is_held_for_good_and_once(monkeypatch):
    monkeypatch.setattr(derived, "_HELD_FOR_GOOD", {})
    (cache, capturing), index = capturing_cache(), torch.arange(3)
    cache.get("sum", (index,), (), Counting())
    capturing[0] = True
    for _ in range(2):
        cache.get("sum", (index,), (), Counting())
    forget_derived()
    ((tensors, value),) = derived._HELD_FOR_GOOD.values()
    assert tensors[0] is index
    assert value == 1


def test_what_was_remembered_can_be_let_go_of_and_is_made_again():
    cache, make, index = DerivedCache(), Counting(), torch.arange(3)
    assert cache.get("sum", (index,), (), make) == 1
    forget_derived()
    assert len(cache) == 0
    assert cache.get("sum", (index,), (), make) == 2


def test_a_buffer_that_is_refilled_counts_as_another_tensor():
    cache, make = DerivedCache(), Counting()
    buffer = torch.arange(3)
    assert cache.get("sum", (buffer,), (), make) == 1
    buffer.copy_(torch.arange(3))
    assert cache.get("sum", (buffer,), (), make) == 2


def test_on_a_cpu_nothing_is_captured():
    cache, make = DerivedCache(), Counting()
    index = torch.arange(3)
    assert cache.get("sum", (index,), (), make) == cache.get("sum", (index,), (), make)


def test_tensors_of_inference_mode_are_taken():
    cache, make = DerivedCache(), Counting()
    with torch.inference_mode():
        index = torch.arange(3)
        assert cache.get("sum", (index,), (), make) == 1
        assert cache.get("sum", (index,), (), make) == 1
