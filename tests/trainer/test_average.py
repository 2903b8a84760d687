import torch

from graphadapt.trainer.average import WeightAverage


def moved(average, model, step):
    average.set_step(step)
    average.follow(model)


def test_the_average_follows_its_formula():
    layer = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, decay=0.9)
    expected = layer.weight.item()
    for step, value in enumerate([1.0, 2.0, -3.0, 5.0]):
        torch.nn.init.constant_(layer.weight, value)
        moved(average, layer, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(average.tensors["weight"], torch.tensor([[expected]]))


def test_counters_are_copied_not_averaged():
    norm = torch.nn.BatchNorm1d(2)
    average = WeightAverage(norm, decay=0.5)
    norm(torch.randn(4, 2))
    moved(average, norm, 100)
    assert average.tensors["num_batches_tracked"] == 1


def test_the_live_weights_come_back_after_a_look_at_the_average():
    layer = torch.nn.Linear(2, 2)
    average = WeightAverage(layer, decay=0.9)
    old = layer.weight.detach().clone()
    torch.nn.init.zeros_(layer.weight)
    with average.swapped_in(layer):
        assert torch.equal(layer.weight, old)
    assert not layer.weight.any()


def test_a_share_beside_the_weights_gives_the_same_average():
    torch.manual_seed(0)
    layer = torch.nn.BatchNorm1d(5)
    averages = [WeightAverage(layer, decay=0.9, capturable=each) for each in (False, True)]
    for step in range(6):
        layer(torch.randn(4, 5))
        torch.nn.init.normal_(layer.weight)
        for average in averages:
            moved(average, layer, step)
    for name, tensor in averages[0].tensors.items():
        torch.testing.assert_close(averages[1].tensors[name], tensor)
