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


@pytest.mark.parametrize("grid", [None, 7])
def test_curves(grid):
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(3)
    y = (rng.random(400) < 0.3).astype(int)
    p = rng.random(400) * 0.7 + 0.29 * y
    p = p if grid is None else np.round(p * grid) / grid
    for found, expected in zip(
        metrics.roc_curve(y, p), sklearn.roc_curve(y, p, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    precision, recall, threshold = sklearn.precision_recall_curve(y, p)  # rising thresholds, and (1, 0) last
    for found, expected in zip(
        metrics.precision_recall_curve(y, p), (precision[:-1], recall[:-1], threshold), strict=True
    ):
        np.testing.assert_allclose(found, expected[::-1], rtol=1e-12)
    mean, share, count = metrics.calibration_curve(y, p, bins=10)
    if grid is None:  # scikit-learn puts scores on an edge into the bin below
        expected_share, expected_mean = calibration_curve(y, p, n_bins=10)
        np.testing.assert_allclose(share[count > 0], expected_share)
        np.testing.assert_allclose(mean[count > 0], expected_mean)


def test_bootstrap_with_scikit_learns_scores():
    """The interval of single recordings, computed with scikit-learn on other draws: the same but for chance."""
    rng = np.random.default_rng(5)
    y = (rng.random((300, 2)) < 0.3).astype(int)
    first, second = (signal * y + rng.normal(size=y.shape) for signal in (1.0, 0.5))
    values = []
    for _ in range(1500):
        rows = rng.integers(0, 300, 300)
        values.append([sklearn.roc_auc_score(y[rows], p[rows]) for p in (first, second)])
    values = np.array(values)
    found = metrics.bootstrap(y, first, n=4000)
    assert (found.low, found.high) == pytest.approx(np.percentile(values[:, 0], [2.5, 97.5]), abs=0.006)
    paired = metrics.paired_bootstrap(y, first, second, n=4000)
    difference = values[:, 0] - values[:, 1]
    assert (paired.low, paired.high) == pytest.approx(np.percentile(difference, [2.5, 97.5]), abs=0.008)
