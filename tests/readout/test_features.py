import math

import pytest
import torch

from graphadapt.readout.features import FeatureEmbedding


@pytest.fixture
def embedding():
    torch.manual_seed(0)
    return FeatureEmbedding(
        torch.tensor([True, False]),
        torch.tensor([0.0, 5.0]),
        torch.tensor([1.0, 2.0]),
        hidden=(4, 3),
        dropout=0.5,
        input_dropout=0.5,
    )


def test_counts_go_to_their_logarithm_and_the_rest_to_unit_scale(embedding):
    raw = torch.tensor([[0.0, 5.0], [3.0, 9.0]])
    expected = torch.tensor([[0.0, 0.0], [math.log(4.0), 2.0]])
    torch.testing.assert_close(embedding.transform(raw), expected)


def test_a_negative_raw_value_outside_the_counts_keeps_its_sign(embedding):
    assert embedding.transform(torch.tensor([[0.0, -3.0]]))[0, 1] == -4.0


def test_evaluation_is_the_layers_written_out(embedding):
    embedding.eval()
    raw = torch.tensor([[1.0, 4.0], [7.0, 6.0]])
    first, second = (m for m in embedding.layers if isinstance(m, torch.nn.Linear))
    hidden = (embedding.transform(raw) @ first.weight.T + first.bias).clamp(min=0)
    expected = (hidden @ second.weight.T + second.bias).clamp(min=0)
    torch.testing.assert_close(embedding(raw), expected)
    assert embedding.width == expected.shape[1] == 3


def test_gradients_reach_every_layer(embedding):
    embedding.double().eval()
    raw = torch.rand(3, 2, dtype=torch.float64)

    def answer(*parameters):
        names = [name for name, _ in embedding.named_parameters()]
        return torch.func.functional_call(embedding, dict(zip(names, parameters, strict=True)), raw)

    parameters = tuple(p.detach().requires_grad_() for p in embedding.parameters())
    assert torch.autograd.gradcheck(answer, parameters)
