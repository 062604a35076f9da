"""Metrics of multi-label prediction, with bootstrap intervals over patients (SPEC 9).

Outcomes ``y`` hold 0 and 1, scores ``p`` any finite numbers (probabilities for `brier_score` and
`expected_calibration_error`); both are ``(N,)`` for one class or ``(N, classes)``. Every function
returns the macro average, or with ``average=None`` one number a class. A class whose outcomes are all
the same has no ROC, precision-recall curve or F1: it is NaN, left out of the macro average, and an
`UndefinedMetricWarning` lists it.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np

from kmerl import _kmerl

__all__ = [
    "METRICS",
    "Bootstrap",
    "PairedBootstrap",
    "UndefinedMetricWarning",
    "average_precision_score",
    "bootstrap",
    "brier_score",
    "calibration_curve",
    "expected_calibration_error",
    "f1_score",
    "f1_threshold",
    "mean_bootstrap",
    "oracle_f1_score",
    "paired_bootstrap",
    "precision_recall_curve",
    "roc_auc_score",
    "roc_curve",
    "score",
]

# The names of the C core's km_metric, in its order.
METRICS = ("roc_auc", "average_precision", "f1", "oracle_f1", "brier", "expected_calibration_error")
_CALIBRATION = ("brier", "expected_calibration_error")


class UndefinedMetricWarning(UserWarning):
    """A class has no positive or no negative recording, so its metric does not exist."""


def roc_auc_score(y, p, *, average="macro", classes=None):
    """Area under the ROC curve, by mid-ranks: P(p+ > p-) + P(p+ = p-) / 2.

    Parameters
    ----------
    y : array_like of {0, 1}, (N,) or (N, classes)
        Outcomes.
    p : array_like of float, same shape
        Scores; a larger one means more likely positive.
    average : {"macro", None}
        The mean over classes with both outcomes, or one number a class.
    classes : sequence of str, optional
        Names for the warning and errors; column numbers otherwise.

    Returns
    -------
    float, or ndarray of float64 (classes,) with ``average=None``

    Raises
    ------
    TypeError, ValueError
        Shapes that differ, outcomes other than 0 and 1, scores that are NaN or infinite, no recording.

    Warns
    -----
    UndefinedMetricWarning
        A class without both outcomes: NaN, and not in the average.
    """
    return score("roc_auc", y, p, average=average, classes=classes)


def average_precision_score(y, p, *, average="macro", classes=None):
    """Area under the precision-recall curve: the sum over distinct scores of precision times gain in recall.

    No interpolation; equal scores share one threshold (scikit-learn's definition). Parameters, errors
    and warnings as in `roc_auc_score`.
    """
    return score("average_precision", y, p, average=average, classes=classes)


def f1_score(y, p, threshold, *, average="macro", classes=None):
    """F1 = 2 TP / (2 TP + FP + FN) where a recording is called positive if p >= threshold.

    Parameters
    ----------
    y, p, average, classes
        As in `roc_auc_score`.
    threshold : float or array_like (classes,)
        Chosen on other recordings: ``f1_threshold(y_validation, p_validation)``. A class whose
        threshold is NaN (there was none to choose) has no F1.
    """
    return score("f1", y, p, average=average, classes=classes, threshold=threshold)


def f1_threshold(y, p, *, classes=None):
    """The threshold of the largest F1 of each class, to be chosen on validation recordings.

    Of several equally good thresholds the highest is taken. Parameters, errors and warnings as in
    `roc_auc_score`.

    Returns
    -------
    float for outcomes (N,), ndarray of float64 (classes,) for (N, classes)
        NaN for a class without both outcomes.
    """
    y, p, one = _check(y, p, classes)
    threshold = _kmerl.metrics_threshold(y, p, _threads())
    _warn(y, classes, 2)
    return float(threshold[0]) if one else threshold


def oracle_f1_score(y, p, *, average="macro", classes=None):
    """The largest F1 of any threshold, chosen on the recordings it is scored on: what MERL reports as F1.

    It needs the answers, so it flatters; use it to compare with MERL's tables only, and say so.
    Parameters, errors and warnings as in `roc_auc_score`.
    """
    return score("oracle_f1", y, p, average=average, classes=classes)


def brier_score(y, p, *, average="macro", classes=None):
    """Mean squared difference of probability and outcome; exists for a class with one outcome too.

    Parameters and errors as in `roc_auc_score`; ``p`` outside [0, 1] is a ValueError.
    """
    return score("brier", y, p, average=average, classes=classes)


def expected_calibration_error(y, p, *, bins=15, average="macro", classes=None):
    """Mean over recordings of |share of positives - mean probability| in the recording's bin.

    Bin b of the ``bins`` equal ones holds b / bins <= p < (b + 1) / bins, the last one p = 1 too.
    It exists for a class with one outcome. Parameters and errors as in `brier_score`.
    """
    return score("expected_calibration_error", y, p, average=average, classes=classes, bins=bins)


def score(metric, y, p, *, average="macro", classes=None, threshold=None, bins=15):
    """The metric of that name, one of `METRICS`; parameters as of the metric's own function."""
    if average not in ("macro", None):
        raise ValueError(f'average is {average!r}, expected "macro" or None')
    number = _metric(metric)
    y, p, _ = _check(y, p, classes, probabilities=metric in _CALIBRATION)
    threshold = _threshold(threshold, metric, y.shape[1])
    bins = _whole(bins, "bins", 1, 2**31 - 1)
    values = _kmerl.metrics_score(y, p, number, threshold, bins, _threads())
    if metric not in _CALIBRATION:
        _warn(y, classes, 3)  # as seen from roc_auc_score and its like
    return float(values[-1]) if average == "macro" else values[:-1].copy()


@dataclass(frozen=True)
class Bootstrap:
    """A metric with its bootstrap interval.

    Attributes
    ----------
    estimate, low, high : float
        The macro average on all recordings, and its percentile interval.
    skipped : list
        Classes without both outcomes: their names where given, else their column numbers.
    per_class : dict
        ``{class: {"estimate": , "low": , "high": , "resamples": }}``; resamples counts those in which
        the class had both outcomes.
    metric : str
    n, patients, seed : int
        Resamples, patients drawn from, and the seed.
    level : float
    """

    estimate: float
    low: float
    high: float
    skipped: list
    per_class: dict = field(repr=False)
    metric: str = "roc_auc"
    n: int = 1000
    patients: int = 0
    seed: int = 0
    level: float = 0.95

    def __str__(self):
        interval = f"{100 * self.level:g} % interval {self.low:.3f} to {self.high:.3f}"
        return f"{self.metric} {self.estimate:.3f} ({interval})"


def bootstrap(
    y,
    p,
    *,
    groups=None,
    n=1000,
    seed=0,
    metric="roc_auc",
    level=0.95,
    classes=None,
    threshold=None,
    bins=15,
    threads=None,
):
    """A metric with its percentile bootstrap interval over patients.

    Each resample draws as many patients as there are, with replacement, and takes all recordings of a
    drawn patient as often as it was drawn. The macro average of a resample is over the classes that
    have both outcomes in it. Reproducible from the seed, the same on any number of threads.

    Parameters
    ----------
    y, p : array_like, (N,) or (N, classes)
        Outcomes and scores as in `roc_auc_score`.
    groups : sequence (N,), optional
        The patient of each recording; without it every recording is its own patient.
    n : int
        Resamples.
    seed : int
        0 to 2**64 - 1.
    metric : str
        One of `METRICS`.
    level : float
        Coverage of the interval, between 0 and 1.
    classes : sequence of str, optional
        Names of the classes.
    threshold : float or array_like (classes,)
        Needed by and only allowed with ``metric="f1"``.
    bins : int
        Of ``metric="expected_calibration_error"``.
    threads : int, optional
        ``OMP_NUM_THREADS``, else the processor's cores, by default.

    Returns
    -------
    Bootstrap

    Raises
    ------
    TypeError, ValueError
        As in `roc_auc_score`; a recording without a patient; fewer than two patients.

    Warns
    -----
    UndefinedMetricWarning
        A class without both outcomes.
    """
    number = _metric(metric)
    y, p, _ = _check(y, p, classes, probabilities=metric in _CALIBRATION)
    patient, patients, n, seed, level = _resampling(groups, len(y), n, seed, level)
    values = _kmerl.metrics_bootstrap(
        y,
        p,
        patient,
        patients,
        n,
        level,
        seed,
        number,
        _threshold(threshold, metric, y.shape[1]),
        _whole(bins, "bins", 1, 2**31 - 1),
        _threads(threads),
    )
    skipped = [] if metric in _CALIBRATION else _warn(y, classes, 2)
    macro, rows = _rows(("estimate", "low", "high", "resamples"), values, classes)
    del macro["resamples"]
    return Bootstrap(
        **macro, skipped=skipped, per_class=rows, metric=metric, n=n, patients=patients, seed=seed, level=level
    )


@dataclass(frozen=True)
class PairedBootstrap:
    """The difference of a metric between two models on the same recordings, with its bootstrap interval.

    Attributes
    ----------
    difference, low, high : float
        The macro average of the first model less that of the second, and its percentile interval.
    p_value : float
        Two-sided, against no difference.
    skipped : list
        Classes without both outcomes: their names where given, else their column numbers.
    per_class : dict
        ``{class: {"difference": , "low": , "high": , "p_value": , "resamples": }}``. One test a class: with
        many classes some p values are small by chance.
    metric : str
    n, patients, seed : int
        Resamples, patients drawn from, and the seed.
    level : float
    """

    difference: float
    low: float
    high: float
    p_value: float
    skipped: list
    per_class: dict = field(repr=False)
    metric: str = "roc_auc"
    n: int = 1000
    patients: int = 0
    seed: int = 0
    level: float = 0.95

    def __str__(self):
        interval = f"{100 * self.level:g} % interval {self.low:+.3f} to {self.high:+.3f}"
        return f"difference of {self.metric} {self.difference:+.3f} ({interval}), p = {self.p_value:.3g}"


def paired_bootstrap(
    y,
    first,
    second,
    *,
    groups=None,
    n=1000,
    seed=0,
    metric="roc_auc",
    level=0.95,
    classes=None,
    threshold=None,
    bins=15,
    threads=None,
):
    """Do two models differ on the same recordings? Bootstrap over patients, the same draws for both.

    Of the n resampled differences d, the p value is ``min(1, 2 (1 + min(#{d <= 0}, #{d >= 0})) / (1 + n))``:
    at most ``1 - level`` where the percentile interval leaves out 0, and never less than ``2 / (1 + n)``.

    Parameters
    ----------
    y : array_like of {0, 1}, (N,) or (N, classes)
        Outcomes.
    first, second : array_like of float, same shape
        Scores of the two models for the same recordings in the same order.
    threshold : pair of (float or array_like (classes,))
        Of the first and of the second model; needed by and only allowed with ``metric="f1"``.
    groups, n, seed, metric, level, classes, bins, threads
        As in `bootstrap`, which draws the same resamples from the same seed.

    Returns
    -------
    PairedBootstrap

    Raises
    ------
    TypeError, ValueError
        As in `bootstrap`.

    Warns
    -----
    UndefinedMetricWarning
        A class without both outcomes.
    """
    number, probabilities = _metric(metric), metric in _CALIBRATION
    _, first, _ = _check(y, first, classes, probabilities, name="first")
    y, second, _ = _check(y, second, classes, probabilities, name="second")
    patient, patients, n, seed, level = _resampling(groups, len(y), n, seed, level)
    if metric == "f1" and threshold is not None and (not isinstance(threshold, (tuple, list)) or len(threshold) != 2):
        raise ValueError("threshold must be a pair: of the first and of the second model")
    pair = threshold if metric == "f1" and threshold is not None else (threshold, threshold)
    values = _kmerl.metrics_paired(
        y,
        first,
        second,
        patient,
        patients,
        n,
        level,
        seed,
        number,
        *(_threshold(one, metric, y.shape[1]) for one in pair),
        _whole(bins, "bins", 1, 2**31 - 1),
        _threads(threads),
    )
    skipped = [] if probabilities else _warn(y, classes, 2)
    macro, rows = _rows(("difference", "low", "high", "p_value", "resamples"), values, classes)
    del macro["resamples"]
    return PairedBootstrap(
        **macro, skipped=skipped, per_class=rows, metric=metric, n=n, patients=patients, seed=seed, level=level
    )


def roc_curve(y, p):
    """The ROC curve of one class, a point for each distinct score.

    Parameters
    ----------
    y, p : array_like, (N,)
        As in `roc_auc_score`.

    Returns
    -------
    false_positive_rate, true_positive_rate, threshold : ndarray of float64, (points + 1,)
        From (0, 0) at threshold infinity to (1, 1); a point calls positive what scores at least its
        threshold.

    Raises
    ------
    TypeError, ValueError
        As in `roc_auc_score`; several classes; only one outcome.
    """
    threshold, positives, negatives = _curve(y, p)
    rates = (np.concatenate([[0.0], counts / counts[-1]]) for counts in (negatives, positives))
    return (*rates, np.concatenate([[np.inf], threshold]))


def precision_recall_curve(y, p):
    """The precision-recall curve of one class, a point for each distinct score; read it as a step function.

    Parameters and errors as in `roc_curve`.

    Returns
    -------
    precision, recall, threshold : ndarray of float64, (points,)
        By falling threshold, so recall rises to 1.
    """
    threshold, positives, negatives = _curve(y, p)
    return positives / (positives + negatives), positives / positives[-1], threshold


def calibration_curve(y, p, *, bins=15):
    """How often a class is there where its probability says so, in the bins of `expected_calibration_error`.

    Parameters
    ----------
    y, p : array_like, (N,)
        Outcomes, and probabilities in [0, 1].
    bins : int

    Returns
    -------
    mean, share : ndarray of float64, (bins,)
        Mean probability and share of positives of each bin; NaN for a bin without recordings.
    count : ndarray of int64, (bins,)
        Recordings.

    Raises
    ------
    TypeError, ValueError
        As in `brier_score`; several classes.
    """
    y, p = _one_class(y, p, probabilities=True)
    count, positives, mean = _kmerl.metrics_reliability(y, p, _whole(bins, "bins", 1, 2**20))
    return mean, np.where(count > 0, positives / np.maximum(count, 1), np.nan), count


def _one_class(y, p, probabilities=False):
    y, p, one = _check(y, p, probabilities=probabilities)
    if not one:
        raise ValueError(f"y has shape {y.shape}, expected one class, (N,)")
    return np.ascontiguousarray(y[:, 0]), np.ascontiguousarray(p[:, 0])


def _curve(y, p):
    y, p = _one_class(y, p)
    threshold, positives, negatives, points = _kmerl.metrics_curve(y, p)
    if positives[points - 1] == 0 or negatives[points - 1] == 0:
        raise ValueError("y has only one outcome, so there is no curve")
    return threshold[:points], positives[:points], negatives[:points]


def _resampling(groups, length, n, seed, level):
    """Checked: each recording's patient, how many patients, resamples, seed, level."""
    patient, patients = _patients(groups, length)
    n = _whole(n, "n", 1, 2**31 - 1)
    seed = _whole(seed, "seed", 0, 2**64 - 1)
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)) or not 0 < level < 1:
        raise ValueError(f"level is {level!r}, expected a number between 0 and 1")
    if patients < 2:
        raise ValueError("groups holds one patient; an interval over patients needs at least two")
    return patient, patients, n, seed, float(level)


