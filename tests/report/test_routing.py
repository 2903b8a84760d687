"""Routing figures of weights whose answers are known."""

import math

import pytest
import torch

from graphadapt.report.routing import describe_gates, routing_table

NAMES = ["a", "b"]


def test_sharp_routes_have_no_entropy_and_leave_adapters_idle():
    found = describe_gates({"readout": torch.eye(4)[:2]}, NAMES)["readout"]
    assert found.adapters == 4
    assert found.entropy == pytest.approx(0.0, abs=1e-6)
    assert found.effective == pytest.approx(1.0)
    assert found.used == {"a": 1, "b": 1}
    assert found.mean_used == 1.0
    assert found.idle == 2
    assert found.load == [0.5, 0.5, 0.0, 0.0]
    assert found.imbalance == pytest.approx(4 * 0.5 - 1)


def test_even_routes_use_all_adapters_alike():
    found = describe_gates({"x": torch.full((2, 4), 0.25)}, NAMES)["x"]
    assert found.entropy == pytest.approx(math.log(4))
    assert found.effective == pytest.approx(4.0)
    assert found.imbalance == pytest.approx(0.0, abs=1e-6)
    assert (found.idle, found.mean_used) == (0, 4.0)


def test_figures_are_means_over_tasks():
    gate = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    found = describe_gates({"x": gate}, NAMES)["x"]
    assert found.entropy == pytest.approx(math.log(2) / 2)
    assert found.effective == pytest.approx(1.5)
    assert found.to_dict()["mean_used"] == 1.5


def test_every_site_is_one_row():
    gates = {"layers.1": torch.eye(2), "readout": torch.full((2, 2), 0.5)}
    lines = routing_table(describe_gates(gates, NAMES)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["layers.1", "readout"]
    assert lines[2].split() == ["readout", "2", "2.00", "2.00", "0.69", "0.69", "0"]
