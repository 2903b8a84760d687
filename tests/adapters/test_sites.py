import copy

import pytest
import torch
from torch import nn

from graphadapt.adapters.disagreement import adapter_disagreement
from graphadapt.adapters.joined_weights import effective_weights
from graphadapt.adapters.sites import SiteBanks, SiteCall, find_sites
from graphadapt.backbone.protocol import LinearCall, call_linear
from graphadapt.errors import ConfigError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.expand, self.norm, self.contract = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, x, linear=call_linear):
        return linear(self.contract, self.norm(linear(self.expand, x)).relu())


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(2))
        self.last = nn.Linear(4, 3)

    def forward(self, x, linear: LinearCall = call_linear):
        for layer in self.layers:
            x = layer(x, linear)
        return linear(self.last, x)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network().double()


def banks_of(network, patterns=("expand", "last"), fresh=False):
    banks = SiteBanks(find_sites(network, patterns), count=3, rank=2)
    if not fresh:
        for bank in banks.banks.values():
            nn.init.normal_(bank.up)
    return banks


def alphas_of(banks):
    return {name: torch.rand(3).double() for name in banks.names}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["expand"], ["layers.0.expand", "layers.1.expand"]),
        (["layers.1.*"], ["layers.1.expand", "layers.1.contract"]),
        (["last", "layers.0.contract"], ["layers.0.contract", "last"]),
        (["expand", "layers.*.expand"], ["layers.0.expand", "layers.1.expand"]),
        (["la?t"], ["last"]),
        ([], []),
    ],
)
def test_patterns_find_layers_in_the_networks_order(network, patterns, names):
    sites = find_sites(network, patterns)
    assert list(sites) == names
    assert all(sites[name] is network.get_submodule(name) for name in names)


def test_a_pattern_that_matches_nothing_names_what_exists(network):
    with pytest.raises(
        ConfigError, match=r"'expnad' matches .* \(did you mean 'expand'\?\)"
    ) as hit:
        find_sites(network, ["last", "expnad"])
    assert "layers.0.expand, layers.0.contract" in str(hit.value)
    with pytest.raises(ConfigError, match=r"'norm' matches no linear layer"):
        find_sites(network, ["norm"])
    with pytest.raises(ConfigError, match=r"the backbone has none"):
        find_sites(nn.ReLU(), ["*"])


def test_fresh_adapters_change_no_answer(network):
    banks, x = banks_of(network, fresh=True), torch.randn(9, 4).double()
    assert torch.equal(network(x, banks.call(alphas_of(banks))), network(x))


def test_the_adapted_network_is_the_network_of_changed_weights(network):
    banks, x = banks_of(network), torch.randn(9, 4).double()
    alphas = alphas_of(banks)
    merged = copy.deepcopy(network)
    with torch.no_grad():
        for name in banks.names:
            merged.get_submodule(name).weight += banks[name].delta(alphas[name])
    torch.testing.assert_close(network(x, banks.call(alphas)), merged(x), rtol=1e-12, atol=1e-12)


def test_layers_without_a_bank_go_straight_through(network):
    banks, x = banks_of(network, ["last"]), torch.randn(9, 6).double()
    layer = network.layers[0].contract
    assert torch.equal(banks.call(alphas_of(banks))(layer, x), layer(x))


def test_only_the_banks_own_parameters_are_listed(network):
    banks = banks_of(network)
    assert sorted(banks.state_dict()) == [
        f"banks.{site}.{factor}"
        for site in ("last", "layers/0/expand", "layers/1/expand")
        for factor in ("down", "up")
    ]
    assert banks["last"].down.dtype == torch.float64


def test_a_copied_model_adapts_the_copied_layers(network):
    model = nn.ModuleDict({"backbone": network, "banks": banks_of(network)})
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    x, alphas = torch.randn(9, 4).double(), alphas_of(twin["banks"])
    call = twin["banks"].call(alphas)
    adapted = twin["backbone"](x, call)
    call.check_all_called()
    assert not torch.equal(adapted, twin["backbone"](x))