def _rows(names, values, classes):
    """The core's columns (classes + 1): the macro average's row, and {class: row}."""
    rows = [dict(zip(names, (value.item() for value in row), strict=True)) for row in zip(*values, strict=True)]
    macro = rows.pop()
    return macro, dict(zip(range(len(rows)) if classes is None else classes, rows, strict=True))


def mean_bootstrap(sets, *, sources=None, thresholds=None, n=1000, seed=0, metric="roc_auc", level=0.95, threads=None):
    """The unweighted mean of several data sets' macro averages, with its interval over patients.

    A resample draws the patients of each source again, as `bootstrap` does, and measures all its data sets on the same
    draw: tasks on the same recordings vary together, other sources on their own.

    Parameters
    ----------
    sets : sequence of (y, p, groups)
        Each as in `bootstrap`.
    sources : sequence of str, optional
        Where each set's patients are from; sets of one source name a patient alike. Each its own by default.
    thresholds : sequence, optional
        One threshold as in `bootstrap` for each set: needed by and only allowed with ``metric="f1"``.
    n, seed, metric, level, threads
        As in `bootstrap`.

    Returns
    -------
    Bootstrap
        Without classes; a resample in which a set has no value is left out. NaN where a set has none at all.

    Raises
    ------
    TypeError, ValueError
        As in `bootstrap`.
    """
    number, sets = _metric(metric), list(sets)
    if not sets:
        raise ValueError("sets is empty, expected at least one (y, p, groups)")
    sources = list(range(len(sets))) if sources is None else list(sources)
    thresholds = [None] * len(sets) if thresholds is None else list(thresholds)
    for name, given in (("sources", sources), ("thresholds", thresholds)):
        if len(given) != len(sets):
            raise ValueError(f"{name} has {len(given)} entries, expected one for each of the {len(sets)} sets")
    n, seed = _whole(n, "n", 1, 2**31 - 1), _whole(seed, "seed", 0, 2**64 - 1)
    checked = [_check(y, p, probabilities=metric in _CALIBRATION)[:2] for y, p, _ in sets]
    values, estimates, patients = np.empty((len(sets), n)), [], 0
    for place, source in enumerate(dict.fromkeys(sources)):
        mine = [i for i, other in enumerate(sources) if other == source]
        joined = [group for i in mine for group in (range(len(checked[i][0])) if sets[i][2] is None else sets[i][2])]
        patient, count = _patients(joined, len(joined))
        if count < 2:
            raise ValueError(f"groups holds one patient of {source}; an interval over patients needs at least two")
        patients += count
        for i, own in zip(mine, np.split(patient, np.cumsum([len(checked[i][0]) for i in mine])[:-1]), strict=True):
            y, p = checked[i]
            threshold = _threshold(thresholds[i], metric, y.shape[1])
            own = np.ascontiguousarray(own)
            values[i] = _kmerl.metrics_resamples(
                y, p, own, count, n, (seed + place) % 2**64, number, threshold, 15, _threads(threads)
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UndefinedMetricWarning)
                estimates.append(score(metric, y, p, threshold=thresholds[i]))
    means = values.mean(axis=0)
    means = means[~np.isnan(means)]
    ends = np.percentile(means, [50 * (1 - level), 50 * (1 + level)]) if len(means) else [np.nan, np.nan]
    estimate = float(np.mean(estimates))
    return Bootstrap(estimate, float(ends[0]), float(ends[1]), [], {}, metric, n, patients, seed, float(level))


