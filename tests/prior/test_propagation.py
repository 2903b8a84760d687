import math

import pytest
import torch
from torch import nn

from graphadapt.errors import ConfigError
from graphadapt.prior.propagation import TaskPropagation
from graphadapt.prior.task_graph import normalised_relation

KERNELS = ["dgl", "tensor"]


def chain(tasks=5):
    """Tasks 0 - 1 - ... in a row, the last one alone."""
    relation_TT = torch.zeros(tasks, tasks)
    for task in range(tasks - 2):
        relation_TT[task, task + 1] = relation_TT[task + 1, task] = 0.25 * (task + 1)
    return relation_TT


def propagation(relation_TT=None, layers=2, seed=0, **settings):
    torch.manual_seed(seed)
    settings = {"message_passing": "tensor", **settings}
    relation_TT = chain() if relation_TT is None else relation_TT
    module = TaskPropagation(relation_TT, 3, layers, **settings).double()
    if module.embedding is not None:
        nn.init.normal_(module.embedding)
    # Exact in float64, where the module keeps what default-precision weights became.
    module.weight = normalised_relation(relation_TT)[module.target, module.source]
    return module


def slow_answer(module, relation_TT):
    tasks = len(relation_TT)
    degree = [1 + sum(row) for row in relation_TT.double().tolist()]
    rows = [module.start[t] + module.free * module.embedding[t] for t in range(tasks)]
    for weight_pp in module.weights:
        heard = []
        for t in range(tasks):
            message = rows[t] / degree[t]
            for u in range(tasks):
                if u != t:
                    share = relation_TT[t, u].double() / math.sqrt(degree[t] * degree[u])
                    message = message + share * rows[u]
            heard.append((message @ weight_pp).tanh() + rows[t])
        rows = heard
    return torch.stack(rows)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("free", [1.0, 0.3])
def test_propagation_is_the_loop_over_tasks(kernels, free):
    module = propagation(free=free, message_passing=kernels)
    torch.testing.assert_close(module(), slow_answer(module, chain()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernels", KERNELS)
def test_gradients_are_those_of_the_formula(kernels):
    module = propagation(message_passing=kernels)
    names, values = zip(*module.named_parameters(), strict=True)

    def answer(*parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), ())

    assert torch.autograd.gradcheck(answer, [v.detach().clone().requires_grad_() for v in values])


def test_dgl_and_tensor_kernels_give_the_same_answer_and_gradients():
    results = []
    for kernels in KERNELS:
        module = propagation(message_passing=kernels)
        answer = module()
        answer.sin().sum().backward()
        results.append([answer, *(parameter.grad for parameter in module.parameters())])
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_renaming_tasks_renames_the_answer():
    module, order = propagation(), torch.tensor([3, 0, 4, 1, 2])
    renamed = propagation(chain()[order][:, order])
    with torch.no_grad():
        renamed.start.copy_(module.start[order])
        renamed.embedding.copy_(module.embedding[order])
    torch.testing.assert_close(renamed(), module()[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernels", KERNELS)
def test_an_isolated_task_hears_itself_alone(kernels):
    module = propagation(message_passing=kernels)
    before = module()
    with torch.no_grad():
        module.embedding[:4] += 1
    after = module()
    assert torch.equal(after[4], before[4])
    assert (after[:4] != before[:4]).any(1).all()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("tasks", [1, 4])
def test_without_relations_every_task_is_on_its_own(kernels, tasks):
    module = propagation(torch.zeros(tasks, tasks), message_passing=kernels)
    hidden = module.start + module.embedding
    for weight_pp in module.weights:
        hidden = (hidden @ weight_pp).tanh() + hidden
    torch.testing.assert_close(module(), hidden)


def test_two_rounds_reach_two_steps_far():
    module = propagation(layers=2)
    before = module()
    with torch.no_grad():
        module.embedding[3] += 1
    changed = (module() != before).any(1)
    assert changed.tolist() == [False, True, True, True, False]


def test_without_rounds_embeddings_stay_as_they_are():
    module = propagation(layers=0)
    assert torch.equal(module(), module.start + module.embedding)


def test_without_freedom_only_the_relation_tells_tasks_apart():
    module = propagation(free=0.0)
    assert [name for name, _ in module.named_parameters()] == ["weights.0", "weights.1"]
    assert "start" in module.state_dict()
    module().sum().backward()
    assert all(weight.grad.any() for weight in module.weights)


def test_a_new_prior_starts_at_unit_scale_and_learns_from_there():
    torch.manual_seed(0)
    module = TaskPropagation(torch.zeros(200, 200), 32, 2, message_passing="tensor")
    assert torch.equal(module.start + module.embedding, module.start)
    assert 0.95 < module.start.std() < 1.05
    assert 1.0 < module().std() < 1.6
    module().square().sum().backward()
    assert module.embedding.grad.any(1).all()


@pytest.mark.parametrize(("start", "margin"), [("random", 0.03), ("spectral", 0.3)])
def test_related_tasks_come_closer(start, margin):
    """Independent rows average to little, so from a random start the residual outweighs it."""
    relation_TT = torch.zeros(20, 20)
    relation_TT[:10, :10] = relation_TT[10:, 10:] = 0.5
    torch.manual_seed(0)
    module = TaskPropagation(
        relation_TT.fill_diagonal_(0), 256, 2, start=start, message_passing="tensor"
    )
    task_Tp = nn.functional.normalize(module(), dim=1)
    cosine_TT = task_Tp @ task_Tp.T
    same = relation_TT > 0
    other = ~same & ~torch.eye(20, dtype=torch.bool)
    assert cosine_TT[same].mean() > cosine_TT[other].mean() + margin


def test_a_spectral_start_repeats_and_leaves_unreached_tasks_random():
    relation_TT = torch.zeros(6, 6)
    relation_TT[0, 1] = relation_TT[1, 0] = 1.0
    starts = [propagation(relation_TT, start="spectral", seed=seed).start for seed in (0, 1)]
    same = (starts[0] == starts[1]).all(1)
    assert same.tolist() == [False, False, True, True, True, False]
    assert starts[0].any(1).all()


def test_a_checkpoint_restores_the_answer_of_another_seed():
    module, other = propagation(seed=0), propagation(seed=1)
    assert sorted(module.state_dict()) == ["embedding", "start", "weights.0", "weights.1"]
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(), module())


def test_autocast_does_not_round_the_prior():
    torch.manual_seed(0)
    module = TaskPropagation(chain(), 8, 2, message_passing="tensor")
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module()
    assert torch.equal(rounded, module())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"width": 0, "layers": 1}, r"width=0, layers=1: use a width >= 1"),
        ({"width": 2, "layers": -1}, r"layers=-1"),
        ({"width": 2, "layers": 1, "start": "zero"}, r"start='zero' is neither"),
        ({"width": 2, "layers": 1, "free": -1.0}, r"free=-1.0 is not at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        TaskPropagation(chain(), **settings)
