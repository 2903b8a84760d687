import json

import pytest
import torch
from safetensors.torch import save_file

from graphadapt.errors import CheckpointError
from graphadapt.trainer.checkpoint import (
    load_state,
    load_tensors,
    optimiser_state,
    restore_optimiser,
    save_tensors,
    write_text,
)


def test_tensors_and_state_come_back_as_they_were(tmp_path):
    tensors = {"a": torch.randn(3, 2), "b/c": torch.tensor([1, 2]), "d": torch.randn(4, 6)[:, ::2]}
    state = {"step": 7, "best": None, "loss": 0.1 + 0.2}
    save_tensors(tmp_path / "x.safetensors", tensors, state)
    found, found_state = load_tensors(tmp_path / "x.safetensors")
    assert found_state == load_state(tmp_path / "x.safetensors") == state
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_cut_file_is_refused_with_its_name(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(1000)}, {})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"x\.safetensors is no readable checkpoint"):
        load_tensors(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        load_tensors(tmp_path / "none.safetensors")


def test_tensors_of_another_program_are_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="not written by graphadapt"):
        load_tensors(tmp_path / "x.safetensors")


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    write_text(path, json.dumps({"step": 1}))

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, json.dumps({"step": 2}))
    assert json.loads(path.read_text()) == {"step": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


def test_an_optimiser_goes_on_as_if_it_had_never_stopped(tmp_path):
    def start():
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)

    def step(layer, optimiser, x):
        optimiser.zero_grad()
        layer(x).square().sum().backward()
        optimiser.step()

    inputs = torch.randn(4, 5, 3)
    layer, optimiser = start()
    for x in inputs:
        step(layer, optimiser, x)

    first, first_optimiser = start()
    for x in inputs[:2]:
        step(first, first_optimiser, x)
    names = {parameter: name for name, parameter in first.named_parameters()}
    save_tensors(tmp_path / "o.safetensors", optimiser_state(first_optimiser, names), {})
    second, second_optimiser = start()
    second.load_state_dict(first.state_dict())
    state, _ = load_tensors(tmp_path / "o.safetensors")
    names = {parameter: name for name, parameter in second.named_parameters()}
    restore_optimiser(second_optimiser, names, state)
    for x in inputs[2:]:
        step(second, second_optimiser, x)
    assert torch.equal(layer.weight, second.weight)
    assert torch.equal(layer.bias, second.bias)
