"""Resampling, repair and normalisation, against NumPy and SciPy."""

import numpy as np
import pytest

from kmerl import _kmerl

ZSCORE, MINMAX, PER_LEAD, NONE = range(4)


def tone(fs, seconds=4.0, frequencies=(1.3, 7.0, 11.0), shift=0.0, leads=3):
    """Smooth leads at any rate: the same function of time."""
    t = np.arange(round(seconds * fs)) / fs
    phases = np.arange(leads)[:, None]
    return sum(np.sin(2 * np.pi * f * t + phases * (i + 1)) for i, f in enumerate(frequencies)) + shift


def resample(x, fs_in, fs_out, **options):
    return _kmerl.resample(np.ascontiguousarray(x, dtype=np.float32), fs_in, fs_out, **options)


# Resampling


@pytest.mark.parametrize(
    "fs", [100, 128, 250, 257, 360, 400, 500, 977, 1000, 97.3, 499.99, 1000 / 3, 5000, 100000]
)
def test_resampling_keeps_a_smooth_signal_in_place(fs):
    y = resample(tone(fs), fs, 500)
    assert y.dtype == np.float32 and y.shape == (3, round(round(4 * fs) * 500 / fs))
    expected = tone(500)[:, : y.shape[1]]
    middle = slice(y.shape[1] // 8, -y.shape[1] // 8)
    np.testing.assert_allclose(y[:, middle], expected[:, middle], atol=5e-3)


@pytest.mark.parametrize(
    "fs_in, fs_out", [(100, 500), (257, 500), (360, 500), (1000, 500), (500, 100), (128, 500), (977, 500)]
)
def test_resampling_agrees_with_scipy(fs_in, fs_out):
    signal = pytest.importorskip("scipy.signal")
    x = np.random.default_rng(0).normal(size=(3, 3 * fs_in)).cumsum(1) / 20
    x -= x.mean(1, keepdims=True)
    expected = signal.resample_poly(x, fs_out, fs_in, axis=1)
    y = resample(x, fs_in, fs_out)
    middle = slice(y.shape[1] // 8, -y.shape[1] // 8)
    np.testing.assert_allclose(y[:, middle], expected[:, : y.shape[1]][:, middle], atol=1e-4 * abs(x).max())


def test_no_aliases_when_the_rate_goes_down():
    t = np.arange(10000) / 1000
    y = resample(np.sin(2 * np.pi * 330 * t)[None], 1000, 500)
    assert abs(y[:, 100:-100]).max() < 5e-3


@pytest.mark.parametrize("fs", [100, 257, 1000, 499.99])
@pytest.mark.parametrize("level", [0.0, 0.7, -123.456])
def test_a_flat_lead_stays_flat(fs, level):
    y = resample(np.full((2, 300), level), fs, 500)
    np.testing.assert_allclose(y, np.float32(level), rtol=1e-6)
    assert np.ptp(y) == 0


def test_edges_are_held():
    x = tone(250, shift=5.0)
    y = resample(x, 250, 500)
    np.testing.assert_allclose(y[:, 0], x[:, 0], atol=0.1)
    np.testing.assert_allclose(y[:, -1], x[:, -1], atol=0.1)


def test_leads_do_not_mix_and_threads_change_nothing():
    x = tone(360, leads=12)
    y = resample(x, 360, 500)
    for lead in (0, 5, 11):
        np.testing.assert_array_equal(resample(x[lead : lead + 1], 360, 500)[0], y[lead])
    np.testing.assert_array_equal(resample(x, 360, 500, threads=2), y)


def test_missing_samples_stay_missing_and_hurt_nobody():
    x = tone(250, shift=1.0)
    y = resample(x, 250, 500)
    x[0, 200:240] = np.nan
    x[1, 300] = np.inf
    x[2] = np.nan
    z = resample(x, 250, 500)
    missing = np.flatnonzero(np.isnan(z[0]))
    assert (
        missing[0] in (399, 400)
        and missing[-1] in (478, 479)
        and len(missing) == missing[-1] - missing[0] + 1
    )
    assert np.isnan(z[1]).sum() == 2 and np.isnan(z[2]).all()
    np.testing.assert_allclose(z[0][:370], y[0][:370], atol=2e-2)
    np.testing.assert_array_equal(np.isnan(resample(x, 250, 250)), ~np.isfinite(x))


def test_one_sample_and_the_same_rate():
    assert resample([[3.0]], 1, 500).tolist() == [[3.0] * 500]
    assert resample([[3.0]], 100000, 100).tolist() == [[3.0]]
    x = tone(500).astype(np.float32)
    np.testing.assert_array_equal(resample(x, 500, 500), x)


@pytest.mark.parametrize(
    "fs_in, fs_out",
    [(0, 500), (-1, 500), (float("nan"), 500), (500, 0), (500, 1e6), (0.5, 500), (100000, 99), (1001, 1)],
)
def test_bad_rates(fs_in, fs_out):
    with pytest.raises(ValueError, match="between 1 and 100000 Hz|more than 1000 times"):
        resample(np.zeros((1, 10)), fs_in, fs_out)


def test_what_the_core_takes():
    with pytest.raises(TypeError, match="float32"):
        _kmerl.resample(np.zeros((1, 10)), 100, 500)
    with pytest.raises(TypeError, match="contiguous"):
        _kmerl.resample(np.zeros((10, 2), np.float32).T, 100, 500)
    with pytest.raises(ValueError, match="dimensions"):
        _kmerl.resample(np.zeros(10, np.float32), 100, 500)
    with pytest.raises(ValueError, match="no samples"):
        _kmerl.resample(np.zeros((1, 0), np.float32), 100, 500)


# Missing samples


def test_repair_is_linear_interpolation_with_held_edges():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 200)).astype(np.float32)
    x[0, 10:20] = np.nan
    x[1, :30] = np.inf
    x[2, 180:] = -np.inf
    x[3, rng.random(200) < 0.7] = np.nan
    x[4] = np.nan
    y, missing = _kmerl.repair(x)
    assert missing.tolist() == (~np.isfinite(x)).sum(1).tolist()
    for before, after in zip(x, y, strict=True):
        there = np.flatnonzero(np.isfinite(before))
        expected = np.interp(np.arange(200), there, before[there]) if len(there) else np.zeros(200)
        np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-6)


