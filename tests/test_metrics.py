"""Metrics against values worked out by hand, slow twins, and a twin of the whole bootstrap."""

import math
import warnings

import numpy as np
import pytest

from kmerl import metrics

# ---- Twins: every definition spelled out, one class ----


def roc_auc_twin(y, p):
    """Share of (positive, negative) pairs in the right order, ties as half."""
    positive, negative = p[y == 1], p[y == 0]
    if not len(positive) or not len(negative):
        return np.nan
    difference = positive[:, None] - negative[None, :]
    return np.mean((difference > 0) + 0.5 * (difference == 0))


def average_precision_twin(y, p):
    if y.min() == y.max():
        return np.nan
    area, recall = 0.0, 0.0
    for threshold in sorted(set(p), reverse=True):
        called = p >= threshold
        precision, new = np.mean(y[called]), np.sum(y[called]) / np.sum(y)
        area, recall = area + (new - recall) * precision, new
    return area


def f1_twin(y, p, threshold):
    if y.min() == y.max():
        return np.nan
    called = p >= threshold
    precision = np.sum(y[called]) / max(1, np.sum(called))
    recall = np.sum(y[called]) / np.sum(y)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def oracle_f1_twin(y, p):
    return max(f1_twin(y, p, threshold) for threshold in p) if y.min() != y.max() else np.nan


def brier_twin(y, p):
    return np.mean((p - y) ** 2)


def calibration_twin(y, p, bins=15):
    bin_of = np.minimum(np.floor(p * bins), bins - 1)
    return sum(np.mean(bin_of == b) * abs(y[bin_of == b].mean() - p[bin_of == b].mean()) for b in set(bin_of))


TWINS = {
    "roc_auc": (metrics.roc_auc_score, roc_auc_twin),
    "average_precision": (metrics.average_precision_score, average_precision_twin),
    "f1": (lambda y, p, **k: metrics.f1_score(y, p, 0.4, **k), lambda y, p: f1_twin(y, p, 0.4)),
    "oracle_f1": (metrics.oracle_f1_score, oracle_f1_twin),
    "brier": (metrics.brier_score, brier_twin),
    "expected_calibration_error": (metrics.expected_calibration_error, calibration_twin),
}


