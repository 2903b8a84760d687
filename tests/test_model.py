"""The composed model: what may move an answer, what may learn, and what freezing keeps."""

import copy

import numpy as np
import pytest
import torch

from graphadapt.assemble import ModelInputs, assemble
from graphadapt.backbone.dropout import Dropout
from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.config import RunConfig
from graphadapt.data.store import TaskInfo
from graphadapt.errors import ConfigError
from graphadapt.freeze import Selection, freeze, reestimate_norms
from graphadapt.graphs.batch import GraphTable
from graphadapt.model import READOUT
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.routing.composition import uniform_composition

SMILES = ("CCO", "c1ccccc1O", "C", "CC(=O)Nc1ccc(O)cc1", "[Na+].[Cl-]", "C[C@H](N)C(=O)O")
TASKS = (TaskInfo("a", "binary"), TaskInfo("b", "regression", "log"), TaskInfo("c", "binary"))
RELATION = np.array([[0, 0.5, 0], [0.5, 0, 0.2], [0, 0.2, 0]], np.float32)


def built(*, filled=True, **more):
    settings = {
        "features.blocks": ["counts"],
        "features.hidden": [6],
        "backbone.layers": 2,
        "backbone.width": 8,
        "backbone.message_passing": "tensor",
        "adapters.count": 4,
        "adapters.rank": 2,
        "adapters.sites": ["expand"],
        "prior.width": 5,
        "routing.threshold": 0.2,
    }
    torch.manual_seed(0)
    config = RunConfig().with_settings({**settings, **more})
    blocks = (FeatureBlock(kind="counts", size=16),) if config.features.blocks else ()
    model = assemble(config, ModelInputs(TASKS, blocks), RELATION)
    if filled:
        for name, parameter in model.named_parameters():
            if name.endswith(".up"):
                torch.nn.init.normal_(parameter, std=0.3)
    model.scaling.mean[1], model.scaling.deviation[1] = 3.0, 2.0
    return model


def batch_of(dtype=torch.float32):
    molecules = [featurise_smiles(text) for text in SMILES]
    features = np.random.default_rng(0).integers(0, 3, (len(SMILES), 16)).astype(np.uint8)
    batch = GraphTable.from_molecules(molecules, features).gather(torch.arange(len(SMILES)))
    return batch if dtype == torch.float32 else _as(batch, dtype)


def _as(batch, dtype):
    from dataclasses import replace

    return replace(batch, features=batch.features.to(dtype))


EVERYONE = uniform_composition(["a", "b", "c"], ["a", "b", "c"])


@pytest.mark.parametrize("sites", [[], ["expand"], ["convolutions.*", "virtual_node.*.contract"]])
def test_fresh_adapters_change_no_prediction(sites):
    model = built(filled=False, **{"adapters.sites": sites}).eval()
    plain = built(filled=False, **{"adapters.count": 0, "adapters.sites": []}).eval()
    plain.load_state_dict(
        {name: t for name, t in model.state_dict().items() if name in plain.state_dict()}
    )
    batch = batch_of()
    torch.testing.assert_close(
        model(batch, EVERYONE).logits, plain(batch, EVERYONE).logits, rtol=0, atol=1e-6
    )


def test_who_is_asked_with_matters_inside_and_not_at_the_readout():
    batch = batch_of()
    alone = torch.tensor([1.0, 0.0, 0.0])
    inside = built().eval()
    assert not torch.allclose(inside(batch, EVERYONE).logits, inside(batch, alone).logits)
    outside = built(**{"adapters.sites": []}).eval()
    assert torch.equal(outside(batch, EVERYONE).logits, outside(batch, alone).logits)


def test_every_gate_is_a_distribution_over_adapters():
    gates = built().gates()
    assert set(gates) == {"convolutions.0.expand", "convolutions.1.expand", *virtual(), READOUT}
    for gate in gates.values():
        assert gate.shape == (3, 4)
        torch.testing.assert_close(gate.sum(1), torch.ones(3))


def virtual():
    return {"virtual_node.updates.0.expand"}


def test_adapters_and_routing_all_receive_a_gradient():
    model = built().train()
    model(batch_of(), EVERYONE).logits.square().sum().backward()
    silent = [
        name
        for name, p in model.named_parameters()
        if ("bank" in name or "routing" in name) and (p.grad is None or not p.grad.any())
    ]
    # the exchange starts silent: its output maps are zero, so what feeds them has no gradient yet
    assert all(".exchanges." in name for name in silent), silent


def test_the_same_pattern_at_no_layer_is_an_error_that_lists_the_layers():
    with pytest.raises(ConfigError, match=r"'nowhere' matches no linear layer.*contract"):
        built(**{"adapters.sites": ["nowhere"]})


