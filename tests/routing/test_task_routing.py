"""All sites together against the slow form: site after site, each with calls of its own."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from graphadapt.graphs.dgl_kernels import DglKernels
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.prior.adapter_graph import AdapterGraph
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.routing.gate import gate, soft_gate
from graphadapt.routing.router import Router
from graphadapt.routing.task_routing import TaskRouting

KERNELS = ["dgl", "tensor"]
TASKS, WIDTH = 5, 4
TEMPERATURE, THRESHOLD = 0.7, 0.2
ALIKE = {"layers.0.expand": 3, "layers.0.contract": 3, "readout": 3}
MIXED = {"a": 3, "b": 2, "readout": 3, "d": 1}


def routing_of(counts, exchanging=None, kernels="tensor"):
    torch.manual_seed(0)
    relation_TT = torch.rand(TASKS, TASKS).triu(1)
    routing = TaskRouting(
        TaskPropagation(relation_TT + relation_TT.T, WIDTH, 2, message_passing=kernels),
        {site: Router(count, WIDTH) for site, count in counts.items()},
        {
            site: AdapterGraph(WIDTH, message_passing=kernels)
            for site in (counts if exchanging is None else exchanging)
        },
        temperature=TEMPERATURE,
        threshold=THRESHOLD,
    ).double()
    for parameter in routing.parameters():
        nn.init.normal_(parameter, std=0.5)
    return routing


def one_by_one(routing):
    """Logits of every site from calls of its own."""
    task_Tp, logits = routing.propagation(), {}
    for key, router in routing.routers.items():
        routed_Tp, adapter_Kp = task_Tp, router.adapters
        if key in routing.exchanges:
            routed_Tp, adapter_Kp = routing.exchanges[key](task_Tp, adapter_Kp)
        logits[key.replace("/", ".")] = router(routed_Tp, adapter_Kp)
    return logits


def gradients(routing, found):
    loss = sum((index * value.sin()).sum() for index, value in enumerate(found.values(), 1))
    return torch.autograd.grad(loss, list(routing.parameters()), allow_unused=True)


CASES = [(ALIKE, None), (ALIKE, []), (MIXED, None), (MIXED, ["a", "d"]), ({"readout": 3}, None)]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("counts", "exchanging"), CASES)
def test_all_sites_together_are_the_sites_one_by_one(counts, exchanging, kernels):
    routing = routing_of(counts, exchanging, kernels)
    together, singly = routing.logits(), one_by_one(routing)
    assert list(together) == list(singly) == list(counts)
    torch.testing.assert_close(together, singly, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradients(routing, together), gradients(routing, singly), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize(("counts", "exchanging"), CASES)
def test_gates_and_soft_routes_read_each_sites_own_logits(counts, exchanging):
    routing = routing_of(counts, exchanging)
    logits = one_by_one(routing)
    soft = {site: soft_gate(logits_TK, TEMPERATURE) for site, logits_TK in logits.items()}
    gates = {site: gate(logits_TK, TEMPERATURE, THRESHOLD) for site, logits_TK in logits.items()}
    torch.testing.assert_close(routing.soft(), soft, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(routing(), gates, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradients(routing, routing()), gradients(routing, gates), rtol=1e-9, atol=1e-11
    )


def test_dgl_and_tensor_kernels_agree_on_answers_and_gradients():
    found = []
    for kernels in KERNELS:
        routing = routing_of(ALIKE, kernels=kernels)
        found.append([*routing.logits().values(), *gradients(routing, routing.logits())])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("kernels", "engine"), [("dgl", DglKernels), ("tensor", TensorKernels)])
def test_more_sites_make_no_more_calls_of_the_kernels(kernels, engine, monkeypatch):
    calls, counts = [], []
    plain = engine.weighted_sum
    monkeypatch.setattr(engine, "weighted_sum", lambda *given: calls.append(1) or plain(*given))
    for sites in (1, 6):
        routing = routing_of({f"site{i}": 3 for i in range(sites)}, kernels=kernels)
        calls.clear()
        routing()
        counts.append(len(calls))
    assert counts == [5, 5]  # two rounds over the tasks, three messages of the adapter graphs


def test_a_sites_route_does_not_hear_of_the_others():
    routing = routing_of(ALIKE)
    before = routing.logits()
    with torch.no_grad():
        routing.routers["readout"].adapters.normal_()
        routing.exchanges["readout"].tasks_from_adapters.out.weight.normal_()
    after = routing.logits()
    assert torch.equal(before["layers.0.expand"], after["layers.0.expand"])
    assert not torch.equal(before["readout"], after["readout"])


def test_every_site_keeps_parameters_of_its_own():
    names = set(routing_of({"layers.0.expand": 3, "readout": 2}).state_dict())
    assert {"routers.layers/0/expand.query", "routers.readout.adapters"} <= names
    assert "exchanges.layers/0/expand.tasks_from_adapters.out.weight" in names


def test_without_sites_there_is_nothing_to_route():
    assert routing_of({})() == {}


WITHOUT_DGL = """
import sys

class NoDgl:
    def find_spec(self, name, path=None, target=None):
        if name == "dgl":
            raise ModuleNotFoundError("No module named 'dgl'", name="dgl")

sys.meta_path.insert(0, NoDgl())
import torch
from graphadapt.graphs.message_passing import message_kernels
from graphadapt.prior.adapter_graph import AdapterGraph
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.routing.router import Router
from graphadapt.routing.task_routing import TaskRouting

sites = ("inner", "readout")
routing = TaskRouting(
    TaskPropagation(torch.ones(4, 4) - torch.eye(4), 6, 1),
    {site: Router(3, 6) for site in sites},
    {site: AdapterGraph(6) for site in sites},
    temperature=1.0,
    threshold=0.0,
)
sum(gate_TK.square().sum() for gate_TK in routing().values()).backward()
assert all(parameter.grad is not None for parameter in routing.parameters())
print(message_kernels("auto", "cpu").name)
"""


def test_routes_train_where_dgl_is_not_installed():
    command = [sys.executable, "-c", WITHOUT_DGL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "tensor\n", "")