def example(seed, n=60, classes=4, grid=None):
    """Outcomes and scores; on a coarse grid there are many ties."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, classes)) < rng.uniform(0.1, 0.6, classes)).astype(np.uint8)
    y[0], y[1] = 1, 0
    p = rng.random((n, classes))
    return y, p if grid is None else np.round(p * grid) / grid


# ---- Values ----


def test_by_hand():
    y = [0, 0, 1, 1]
    p = [0.1, 0.4, 0.35, 0.8]
    assert metrics.roc_auc_score(y, p) == 0.75
    # thresholds 0.8, 0.4, 0.35: precision 1, 1/2, 2/3; recall 1/2, 1/2, 1
    assert metrics.average_precision_score(y, p) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3, abs=1e-15)
    assert metrics.f1_score(y, p, 0.4) == 0.5  # one hit, one false alarm, one miss
    assert metrics.oracle_f1_score(y, p) == pytest.approx(0.8)  # at 0.35: two hits, one false alarm
    assert metrics.f1_threshold(y, p) == 0.35
    assert metrics.brier_score(y, p) == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)
    # bins [0, .5) and [.5, 1]: |1/3 - 0.85/3| * 3/4 + |1 - 0.8| / 4
    assert metrics.expected_calibration_error(y, p, bins=2) == pytest.approx(0.15 / 4 + 0.2 / 4)


def test_equal_scores():
    y = [1, 0, 1, 0]
    assert metrics.roc_auc_score(y, [0.5] * 4) == 0.5
    assert metrics.average_precision_score(y, [0.5] * 4) == 0.5
    # ranks 1, 2.5, 2.5, 4 for scores .1 .2 .2 .3
    assert metrics.roc_auc_score([0, 1, 0, 1], [0.1, 0.2, 0.2, 0.3]) == (1.5 + 2) / 4


@pytest.mark.parametrize("grid", [None, 10, 2])
@pytest.mark.parametrize("name", TWINS)
def test_against_twin(name, grid):
    function, twin = TWINS[name]
    y, p = example(3, grid=grid)
    expected = [twin(y[:, k], p[:, k]) for k in range(y.shape[1])]
    np.testing.assert_allclose(function(y, p, average=None), expected, rtol=1e-12, atol=1e-14)
    assert function(y, p) == pytest.approx(np.mean(expected), rel=1e-12)
    assert function(y[:, 0], p[:, 0]) == pytest.approx(expected[0], rel=1e-12, abs=1e-14)


def test_threshold_is_the_best_one_and_the_highest_of_equals():
    y, p = example(5, grid=8)
    thresholds = metrics.f1_threshold(y, p)
    np.testing.assert_array_equal(
        metrics.f1_score(y, p, thresholds, average=None), metrics.oracle_f1_score(y, p, average=None)
    )
    # 0.9 and 0.2 both give F1 2/3
    assert metrics.f1_threshold([1, 0, 1, 0], [0.9, 0.5, 0.2, 0.1]) == 0.2
    assert metrics.f1_threshold([1, 0, 0, 1], [0.9, 0.5, 0.3, 0.1]) == 0.9


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_types_and_layouts_of_outcomes(dtype):
    y, p = example(7)
    expected = metrics.roc_auc_score(y, p)
    assert metrics.roc_auc_score(np.asfortranarray(y.astype(dtype)), p[:, ::1]) == expected
    assert metrics.roc_auc_score(y[::-1], p[::-1]) == expected
    assert metrics.roc_auc_score(y.tolist(), p.tolist()) == expected


def test_scores_need_not_be_probabilities():
    y, p = example(9)
    assert metrics.roc_auc_score(y, 7 * p - 3) == metrics.roc_auc_score(y, p)


# ---- Classes with one outcome ----


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "f1", "oracle_f1"])
def test_classes_with_one_outcome_are_left_out_and_listed(name):
    function, _ = TWINS[name]
    y, p = example(11)
    y[:, 1], y[:, 3] = 0, 1
    with pytest.warns(metrics.UndefinedMetricWarning, match="2 of 4 classes have only one outcome.*b, d"):
        each = function(y, p, average=None, classes=list("abcd"))
    assert np.isnan(each[[1, 3]]).all()
    with pytest.warns(metrics.UndefinedMetricWarning):
        assert function(y, p) == pytest.approx(each[[0, 2]].mean())
    with pytest.warns(metrics.UndefinedMetricWarning):
        assert np.isnan(function(y[:, 1], p[:, 1]))


@pytest.mark.parametrize("function", [metrics.roc_auc_score, metrics.bootstrap, metrics.f1_threshold])
def test_the_warning_points_at_the_caller(function):
    with pytest.warns(metrics.UndefinedMetricWarning) as caught:
        function([0, 0], [0.1, 0.2])
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["brier", "expected_calibration_error"])
def test_calibration_exists_with_one_outcome(name):
    function, twin = TWINS[name]
    y, p = np.zeros(20, np.uint8), np.linspace(0, 1, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function(y, p) == pytest.approx(twin(y, p))


def test_class_without_a_validation_threshold_has_no_f1():
    y, p = example(13)
    none = y.copy()
    none[:, 2] = 0
    with pytest.warns(metrics.UndefinedMetricWarning):
        thresholds = metrics.f1_threshold(none, p)
    each = metrics.f1_score(y, p, thresholds, average=None)
    assert np.isnan(each).tolist() == [False, False, True, False]


# ---- Bootstrap ----


def philox_twin(seed, stream, a, count):
    """The first `count` numbers of the core's generator, Philox4x32-10, for (seed, stream, a, b = 0)."""
    numbers = []
    for i in range(-(-count // 4)):
        c, k = [i, a, 0, stream << 24], [seed & 0xFFFFFFFF, seed >> 32]
        for _ in range(10):
            left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [
                (right >> 32) ^ c[1] ^ k[0],
                right & 0xFFFFFFFF,
                (left >> 32) ^ c[3] ^ k[1],
                left & 0xFFFFFFFF,
            ]
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        numbers += c
    return numbers[:count]


STREAM_BOOTSTRAP = 7  # core/rng.h


@pytest.mark.parametrize("name", TWINS)
def test_bootstrap_against_twin(name):
    function, twin = TWINS[name]
    y, p = example(17, n=40, classes=3, grid=20)
    y[:, 2] = 0
    y[4, 2] = 1  # one patient holds all positives: some resamples have none
    groups = np.random.default_rng(1).integers(0, 16, 40)
    order = list(dict.fromkeys(groups.tolist()))
    values = []
    for resample in range(50):
        drawn = [x % len(order) for x in philox_twin(2**40 + 5, STREAM_BOOTSTRAP, resample, len(order))]
        rows = np.concatenate([np.flatnonzero(groups == order[g]) for g in drawn])
        each = np.array([twin(y[rows, k], p[rows, k]) for k in range(3)])
        values.append([*each, np.nanmean(each)])
    low, high = np.nanpercentile(values, [2.5, 97.5], axis=0)
    result = metrics.bootstrap(
        y, p, groups=groups, n=50, seed=2**40 + 5, metric=name, threshold=0.4 if name == "f1" else None
    )
    each = [*result.per_class.values()]
    np.testing.assert_allclose([row["low"] for row in each] + [result.low], low, rtol=1e-10)
    np.testing.assert_allclose([row["high"] for row in each] + [result.high], high, rtol=1e-10)
    assert [row["resamples"] for row in each] == np.isfinite(np.array(values)[:, :3]).sum(axis=0).tolist()
    assert result.estimate == function(y, p)
    if name == "roc_auc":
        assert each[2]["resamples"] < 50


def test_bootstrap_is_the_same_on_any_number_of_threads():
    y, p = example(19, n=300, classes=5)
    one, two, four = (metrics.bootstrap(y, p, n=200, threads=threads) for threads in (1, 2, 4))
    assert one == two == four
    assert metrics.bootstrap(y, p, n=200, seed=1).low != one.low


def test_bootstrap_draws_patients_not_recordings():
    y, p = example(23, n=50, classes=1)
    alone = metrics.bootstrap(y, p, n=300)
    copies = metrics.bootstrap(
        np.repeat(y, 4, axis=0), np.repeat(p, 4, axis=0), groups=np.repeat(np.arange(50), 4), n=300
    )
    assert (copies.estimate, copies.low, copies.high) == (alone.estimate, alone.low, alone.high)
    assert copies.patients == 50


def test_bootstrap_result():
    y, p = example(29, classes=3)
    y[:, 1] = 0
    with pytest.warns(metrics.UndefinedMetricWarning):
        result = metrics.bootstrap(y, p, classes=["af", "normal", "rbbb"], n=100)
    assert result.skipped == ["normal"]
    assert result.low < result.estimate < result.high
    assert list(result.per_class) == ["af", "normal", "rbbb"]
    assert np.isnan(result.per_class["normal"]["low"]) and result.per_class["normal"]["resamples"] == 0
    assert str(result).startswith("roc_auc 0.")
    with pytest.warns(metrics.UndefinedMetricWarning):
        assert metrics.bootstrap(y, p, n=10).skipped == [1]


def test_bootstrap_covers_the_truth():
    """Over 60 samples of a known AUC, a 95 % interval misses it a few times, not often."""
    rng = np.random.default_rng(31)
    truth = 0.76024993890652  # of two normal distributions 1 apart: Phi(1 / sqrt(2))
    missed = 0
    for _ in range(60):
        y = np.arange(120) % 2
        result = metrics.bootstrap(y, rng.normal(y, 1.0), n=200)
        missed += not result.low <= truth <= result.high
    assert missed <= 9


# ---- Two models ----


def pair(seed, n=60, classes=3, grid=None, better=0.8):
    """Outcomes and the scores of a better and a worse model that err alike."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, classes)) < 0.4).astype(np.uint8)
    y[0], y[1] = 1, 0
    shared = rng.normal(size=(n, classes))
    scores = [signal * y + shared + 0.5 * rng.normal(size=(n, classes)) for signal in (better, 0.0)]
    first, second = (1 / (1 + np.exp(-z)) for z in scores)
    return (y, first, second) if grid is None else (y, np.round(first * grid) / grid, np.round(second * grid) / grid)


@pytest.mark.parametrize("name", TWINS)
def test_paired_bootstrap_against_twin(name):
    _, twin = TWINS[name]
    y, first, second = pair(3, n=40, grid=20)
    y[:, 2] = 0
    y[4, 2] = 1  # some resamples have no positive of it
    groups = np.random.default_rng(1).integers(0, 16, 40)
    order = list(dict.fromkeys(groups.tolist()))
    thresholds = (0.4, 0.6) if name == "f1" else None
    twins = [lambda y, p, t=t: f1_twin(y, p, t) for t in thresholds] if thresholds else [twin, twin]
    values = []
    for resample in range(50):
        drawn = [x % len(order) for x in philox_twin(9, STREAM_BOOTSTRAP, resample, len(order))]
        rows = np.concatenate([np.flatnonzero(groups == order[g]) for g in drawn])
        each = [twins[0](y[rows, k], first[rows, k]) - twins[1](y[rows, k], second[rows, k]) for k in range(3)]
        values.append([*each, np.nanmean(each)])
    values = np.array(values)
    result = metrics.paired_bootstrap(
        y, first, second, groups=groups, n=50, seed=9, metric=name, threshold=thresholds
    )
    rows = [*result.per_class.values()]
    low, high = np.nanpercentile(values, [2.5, 97.5], axis=0)
    np.testing.assert_allclose([row["low"] for row in rows] + [result.low], low, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([row["high"] for row in rows] + [result.high], high, rtol=1e-9, atol=1e-12)
    there = np.isfinite(values).sum(axis=0)
    assert [row["resamples"] for row in rows] == there[:3].tolist()
    values = np.where(np.abs(values) < 1e-12, 0, values)  # the twins round where the core counts
    nearer = np.minimum((values <= 0).sum(axis=0), (values >= 0).sum(axis=0))
    expected = np.minimum(1, 2 * (1 + nearer) / (1 + there))
    found = [row["p_value"] for row in rows] + [result.p_value]
    if name not in ("brier", "expected_calibration_error", "average_precision"):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    else:  # a difference of sums may be 1e-17 where the twin's is 0
        np.testing.assert_allclose(found, expected, atol=2 / 51)
    each = [twins[0](y[:, k], first[:, k]) - twins[1](y[:, k], second[:, k]) for k in range(3)]
    np.testing.assert_allclose([row["difference"] for row in rows], each, rtol=1e-9, atol=1e-12)
    assert result.difference == pytest.approx(np.mean(each))


def delong(y, first, second):
    """DeLong, DeLong and Clarke-Pearson (1988): two-sided p value that two correlated AUCs are the same."""
    aucs, places = [], []
    for p in (first, second):
        positive, negative = p[y == 1], p[y == 0]
        order = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
        aucs.append(order.mean())
        places.append((order.mean(axis=1), order.mean(axis=0)))
    variance = sum(
        np.var(one - other, ddof=1) / len(one) for one, other in zip(places[0], places[1], strict=True)
    )
    return math.erfc(abs(aucs[0] - aucs[1]) / math.sqrt(2 * variance))


@pytest.mark.parametrize("better", [0.0, 0.2, 0.35])
def test_p_values_agree_with_delong(better):
    for seed in range(4):
        y, first, second = pair(seed, n=400, classes=1, better=better)
        found = metrics.paired_bootstrap(y[:, 0], first[:, 0], second[:, 0], n=4000).p_value
        assert found == pytest.approx(delong(y[:, 0], first[:, 0], second[:, 0]), rel=0.2, abs=0.02)


def test_no_difference_is_seldom_found():
    """Of 100 pairs of equally good models about 5 differ at 5 %."""
    found = [metrics.paired_bootstrap(*pair(seed, n=150, classes=1, better=0.0), n=300).p_value for seed in range(100)]
    assert 0 <= sum(p <= 0.05 for p in found) <= 12
    assert 0.3 < np.mean(found) < 0.7


def test_a_model_does_not_differ_from_itself():
    y, first, _ = pair(5)
    result = metrics.paired_bootstrap(y, first, first, n=100)
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_pairs_the_other_way_round():
    y, first, second = pair(6)
    one = metrics.paired_bootstrap(y, first, second, n=200, classes=["a", "b", "c"])
    other = metrics.paired_bootstrap(y, second, first, n=200, classes=["a", "b", "c"])
    assert one.difference == pytest.approx(-other.difference) and one.low == pytest.approx(-other.high)
    assert one.p_value == other.p_value and one.per_class["b"]["p_value"] == other.per_class["b"]["p_value"]
    assert str(one).startswith("difference of roc_auc +0.") and "p = " in str(one)
    assert one == metrics.paired_bootstrap(y, first, second, n=200, classes=["a", "b", "c"], threads=3)


def test_pairs_use_what_they_share():
    """The interval of the difference is far narrower than that of either model where both err alike."""
    y, first, second = pair(8, n=200, classes=1)
    alone, together = metrics.bootstrap(y, first), metrics.paired_bootstrap(y, first, second)
    separate = metrics.bootstrap(y, second)
    assert together.high - together.low < 0.8 * ((alone.high - alone.low) + (separate.high - separate.low))
    assert together.difference == pytest.approx(alone.estimate - separate.estimate)


def test_pairs_with_a_class_of_one_outcome():
    y, first, second = pair(9)
    y[:, 1] = 1
    with pytest.warns(metrics.UndefinedMetricWarning, match="1 of 3 classes"):
        result = metrics.paired_bootstrap(y, first, second, n=50)
    assert result.skipped == [1] and np.isnan(result.per_class[1]["p_value"])
    y[:] = 0
    with pytest.warns(metrics.UndefinedMetricWarning):
        result = metrics.paired_bootstrap(y, first, second, n=50)
    assert np.isnan([result.difference, result.low, result.high, result.p_value]).all()


# ---- Curves ----


@pytest.mark.parametrize("grid", [None, 5])
def test_curves_hold_the_area(grid):
    y, p = example(41, n=80, classes=1, grid=grid)
    y, p = y[:, 0], p[:, 0]
    fpr, tpr, thresholds = metrics.roc_curve(y, p)
    assert (fpr[0], tpr[0], thresholds[0], fpr[-1], tpr[-1]) == (0, 0, np.inf, 1, 1)
    area = np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2)
    assert area == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
    precision, recall, at = metrics.precision_recall_curve(y, p)
    assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(metrics.average_precision_score(y, p))
    assert len(at) == len(set(p.tolist())) and np.array_equal(at, thresholds[1:]) and (np.diff(at) < 0).all()
    for threshold, share, hit in zip(at, fpr[1:], tpr[1:], strict=True):
        called = p >= threshold
        assert (share, hit) == (called[y == 0].mean(), called[y == 1].mean())


def test_calibration_curve_holds_the_error():
    y, p = example(43, n=200, classes=1)
    y, p = y[:, 0], np.append(p[1:, 0] * 0.9, 1.0)
    mean, share, count = metrics.calibration_curve(y, p, bins=20)
    assert count.sum() == 200 and count[-1] == 1 and mean[-1] == 1.0 and np.isnan(mean[count == 0]).all()
    error = np.nansum(count / 200 * np.abs(mean - share))
    assert error == pytest.approx(metrics.expected_calibration_error(y, p, bins=20))


# ---- Bad input ----

Y, P = [0, 1, 1, 0], [0.1, 0.9, 0.4, 0.2]


@pytest.mark.parametrize(
    "y, p, error, message",
    [
        (Y, P[:3], ValueError, r"y has shape \(4,\), p has shape \(3,\)"),
        ([Y], [P[:2]], ValueError, "expected the same"),
        ([], [], ValueError, "at least one recording"),
        (np.zeros((4, 0)), np.zeros((4, 0)), ValueError, "at least one recording and one class"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), ValueError, r"expected \(N,\) or \(N, classes\)"),
        ([0, 2, 1, 0], P, ValueError, r"y holds 2 \(recording 1\), expected 0 or 1"),
        ([0, 0.5, 1, 0], P, ValueError, r"y holds 0.5 \(recording 1\)"),
        ([0, np.nan, 1, 0], P, ValueError, r"y holds nan \(recording 1\)"),
        ([0, -1, 1, 0], P, ValueError, "y holds -1"),
        (["a", "b", "c", "d"], P, TypeError, "y has dtype <U1, expected numbers"),
        (Y, [0.1, np.nan, 0.4, np.nan], ValueError, r"p holds nan \(recording 1; 2 in all\)"),
        (Y, [0.1, np.inf, 0.4, 0.2], ValueError, "p holds inf"),
        ([[0, 1], [1, 0]], [[0.1, 0.2], [0.3, np.nan]], ValueError, r"recording 1, column 1"),
        ([[0, 1], [1]], P, ValueError, "y is no rectangular array"),
        (Y, [1j, 1, 1, 1], TypeError, "p has dtype complex128"),
    ],
)
def test_bad_outcomes_and_scores(y, p, error, message):
    for function in (metrics.roc_auc_score, metrics.brier_score, metrics.bootstrap, metrics.f1_threshold):
        with pytest.raises(error, match=message):
            function(y, p)


@pytest.mark.parametrize("function", [metrics.brier_score, metrics.expected_calibration_error])
def test_calibration_needs_probabilities(function):
    with pytest.raises(ValueError, match=r"p holds 1.5 \(recording 2\), expected probabilities in \[0, 1\]"):
        function(Y, [0.1, 0.9, 1.5, 0.2])


@pytest.mark.parametrize(
    "options, error, message",
    [
        (
            {"groups": ["a", "b", "c"]},
            ValueError,
            "groups has 3 entries, expected one for each of the 4 recordings",
        ),
        ({"groups": ["a", "b", None, "c"]}, ValueError, "groups has no patient for recording 2"),
        ({"groups": [1.0, 2.0, np.nan, 4.0]}, ValueError, "groups has no patient for recording 2"),
        ({"groups": [[1], [2], [3], [4]]}, TypeError, r"groups\[0\] is list"),
        ({"groups": [7, 7, 7, 7]}, ValueError, "groups holds one patient"),
        ({"n": 0}, ValueError, "n is 0, expected 1 to"),
        ({"n": 10.0}, TypeError, "n is 10.0, expected a whole number"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"level": 95}, ValueError, "level is 95, expected a number between 0 and 1"),
        ({"metric": "auc"}, ValueError, "metric is 'auc', expected one of roc_auc"),
        ({"metric": "f1"}, ValueError, "threshold is missing"),
        ({"threshold": 0.5}, ValueError, "threshold belongs to"),
        ({"metric": "f1", "threshold": [0.5, 0.5]}, ValueError, r"threshold has shape \(2,\)"),
        ({"metric": "expected_calibration_error", "bins": 0}, ValueError, "bins is 0"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"classes": ["a", "b"]}, ValueError, "classes holds 2 names"),
        ({"classes": "a"}, ValueError, "classes holds a text"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        metrics.bootstrap(Y, P, **options)


def test_bad_average():
    with pytest.raises(ValueError, match="average is 'micro'"):
        metrics.roc_auc_score(Y, P, average="micro")


@pytest.mark.parametrize(
    "first, second, options, message",
    [
        (P, P[:3], {}, r"y has shape \(4,\), second has shape \(3,\)"),
        (P[:3], P, {}, r"y has shape \(4,\), first has shape \(3,\)"),
        (P, [0.1, np.nan, 0.4, 0.2], {}, "second holds nan"),
        (P, P, {"groups": [7, 7, 7, 7]}, "groups holds one patient"),
        (P, P, {"metric": "f1"}, "threshold is missing"),
        (P, P, {"metric": "f1", "threshold": 0.5}, "threshold must be a pair"),
        (P, P, {"threshold": (0.5, 0.5)}, "threshold belongs to"),
        (P, [0.1, 2.0, 0.4, 0.2], {"metric": "brier"}, "second holds 2 .*expected probabilities"),
    ],
)
def test_bad_pairs(first, second, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.paired_bootstrap(Y, first, second, **options)


@pytest.mark.parametrize("function", [metrics.roc_curve, metrics.precision_recall_curve])
def test_curves_need_one_class_with_both_outcomes(function):
    with pytest.raises(ValueError, match="y has only one outcome"):
        function([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="expected one class"):
        function([[1, 0]], [[0.1, 0.2]])
    with pytest.raises(ValueError, match="p holds nan"):
        function([1, 0], [0.1, np.nan])


def test_calibration_curve_is_checked():
    with pytest.raises(ValueError, match="expected one class"):
        metrics.calibration_curve([[1, 0]], [[0.1, 0.2]])
    with pytest.raises(ValueError, match="bins is 0"):
        metrics.calibration_curve(Y, P, bins=0)
    with pytest.raises(ValueError, match="expected probabilities"):
        metrics.calibration_curve(Y, [0.1, 0.9, 1.5, 0.2])


def test_mean_bootstrap_of_one_set_is_bootstrap():
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 2, (60, 3)), rng.random((60, 3))
    groups = [f"p{i // 2}" for i in range(60)]
    one = metrics.bootstrap(y, p, groups=groups, n=200, seed=3)
    mean = metrics.mean_bootstrap([(y, p, groups)], n=200, seed=3)
    assert (mean.estimate, mean.low, mean.high, mean.patients) == (one.estimate, one.low, one.high, one.patients)


def test_mean_bootstrap_draws_the_patients_of_a_source_once():
    """Two tasks that are the same vary as one; two sources that are alike vary apart, so that their mean varies less."""
    rng = np.random.default_rng(2)
    y, p = rng.integers(0, 2, (60, 3)), rng.random((60, 3))
    groups = list(range(60))
    one = metrics.bootstrap(y, p, groups=groups, n=400)
    same = metrics.mean_bootstrap([(y, p, groups)] * 2, sources=["a", "a"], n=400)
    apart = metrics.mean_bootstrap([(y, p, groups)] * 2, n=400)
    assert (same.low, same.high) == pytest.approx((one.low, one.high), abs=1e-12)
    assert (apart.high - apart.low) / (one.high - one.low) == pytest.approx(0.5**0.5, abs=0.12)


def test_mean_bootstrap_by_hand():
    """A source whose tasks hold different patients: each task sees its own share of the common draw."""
    rng = np.random.default_rng(3)
    y, p = rng.integers(0, 2, (50, 2)), rng.random((50, 2))
    groups = np.arange(50) // 2
    first, second = slice(0, 30), slice(10, 50)
    mean = metrics.mean_bootstrap(
        [(y[first], p[first], groups[first]), (y[second], p[second], groups[second])], sources="aa", n=100
    )
    assert mean.patients == 25
    both = [metrics.roc_auc_score(y[part], p[part]) for part in (first, second)]
    assert mean.estimate == pytest.approx(np.mean(both)) and mean.low < mean.estimate < mean.high


def test_mean_bootstrap_refuses():
    y, p = np.array([[0], [1]]), np.array([[0.1], [0.9]])
    with pytest.raises(ValueError, match="sets is empty"):
        metrics.mean_bootstrap([])
    with pytest.raises(ValueError, match="sources has 2 entries, expected one for each of the 1 sets"):
        metrics.mean_bootstrap([(y, p, None)], sources=["a", "b"])
    with pytest.raises(ValueError, match="one patient"):
        metrics.mean_bootstrap([(y, p, ["a", "a"])])
