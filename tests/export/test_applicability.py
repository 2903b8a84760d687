"""The share of training molecules farther out: by a slow count, and without units."""

import numpy as np
import pytest
import torch

from graphadapt.export.applicability import TypicalShare, describe


@pytest.fixture
def embeddings():
    """Correlated, of very different variances, more wide than there are components."""
    random = torch.Generator().manual_seed(0)
    mix = torch.randn(48, 48, generator=random) * torch.logspace(0, -2, 48)
    return torch.randn(2000, 48, generator=random) @ mix.T + 3


def test_the_distance_is_mahalanobis_with_as_many_components_as_columns():
    z = torch.randn(500, 8, dtype=torch.float64) @ torch.randn(8, 8, dtype=torch.float64)
    figure = TypicalShare(z)
    x = z - z.mean(dim=0)
    expected = (x @ torch.linalg.inv(torch.cov(z.T)) * x).sum(dim=1)
    torch.testing.assert_close(figure.double().squared_distance(z), expected, rtol=1e-4, atol=1e-4)


def test_the_share_is_a_count_of_training_molecules(embeddings):
    figure = TypicalShare(embeddings)
    distance = figure.squared_distance(embeddings)
    share = figure(embeddings)
    expected = [(distance >= each).double().mean() for each in distance[:200]]
    np.testing.assert_allclose(share[:200], np.array(expected), atol=0.02)
    assert share.min() >= -1e-6
    assert share.max() <= 1 + 1e-6
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02)


def test_what_is_far_away_has_nothing_and_what_is_central_everything(embeddings):
    figure = TypicalShare(embeddings)
    centre = embeddings.mean(dim=0, keepdim=True)
    assert float(figure(centre)) == pytest.approx(1.0, abs=1e-5)
    far = centre + 100 * embeddings.std(dim=0, keepdim=True)
    assert float(figure(far)) == pytest.approx(0.0, abs=1e-5)


def test_shift_and_scale_change_nothing(embeddings):
    first = TypicalShare(embeddings)(embeddings)
    second = TypicalShare(embeddings * 7 - 2)(embeddings * 7 - 2)
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)


def test_a_column_that_never_varies_does_no_harm(embeddings):
    z = torch.cat([embeddings[:, :5], torch.zeros(len(embeddings), 2)], dim=1)
    assert torch.isfinite(TypicalShare(z)(z)).all()


def test_one_column_is_enough():
    z = torch.randn(300, 1)
    share = TypicalShare(z)(z)
    assert float(share[z[:, 0].sub(z.mean()).abs().argmin()]) > 0.99


def test_the_figure_says_how_typical_validation_is(embeddings):
    figure = TypicalShare(embeddings)
    said = describe(figure, 2000, embeddings)
    assert (said.measure, said.molecules, said.components) == ("mahalanobis", 2000, 32)
    assert said.valid_below_5_percent == pytest.approx(0.05, abs=0.01)
    assert describe(figure, 2000, embeddings[:0]).valid_below_5_percent == 0.0