def test_a_frozen_backbone_stays_in_evaluation_mode():
    model = built()
    model.backbone.requires_grad_(False)
    model.train()
    assert not model.backbone.training
    assert model.features.training


@pytest.mark.parametrize(("sites", "drops"), [(["expand"], True), ([], False)])
def test_a_frozen_backbone_drops_out_only_where_adapters_learn_inside_it(sites, drops):
    model = built(**{"adapters.sites": sites})
    model.backbone.requires_grad_(False)
    modules = list(model.backbone.modules())
    dropouts = [module for module in modules if isinstance(module, Dropout)]
    norms = [module for module in modules if isinstance(module, NodeNorm)]
    model.train()
    assert dropouts
    assert norms
    assert {module.training for module in dropouts} == {drops}
    assert not any(module.training for module in norms)
    model.eval()
    assert not any(module.training for module in modules)


def in_units(model, logits):
    return model.scaling.restore(logits)


@pytest.mark.parametrize("kind", ["gin", "gin-virtual-node", "gcn-virtual-node"])
def test_freezing_keeps_every_answer(kind):
    sites = ["update"] if kind.startswith("gcn") else ["expand"]
    model = built(**{"backbone.kind": kind, "adapters.sites": sites}).double().eval()
    batch = batch_of(torch.float64)
    frozen = freeze(model)
    expected = in_units(model, model(batch, EVERYONE.double()).logits)
    torch.testing.assert_close(frozen(batch), expected, rtol=1e-6, atol=1e-6)


def test_freezing_leaves_the_model_as_it_was():
    model = built().eval()
    before = copy.deepcopy(model.state_dict())
    freeze(model, selection=Selection(top_m=1))
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_requested_tasks_come_in_their_order_under_their_own_mix():
    model = built().eval()
    batch = batch_of()
    frozen = freeze(model, tasks=["c", "b"])
    w = uniform_composition(["b", "c"], ["a", "b", "c"])
    expected = in_units(model, model(batch, w).logits)[:, [2, 1]]
    assert [task.name for task in frozen.tasks] == ["c", "b"]
    assert frozen.composition == {"b": 0.5, "c": 0.5}
    torch.testing.assert_close(frozen(batch), expected, rtol=1e-4, atol=1e-4)


def test_a_frozen_model_holds_no_adapter_and_learns_nothing():
    frozen = freeze(built())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert sum(p.numel() for p in frozen.parameters()) < sum(
        p.numel() for p in built(**{"adapters.count": 0, "adapters.sites": []}).parameters()
    ) + len(TASKS)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, [0.5, 0.3, 0.2, 0.0]),
        ({"top_m": 1}, [1, 0, 0, 0]),
        ({"top_m": 2}, [0.625, 0.375, 0, 0]),
        ({"mass": 0.5}, [1, 0, 0, 0]),
        ({"mass": 0.6}, [0.625, 0.375, 0, 0]),
        ({"mass": 1.0}, [0.5, 0.3, 0.2, 0.0]),
        ({"threshold": 0.25}, [0.625, 0.375, 0, 0]),
        ({"threshold": 0.9}, [1, 0, 0, 0]),
    ],
)
def test_a_selection_keeps_what_its_rule_says(rule, expected):
    kept = Selection(**rule).apply(torch.tensor([[0.5, 0.3, 0.2, 0.0]]))
    torch.testing.assert_close(kept, torch.tensor([expected], dtype=torch.float32))


def test_a_selection_of_more_adapters_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="top_m=9 is more than the 4 adapters there are; use 1"):
        freeze(built(), selection=Selection(top_m=9))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"mass": 0.0}, "mass=0.0 is not in"),
        ({"top_m": 0}, "top_m=0 keeps nothing"),
        ({"threshold": 1.0}, "threshold=1.0 is not in"),
        ({"mass": 0.5, "top_m": 1}, "give one rule only"),
    ],
)
def test_a_selection_that_cannot_work_says_why(rule, message):
    with pytest.raises(ConfigError, match=message):
        Selection(**rule)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [(["a", "z"], "unknown task 'z'; the model has"), (["a", "a"], "'a' is named twice")],
)
def test_tasks_that_cannot_be_frozen_are_named(tasks, message):
    with pytest.raises(ConfigError, match=message):
        freeze(built(), tasks=tasks)


def test_reestimated_norms_are_those_of_the_frozen_network():
    frozen = freeze(built())
    batch = batch_of()
    reestimate_norms(frozen, [batch])
    norm = frozen.backbone.convolutions[0].norm.requires_grad_(True)  # so that it is not folded
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    frozen(batch)
    torch.testing.assert_close(norm.running_mean, seen[0].mean(0))
    torch.testing.assert_close(norm.running_var, seen[0].var(0, unbiased=True))
    assert norm.momentum == 0.1
    assert not norm.training
