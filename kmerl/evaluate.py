"""Evaluation of a model on a labelled data set, with any leads (SPEC 9): zero-shot, and by a linear probe.

A class is asked by its name, its score is the model's probability. Every figure comes with a bootstrap
interval over patients; what was left out is listed in the report.
"""

import warnings

import numpy as np

from kmerl import metrics as _metrics
from kmerl.probe import linear_probe, probes
from kmerl.report import Report, Sweep, describe, measure
from kmerl.scoring import PAPER_ORDER, chosen_leads, name_of, score, whole

__all__ = ["PAPER_ORDER", "Report", "Sweep", "lead_sweep", "linear_probe", "zero_shot"]

def zero_shot(model, dataset, leads=12, *, part=None, resamples=1000, seed=0, batch_size=64, progress=True):
    """Score every recording of a data set for every one of its classes, by name, and measure.

    Parameters
    ----------
    model : KMERL
        Anything with ``predict_proba(records, classes) -> (n, classes)``.
    dataset : kmerl.datasets.Dataset
    leads : int or sequence of str
        The first k leads of the paper's order I II III aVF aVR aVL V1-V6, or lead names. The model sees only
        these, of each recording those that it has; a recording with none of them is skipped and listed.
    part : {"test", "validation", "train", "all"}, optional
        The test recordings by default; all of a data set that has none, which the report notes.
    resamples, seed : int
        Of the bootstrap over patients.
    batch_size : int
        Recordings read and scored at a time. Changes no score.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        F1 uses for each class the threshold that is best on the validation recordings; without any there is
        no "f1" among the metrics. "oracle_f1" takes the threshold from the very recordings it is scored on,
        as MERL does.

    Raises
    ------
    TypeError, ValueError
        Bad arguments; a data set without recordings in ``part``; a model that cannot answer the classes.

    Warns
    -----
    UndefinedMetricWarning
        Classes without both outcomes: listed, and left out of the averages.
    UserWarning
        Recordings that could not be scored: listed in ``report.skipped`` with the reason.
    """
    chosen = chosen_leads(leads)
    (report,) = _evaluate(model, dataset, [chosen], part, resamples, seed, batch_size, progress)
    return report


def lead_sweep(
    model,
    dataset,
    k=range(1, 13),
    *,
    method="zero_shot",
    fraction=None,
    seeds=None,
    single=False,
    part=None,
    resamples=1000,
    seed=0,
    batch_size=None,
    progress=True,
):
    """`zero_shot` or `linear_probe` with the first k leads of the paper's order, for each k; recordings are read once.

    Parameters
    ----------
    k : iterable of int
        Numbers of leads, 1 to 12.
    method : {"zero_shot", "linear_probe"}
    fraction, seeds
        As in `linear_probe`, and only with it; the fraction is 0.01 by default, as in Fig. 6b.
    single : bool
        Each single lead too.
    batch_size
        As in `zero_shot`, and only with it.
    model, dataset, part, resamples, seed, progress
        As in `zero_shot` or `linear_probe`.

    Returns
    -------
    Sweep
    """
    counts = list(k) if not isinstance(k, (int, np.integer)) else [k]
    if not counts:
        raise ValueError("k is empty, expected numbers of leads, 1 to 12")
    sets = [chosen_leads(count) for count in counts] + ([(lead,) for lead in PAPER_ORDER] if single else [])
    if method == "zero_shot":
        if fraction is not None or seeds is not None:
            raise ValueError('fraction and seeds belong to method="linear_probe"')
        batch_size = 64 if batch_size is None else batch_size
        reports = _evaluate(model, dataset, sets, part, resamples, seed, batch_size, progress)
    elif method == "linear_probe":
        if batch_size is not None:
            raise ValueError('batch_size belongs to method="zero_shot"; a probe of other settings is linear_probe')
        options = {"fraction": 0.01 if fraction is None else fraction, "seed": seed, "seeds": seeds, "part": part}
        reports = probes(model, dataset, sets, **options, resamples=resamples, progress=progress)
    else:
        raise ValueError(f"method is {method!r}, expected zero_shot or linear_probe")
    return Sweep(
        counts,
        reports[: len(counts)],
        dict(zip(PAPER_ORDER, reports[len(counts) :], strict=True)) if single else {},
    )


# ---- Scoring ----


def _evaluate(model, dataset, lead_sets, part, resamples, seed, batch_size, progress):
    if not callable(getattr(model, "predict_proba", None)):
        raise TypeError(f"model is {type(model).__name__}, expected a model with predict_proba")
    if not hasattr(dataset, "split") or not hasattr(dataset, "labels"):
        raise TypeError(f"dataset is {type(dataset).__name__}, expected a kmerl.datasets.Dataset")
    resamples, batch_size = whole(resamples, "resamples"), whole(batch_size, "batch_size")
    indices, part, notes = _part(dataset, part)
    validation = dataset.split["validation"] if part == "test" else indices[:0]
    together = np.concatenate([indices, validation]).astype(np.int64)
    scored = score(
        lambda records: model.predict_proba(records, dataset.classes),
        len(dataset.classes),
        dataset,
        lead_sets,
        together,
        batch_size=batch_size,
        progress=progress,
    )
    reports, described = [], describe(model)
    for leads, (scores, reasons, fewer) in zip(lead_sets, scored, strict=True):
        known = np.array([reason is None for reason in reasons])
        own, held = (
            np.flatnonzero(known[: len(indices)]),
            len(indices) + np.flatnonzero(known[len(indices) :]),
        )
        if not len(own):
            first = next(reason for reason in reasons if reason is not None)
            raise ValueError(
                f"no recording of {dataset.name} could be scored with leads {' '.join(leads)}: {first}"
            )
        about = list(notes)
        if fewer:
            about.append(
                f"{fewer:,} recordings lack some of the {len(leads)} leads: scored with those they have"
            )
        reports.append(
            measure(
                "zero_shot",
                dataset,
                together[own],
                scores[own],
                validation=(together[held], scores[held]),
                model=described,
                leads=leads,
                part=part,
                resamples=resamples,
                seed=seed,
                skipped=[(name_of(dataset, i), why) for i, why in zip(together, reasons, strict=True) if why],
                notes=about,
            )
        )
    undefined = reports[0].undefined
    if undefined:
        warnings.warn(
            f"{len(undefined)} of {len(dataset.classes)} classes have only one outcome, in no average: "
            f"{', '.join(undefined)}",
            _metrics.UndefinedMetricWarning,
            stacklevel=3,
        )
    failed = max((report.skipped for report in reports), key=len)
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(together)} recordings could not be scored; the first: "
            f"{failed[0][0]}: {failed[0][1]}",
            stacklevel=3,
        )
    return reports


def _part(dataset, part):
    """Indices to score, what to call them, and notes."""
    notes = []
    if part is None and len(dataset.split["test"]):
        part = "test"
    elif part is None:
        part = "all"
        notes.append(
            "no test recordings here, so all were scored: no held-out result if the model was trained on them"
        )
    if part == "all":
        indices = np.arange(len(dataset))
    elif part in dataset.split:
        indices = np.asarray(dataset.split[part])
    else:
        raise ValueError(f"part is {part!r}, expected test, validation, train or all")
    if not len(indices):
        sizes = ", ".join(f"{len(v)} {k}" for k, v in dataset.split.items())
        raise ValueError(f"{dataset.name} has no {part} recordings ({sizes})")
    return indices, part, notes


