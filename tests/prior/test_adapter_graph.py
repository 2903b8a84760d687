import math

import pytest
import torch
from torch import nn

from graphadapt.errors import ConfigError
from graphadapt.prior.adapter_graph import AdapterGraph, exchange
from graphadapt.prior.attention import AttentionMessage
from graphadapt.prior.pairs import Pairs

KERNELS = ["dgl", "tensor"]
WIDTH = 3


def trained(kernels="tensor", seed=0):
    torch.manual_seed(seed)
    module = AdapterGraph(WIDTH, message_passing=kernels).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def embeddings(tasks=4, count=3, seed=1):
    torch.manual_seed(seed)
    return torch.randn(tasks, WIDTH).double(), torch.randn(count, WIDTH).double()


def slow_message(message, receiver_Np, sender_Mp, hears):
    """``hears(v, u)``: whether receiver v has an edge from sender u."""
    rows = []
    for v, receiver_p in enumerate(receiver_Np):
        senders = [sender_Mp[u] for u in range(len(sender_Mp)) if hears(v, u)]
        heard_p = torch.zeros(WIDTH).double()
        fits = [message.query(receiver_p) @ message.key(x) / math.sqrt(WIDTH) for x in senders]
        total = sum(fit.exp() for fit in fits)
        for fit, x in zip(fits, senders, strict=True):
            heard_p = heard_p + fit.exp() / total * message.value(x)
        rows.append(message.out(heard_p))
    return torch.stack(rows)


def slow_answer(module, task_Tp, adapter_Kp):
    def everyone(v, u):
        return True

    def others(v, u):
        return v != u

    heard_Kp = slow_message(module.adapters_from_tasks, adapter_Kp, task_Tp, everyone)
    beside_Kp = slow_message(module.adapters_from_adapters, adapter_Kp, adapter_Kp, others)
    adapter_Kp = adapter_Kp + heard_Kp + beside_Kp
    return task_Tp + slow_message(
        module.tasks_from_adapters, task_Tp, adapter_Kp, everyone
    ), adapter_Kp


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("tasks", "count"), [(4, 3), (1, 3), (4, 1), (1, 1), (2, 5)])
def test_the_exchange_is_the_loop_over_pairs(kernels, tasks, count):
    module, nodes = trained(kernels), embeddings(tasks, count)
    torch.testing.assert_close(module(*nodes), slow_answer(module, *nodes), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernels", KERNELS)
def test_several_exchanges_at_once_are_the_loops_of_each(kernels):
    modules = [trained(kernels, seed) for seed in range(3)]
    task_Tp, _ = embeddings(4)
    adapter_SKp = torch.stack([embeddings(count=3, seed=seed)[1] for seed in range(3)])
    found_STp, found_SKp = exchange(modules, task_Tp, adapter_SKp)
    for site, module in enumerate(modules):
        expected = slow_answer(module, task_Tp, adapter_SKp[site])
        torch.testing.assert_close((found_STp[site], found_SKp[site]), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_fresh_adapter_graph_changes_nothing(kernels):
    module, nodes = AdapterGraph(WIDTH, message_passing=kernels).double(), embeddings()
    for answer, before in zip(module(*nodes), nodes, strict=True):
        assert torch.equal(answer, before)


def test_a_fresh_adapter_graph_has_a_gradient():
    module, nodes = AdapterGraph(WIDTH, message_passing="tensor").double(), embeddings()
    sum(answer.sin().sum() for answer in module(*nodes)).backward()
    for message in module.children():
        assert message.out.weight.grad.any()


@pytest.mark.parametrize("kernels", KERNELS)
def test_gradients_are_those_of_the_formula(kernels):
    module = trained(kernels)
    names, values = zip(*module.named_parameters(), strict=True)

    def answer(task_Tp, adapter_Kp, *parameters):
        call = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, call, (task_Tp, adapter_Kp))

    inputs = [*embeddings(3, 2), *values]
    assert torch.autograd.gradcheck(answer, [x.detach().clone().requires_grad_() for x in inputs])


def test_dgl_and_tensor_kernels_give_the_same_answer_and_gradients():
    results = []
    for kernels in KERNELS:
        module, nodes = trained(kernels), embeddings()
        answers = module(*nodes)
        sum(answer.sin().sum() for answer in answers).backward()
        results.append([*answers, *(parameter.grad for parameter in module.parameters())])
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_renaming_tasks_and_adapters_renames_the_answer():
    module, (task_Tp, adapter_Kp) = trained(), embeddings()
    tasks, adapters = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    answer_Tp, answer_Kp = module(task_Tp, adapter_Kp)
    renamed = module(task_Tp[tasks], adapter_Kp[adapters])
    torch.testing.assert_close(renamed, (answer_Tp[tasks], answer_Kp[adapters]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_node_that_nothing_points_at_hears_nothing(kernels):
    message = AttentionMessage(WIDTH, kernels).double()
    nn.init.normal_(message.out.weight)
    receivers, senders = embeddings()
    source_E, target_E = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 3])
    pairs = Pairs(source_E, target_E, target_E * len(senders) + source_E)
    heard_Np = message(receivers, senders, pairs)
    assert heard_Np.any(1).tolist() == [False, True, False, True]
    none = torch.zeros(0, dtype=torch.int64)
    assert not message(receivers, senders, Pairs(none, none, none)).any()


def test_training_works_after_an_evaluation_in_inference_mode():
    module, nodes = trained(), embeddings(tasks=7, count=6)
    with torch.inference_mode():
        module(*nodes)
    sum(answer.sum() for answer in module(*nodes)).backward()
    assert module.tasks_from_adapters.out.weight.grad.any()


def test_autocast_does_not_round_the_exchange():
    module, nodes = trained().float(), [x.float() for x in embeddings()]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module(*nodes)
    for answer, exact in zip(rounded, module(*nodes), strict=True):
        assert torch.equal(answer, exact)


def test_an_empty_width_is_refused():
    with pytest.raises(ConfigError, match=r"width=0 leaves no room"):
        AdapterGraph(0)
