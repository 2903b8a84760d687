import math

import pytest
import torch

from graphadapt.errors import ConfigError
from graphadapt.routing.gate import gate
from graphadapt.routing.router import Router


@pytest.fixture
def router():
    torch.manual_seed(0)
    router = Router(3, 4).double()
    torch.nn.init.normal_(router.query)
    return router


def test_logits_are_the_loop_over_tasks_and_adapters(router):
    task_Tp = torch.randn(5, 4).double()
    logits_TK = router(task_Tp)
    for t in range(5):
        for k in range(3):
            fit = (task_Tp[t] @ router.query) @ router.adapters[k] / math.sqrt(4)
            torch.testing.assert_close(logits_TK[t, k], fit)


def test_gradients_are_those_of_the_formula(router):
    def logits(task_Tp, adapter_Kp, query):
        return torch.func.functional_call(router, {"query": query}, (task_Tp, adapter_Kp))

    inputs = [torch.randn(5, 4), torch.randn(3, 4), router.query.detach()]
    assert torch.autograd.gradcheck(logits, [x.double().requires_grad_() for x in inputs])


def test_renaming_tasks_and_adapters_renames_the_logits(router):
    task_Tp, tasks, adapters = torch.randn(5, 4).double(), torch.randperm(5), torch.randperm(3)
    renamed = router(task_Tp[tasks], router.adapters[adapters])
    torch.testing.assert_close(renamed, router(task_Tp)[tasks][:, adapters])


def test_logits_start_at_unit_scale():
    torch.manual_seed(0)
    logits_TK = Router(50, 32)(torch.randn(200, 32))
    assert 0.9 < logits_TK.std() < 1.1


def test_everything_in_the_route_has_a_gradient_from_its_first_use():
    torch.manual_seed(0)
    router, task_Tp = Router(6, 8), torch.randn(5, 8, requires_grad=True)
    value_TK = torch.randn(5, 6)
    (gate(router(task_Tp), 1.0, 0.1) * value_TK).sum().backward()
    for leaf in (task_Tp, router.query, router.adapters):
        assert leaf.grad.abs().sum() > 0


def test_autocast_does_not_round_logits():
    router, task_Tp = Router(6, 8), torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = router(task_Tp)
    assert torch.equal(rounded, router(task_Tp))


def test_an_empty_router_is_refused():
    with pytest.raises(ConfigError, match=r"0 adapters and width 4 is empty"):
        Router(0, 4)
