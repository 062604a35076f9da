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
    "UndefinedMetricWarning",
    "average_precision_score",
    "bootstrap",
    "brier_score",
    "expected_calibration_error",
    "f1_score",
    "f1_threshold",
    "oracle_f1_score",
    "roc_auc_score",
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
    patient, patients = _patients(groups, len(y))
    n = _whole(n, "n", 1, 2**31 - 1)
    seed = _whole(seed, "seed", 0, 2**64 - 1)
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)) or not 0 < level < 1:
        raise ValueError(f"level is {level!r}, expected a number between 0 and 1")
    if patients < 2:
        raise ValueError("groups holds one patient; an interval over patients needs at least two")
    values = _kmerl.metrics_bootstrap(
        y,
        p,
        patient,
        patients,
        n,
        float(level),
        seed,
        number,
        _threshold(threshold, metric, y.shape[1]),
        _whole(bins, "bins", 1, 2**31 - 1),
        _threads(threads),
    )
    skipped = [] if metric in _CALIBRATION else _warn(y, classes, 2)
    names = range(y.shape[1]) if classes is None else classes
    rows = [
        {"estimate": float(e), "low": float(lo), "high": float(hi), "resamples": int(c)}
        for e, lo, hi, c in zip(*values, strict=True)
    ]
    macro = rows.pop()
    return Bootstrap(
        macro["estimate"],
        macro["low"],
        macro["high"],
        skipped,
        dict(zip(names, rows, strict=True)),
        metric,
        n,
        patients,
        seed,
        float(level),
    )


def _check(y, p, classes=None, probabilities=False):
    """y as (N, classes) uint8, p as (N, classes) float64, and whether they came as (N,)."""
    y, p = _numbers(y, "y"), _numbers(p, "p")
    if y.shape != p.shape:
        raise ValueError(f"y has shape {y.shape}, p has shape {p.shape}; expected the same")
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
        name = f"column {column}" if classes is None else f"class {classes[column]!r}"
        return f"recording {row}" if one and classes is None else f"recording {row}, {name}"

    wrong = (y != 0) & (y != 1)
    if wrong.any():
        raise ValueError(f"y holds {y[wrong][0]:g} ({where(wrong)}), expected 0 or 1")
    wrong = ~np.isfinite(p)
    if wrong.any():
        raise ValueError(
            f"p holds {p[wrong][0]:g} ({where(wrong)}; {wrong.sum()} in all), expected finite numbers"
        )
    if probabilities:
        wrong = (p < 0) | (p > 1)
        if wrong.any():
            raise ValueError(f"p holds {p[wrong][0]:g} ({where(wrong)}), expected probabilities in [0, 1]")
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
