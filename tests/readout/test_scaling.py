import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graphadapt.readout.scaling import TargetScaling

NAN = float("nan")


def test_regression_tasks_get_mean_and_deviation_of_their_labels():
    labels = np.array([[1.0, 0.0], [3.0, 1.0], [NAN, NAN]], np.float32)
    scaling = TargetScaling.fit(labels, np.array([False, True]))
    assert scaling.mean.tolist() == [2.0, 0.0]
    assert scaling.deviation.tolist() == [1.0, 1.0]


def test_a_task_of_one_value_or_none_keeps_its_scale():
    labels = np.array([[4.0, NAN], [4.0, NAN]], np.float32)
    scaling = TargetScaling.fit(labels, np.array([False, False]))
    assert scaling.mean.tolist() == [4.0, 0.0]
    assert scaling.deviation.tolist() == [1.0, 1.0]


def test_a_missing_label_stays_missing():
    scaling = TargetScaling(torch.tensor([1.0]), torch.tensor([2.0]))
    assert scaling.standardise(torch.tensor([[NAN]])).isnan().all()


@given(arrays(np.float32, (5, 3), elements=st.floats(-1e3, 1e3, width=32)))
def test_restoring_undoes_standardising(labels):
    scaling = TargetScaling.fit(labels, np.array([False, True, False]))
    values = torch.from_numpy(labels)
    restored = scaling.restore(scaling.standardise(values))
    torch.testing.assert_close(restored, values, rtol=1e-4, atol=1e-2)


def test_both_ways_pass_gradcheck():
    torch.manual_seed(0)
    scaling = TargetScaling(torch.randn(3).double(), torch.rand(3).double() + 0.5)
    y_GT = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scaling.standardise, y_GT)
    assert torch.autograd.gradcheck(scaling.restore, y_GT)