# Normalisation


def twin(x, kind):
    """SPEC 1 in float64."""
    x = x.astype(np.float64)
    d = x - np.median(x, axis=1, keepdims=True)
    if kind == ZSCORE:
        return np.clip(d / (d.std() + 1e-6), -8, 8)
    if kind == PER_LEAD:
        return np.clip(d / (d.std(axis=1, keepdims=True) + 1e-6), -8, 8)
    if kind == MINMAX:
        return (x - x.min()) / (x.max() - x.min() + 1e-8)
    return x


@pytest.mark.parametrize("kind", [ZSCORE, MINMAX, PER_LEAD, NONE])
@pytest.mark.parametrize("leads, n", [(1, 1), (1, 2), (1, 5000), (3, 4999), (12, 100), (2, 7)])
def test_normalisation(kind, leads, n):
    rng = np.random.default_rng(leads * n)
    x = (
        rng.standard_t(2, size=(leads, n)) * rng.uniform(0.1, 3, (leads, 1)) + rng.normal(size=(leads, 1))
    ).astype(np.float32)
    np.testing.assert_allclose(_kmerl.normalise(x, kind), twin(x, kind), rtol=2e-5, atol=2e-6)


def test_normalisation_of_extremes_is_finite_and_clipped():
    for x in ([3e38, -3e38, 0.0, 1.0], [0.0] * 4, [1e-30, 0.0, 0.0, 0.0], [1.0] * 999 + [1000.0]):
        for kind in (ZSCORE, MINMAX, PER_LEAD):
            y = _kmerl.normalise(np.array([x], np.float32), kind)
            assert np.isfinite(y).all() and abs(y).max() <= 8


@pytest.mark.parametrize(
    "make",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.integers(-3, 3, n),
        lambda rng, n: np.full(n, -2.5),
        lambda rng, n: np.sort(rng.normal(size=n)),
        lambda rng, n: rng.normal(size=n) * 10.0 ** rng.integers(-30, 30, n),
        lambda rng, n: np.where(rng.random(n) < 0.5, -0.0, 0.0),
    ],
)
def test_median(make):
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 501, 5000):
        x = make(rng, n).astype(np.float32)[None]
        d = _kmerl.normalise(x, ZSCORE)
        np.testing.assert_allclose(d, twin(x, ZSCORE), rtol=1e-5, atol=1e-6)


def test_what_normalise_takes():
    for x, kind in (
        (np.zeros((13, 5)), 0),
        (np.zeros((0, 5)), 0),
        (np.zeros((1, 0)), 0),
        (np.zeros((1, 5)), 4),
    ):
        with pytest.raises(ValueError):
            _kmerl.normalise(x.astype(np.float32), kind)