def test_distances_are_taken_of_each_sites_own_input(network):
    banks, x = banks_of(network), torch.randn(2, 5, 4).double()
    call = banks.call(alphas_of(banks), measures=True)
    network(x, call)
    assert set(call.distances) == set(banks.names)
    torch.testing.assert_close(
        call.distances["layers.0.expand"],
        adapter_disagreement(banks["layers.0.expand"], x.reshape(10, 4)),
    )
    plain = banks.call(alphas_of(banks))
    network(x, plain)
    assert plain.distances == {}


def test_a_site_called_twice_reports_the_mean_distance(network):
    banks = banks_of(network, ["last"])
    call = banks.call(alphas_of(banks), measures=True)
    inputs = [torch.randn(5, 4).double() for _ in range(2)]
    for x in inputs:
        call(network.last, x)
    both = adapter_disagreement(banks["last"], torch.cat(inputs))
    torch.testing.assert_close(call.distances["last"], both)


def test_a_backbone_that_passes_a_site_by_is_an_error(network):
    banks = banks_of(network)
    call = banks.call(alphas_of(banks))
    network(torch.randn(9, 4).double())
    with pytest.raises(ConfigError, match=r"site 'last' past its adapters"):
        call.check_all_called()
    network(torch.randn(9, 4).double(), call)
    call.check_all_called()


def test_a_site_without_weights_and_a_rank_that_does_not_fit_name_the_site(network):
    with pytest.raises(ConfigError, match=r"no adapter weights for site 'layers.0.expand'"):
        banks_of(network).call({"last": torch.rand(3)})
    with pytest.raises(ConfigError, match=r"site 'last': rank=4 does not fit a 4->3 layer"):
        SiteBanks(find_sites(network, ["expand", "last"]), count=3, rank=4)


def test_without_sites_everything_goes_straight_through(network):
    banks, x = SiteBanks({}, count=3, rank=2), torch.randn(9, 4).double()
    call = banks.call({}, measures=True)
    assert torch.equal(network(x, call), network(x))
    assert call.distances == {}
    call.check_all_called()


def test_a_call_is_a_linear_call(network):
    call: LinearCall = SiteCall({}, {})
    assert torch.equal(
        call(network.last, torch.ones(1, 4).double()), network.last(torch.ones(1, 4).double())
    )


@pytest.mark.parametrize("patterns", [("expand",), ("*",)])
def test_weights_formed_together_are_those_formed_site_by_site(network, patterns):
    banks, x = banks_of(network, patterns), torch.randn(99, 4).double()
    alphas = {name: alpha.requires_grad_() for name, alpha in alphas_of(banks).items()}
    for frozen in (False, True):
        network.requires_grad_(not frozen)
        found = []
        for joined in (False, True):
            y = network(x, banks.call(alphas, joined=joined))
            leaves = [*banks.parameters(), *alphas.values()]
            leaves += [p for p in network.parameters() if p.requires_grad]
            found.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
        for one_by_one, together in zip(*found, strict=True):
            torch.testing.assert_close(together, one_by_one, rtol=1e-10, atol=1e-10)


def test_weights_are_formed_together_once_a_call_and_only_where_that_is_cheaper(
    network, monkeypatch
):
    formed = []

    def counting(layers, banks, alphas):
        formed.append(len(layers))
        return effective_weights(layers, banks, alphas)

    monkeypatch.setattr("graphadapt.adapters.sites.effective_weights", counting)
    banks = banks_of(network, ("*",))
    alphas = alphas_of(banks)
    network(torch.randn(99, 4).double(), banks.call(alphas, joined=True))
    assert sorted(formed) == [1, 2, 2]
    formed.clear()
    network(torch.randn(1, 4).double(), banks.call(alphas, joined=True))
    network(torch.randn(99, 4).double(), banks.call(alphas))
    assert formed == []


def test_weights_formed_together_are_in_autocasts_precision(network):
    network = network.float()
    banks = banks_of(network, ("expand",))
    alphas = {name: alpha.float() for name, alpha in alphas_of(banks).items()}
    x, found = torch.randn(99, 4), []
    for joined in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(network(x, banks.call(alphas, joined=joined)))
    assert found[1].dtype == torch.bfloat16
    torch.testing.assert_close(*found, rtol=2e-2, atol=2e-2)