def _check(y, p, classes=None, probabilities=False, name="p"):
    """y as (N, classes) uint8, p as (N, classes) float64, and whether they came as (N,)."""
    y, p = _numbers(y, "y"), _numbers(p, name)
    if y.shape != p.shape:
        raise ValueError(f"y has shape {y.shape}, {name} has shape {p.shape}; expected the same")
    if y.ndim not in (1, 2):
        raise ValueError(f"y has shape {y.shape}, expected (N,) or (N, classes)")
    if y.size == 0:
        raise ValueError(f"y has shape {y.shape}; expected at least one recording and one class")
    one = y.ndim == 1
    if one:
        y, p = y[:, None], p[:, None]
    if classes is not None and (isinstance(classes, str) or len(classes) != y.shape[1]):
        got = "a text" if isinstance(classes, str) else f"{len(classes)} names"
        raise ValueError(f"classes holds {got}, expected one name for each of the {y.shape[1]} columns of y")

    def where(bad):
        row, column = np.argwhere(bad)[0]
        which = f"column {column}" if classes is None else f"class {classes[column]!r}"
        return f"recording {row}" if one and classes is None else f"recording {row}, {which}"

    wrong = (y != 0) & (y != 1)
    if wrong.any():
        raise ValueError(f"y holds {y[wrong][0]:g} ({where(wrong)}), expected 0 or 1")
    wrong = ~np.isfinite(p)
    if wrong.any():
        raise ValueError(
            f"{name} holds {p[wrong][0]:g} ({where(wrong)}; {wrong.sum()} in all), expected finite numbers"
        )
    if probabilities:
        wrong = (p < 0) | (p > 1)
        if wrong.any():
            raise ValueError(f"{name} holds {p[wrong][0]:g} ({where(wrong)}), expected probabilities in [0, 1]")
    return np.ascontiguousarray(y, np.uint8), np.ascontiguousarray(p, np.float64), one


