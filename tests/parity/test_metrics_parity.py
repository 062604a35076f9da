"""Metrics against scikit-learn."""

import warnings

import numpy as np
import pytest

from kmerl import metrics

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


@pytest.mark.parametrize("grid", [None, 100, 7, 1])
@pytest.mark.parametrize("n, share", [(2, 0.5), (50, 0.5), (3000, 0.01), (3000, 0.6)])
def test_scores(n, share, grid):
    rng = np.random.default_rng(n)
    y = (rng.random((n, 3)) < share).astype(int)
    y[0], y[-1] = 1, 0
    p = rng.random((n, 3)) * 0.7 + 0.3 * y
    p = p if grid is None else np.round(p * grid) / grid
    options = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(
        metrics.roc_auc_score(y, p, average=None), sklearn.roc_auc_score(y, p, average=None), **options
    )
    np.testing.assert_allclose(
        metrics.average_precision_score(y, p, average=None),
        sklearn.average_precision_score(y, p, average=None),
        **options,
    )
    np.testing.assert_allclose(
        metrics.f1_score(y, p, 0.5, average=None),
        sklearn.f1_score(y, p >= 0.5, average=None, zero_division=0),
        **options,
    )
    np.testing.assert_allclose(
        metrics.brier_score(y, p, average=None),
        [sklearn.brier_score_loss(y[:, k], p[:, k]) for k in range(3)],
        **options,
    )
    assert metrics.roc_auc_score(y, p) == pytest.approx(
        sklearn.roc_auc_score(y, p, average="macro"), rel=1e-12
    )


def test_oracle_f1_is_the_maximum_over_the_precision_recall_curve():
    rng = np.random.default_rng(1)
    y = rng.random(500) < 0.2
    p = np.round(rng.random(500) + 0.2 * y, 2)
    precision, recall, _ = sklearn.precision_recall_curve(y, p)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmax(2 * precision * recall / (precision + recall))
    assert metrics.oracle_f1_score(y, p) == pytest.approx(expected, rel=1e-12)