def _numbers(values, name):
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is no rectangular array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, expected numbers")
    return array


def _metric(metric):
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
    return METRICS.index(metric)


def _threshold(threshold, metric, count):
    if metric != "f1":
        if threshold is not None:
            raise ValueError(f'threshold belongs to metric="f1", not to {metric!r}')
        return None
    if threshold is None:
        raise ValueError(
            'threshold is missing: metric="f1" needs one chosen on other recordings (f1_threshold)'
        )
    threshold = _numbers(threshold, "threshold").astype(np.float64)
    if threshold.shape not in ((), (count,)):
        raise ValueError(f"threshold has shape {threshold.shape}, expected one number or ({count},)")
    return np.ascontiguousarray(np.broadcast_to(threshold, (count,)))


def _patients(groups, n):
    """Each recording's patient as a number, in order of first appearance, and how many there are."""
    if groups is None:
        return np.arange(n, dtype=np.uint32), n
    groups = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(groups) != n:
        raise ValueError(f"groups has {len(groups)} entries, expected one for each of the {n} recordings")
    numbers = {}
    patient = np.empty(n, np.uint32)
    for i, group in enumerate(groups):
        if group is None or group != group or group == "":
            raise ValueError(f"groups has no patient for recording {i}: got {group!r}")
        try:
            patient[i] = numbers.setdefault(group, len(numbers))
        except TypeError:
            raise TypeError(
                f"groups[{i}] is {type(group).__name__}, expected one patient id a recording"
            ) from None
    return patient, len(numbers)


def _whole(value, name, low, high):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}, expected a whole number")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, expected {low} to {high}")
    return int(value)


def _threads(threads=None):
    return _kmerl.build_info()["threads"] if threads is None else _whole(threads, "threads", 1, 4096)


def _warn(y, classes, stacklevel):
    """Warns of, and returns, the classes without both outcomes; `stacklevel` as seen from the caller."""
    positives = y.sum(axis=0, dtype=np.int64)
    single = np.flatnonzero((positives == 0) | (positives == len(y)))
    names = [int(k) if classes is None else classes[k] for k in single]
    if names:
        listed = ", ".join(str(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
        warnings.warn(
            f"{len(names)} of {y.shape[1]} classes have only one outcome and are left out: {listed}",
            UndefinedMetricWarning,
            stacklevel=stacklevel + 1,
        )
    return names
