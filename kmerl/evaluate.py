"""Zero-shot evaluation of a model on a labelled data set, with any leads (SPEC 9).

A class is asked by its name, its score is the model's probability. Every figure comes with a bootstrap
interval over patients; what was left out is listed in the report.
"""

import warnings

import numpy as np

from kmerl import metrics as _metrics
from kmerl.leads import LEADS, ORDERS, lead_ids
from kmerl.report import Report, Sweep, describe, measure

__all__ = ["PAPER_ORDER", "Report", "Sweep", "answers", "lead_sweep", "zero_shot"]

# Fig. 6 of the paper adds leads in this order.
PAPER_ORDER = tuple(ORDERS["paper"])

PATIENCE = 16  # a model that refuses so many recordings and takes none is asked no more


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
    chosen = _leads(leads)
    (report,) = _evaluate(model, dataset, [chosen], part, resamples, seed, batch_size, progress)
    return report


def lead_sweep(
    model,
    dataset,
    k=range(1, 13),
    *,
    single=False,
    part=None,
    resamples=1000,
    seed=0,
    batch_size=64,
    progress=True,
):
    """`zero_shot` with the first k leads of the paper's order, for each k; recordings are read once.

    Parameters
    ----------
    k : iterable of int
        Numbers of leads, 1 to 12.
    single : bool
        Each single lead too.
    model, dataset, part, resamples, seed, batch_size, progress
        As in `zero_shot`.

    Returns
    -------
    Sweep
    """
    counts = list(k) if not isinstance(k, (int, np.integer)) else [k]
    if not counts:
        raise ValueError("k is empty, expected numbers of leads, 1 to 12")
    sets = [_leads(count) for count in counts] + ([(lead,) for lead in PAPER_ORDER] if single else [])
    reports = _evaluate(model, dataset, sets, part, resamples, seed, batch_size, progress)
    return Sweep(
        counts,
        reports[: len(counts)],
        dict(zip(PAPER_ORDER, reports[len(counts) :], strict=True)) if single else {},
    )


def answers(model, records, classes):
    """Probabilities for each recording, or why it has none: one that cannot be scored does not spoil its
    batch.

    Parameters
    ----------
    model : KMERL
        Anything with ``predict_proba(records, classes) -> (n, classes)``.
    records : dict
        ``{key: Record}``.
    classes : list of str

    Returns
    -------
    dict
        ``{key: ndarray (classes,) or ValueError}``.
    """
    if not records:
        return {}
    try:
        scores = model.predict_proba(list(records.values()), classes)
        return dict(zip(records, _checked(scores, len(records), classes), strict=True))
    except ValueError as error:
        if len(records) == 1:
            return dict.fromkeys(records, error)
    found = {}
    for key, record in records.items():
        found.update(answers(model, {key: record}, classes))
    return found


# ---- Scoring ----


def _evaluate(model, dataset, lead_sets, part, resamples, seed, batch_size, progress):
    if not callable(getattr(model, "predict_proba", None)):
        raise TypeError(f"model is {type(model).__name__}, expected a model with predict_proba")
    if not hasattr(dataset, "split") or not hasattr(dataset, "labels"):
        raise TypeError(f"dataset is {type(dataset).__name__}, expected a kmerl.datasets.Dataset")
    for name, value in (("resamples", resamples), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number above 0")
    indices, part, notes = _part(dataset, part)
    validation = dataset.split["validation"] if part == "test" else indices[:0]
    together = np.concatenate([indices, validation]).astype(np.int64)
    scored = _score(model, dataset, lead_sets, together, batch_size, progress)
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
                skipped=[(_name(dataset, i), why) for i, why in zip(together, reasons, strict=True) if why],
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


def _score(model, dataset, lead_sets, indices, batch_size, progress):
    """For each set of leads: scores (n, classes), why a recording has none (n), how many lack some of the
    leads."""
    from kmerl.progress import Progress

    shape = (len(lead_sets), len(indices), len(dataset.classes))
    scores = np.full(shape, np.nan, np.float32)
    reasons = [[None] * len(indices) for _ in lead_sets]
    fewer = [0] * len(lead_sets)
    refused = 0
    with Progress(len(indices) * len(lead_sets), dataset.name, "recordings", show=progress) as bar:
        for begin in range(0, len(indices), batch_size):
            places = range(begin, min(begin + batch_size, len(indices)))
            records = {}
            for place in places:
                try:
                    records[place] = dataset[indices[place]]
                except (ValueError, OSError) as error:
                    for reason in reasons:
                        reason[place] = str(error)
            for s, leads in enumerate(lead_sets):
                given = {}
                for place, record in records.items():
                    cut = _cut(record, leads)
                    if cut is None:
                        reasons[s][place] = f"has none of the leads {' '.join(leads)}"
                    else:
                        given[place] = cut
                        fewer[s] += len(cut.leads) < len(leads)
                for place, answer in answers(model, given, dataset.classes).items():
                    if isinstance(answer, Exception):
                        reasons[s][place] = str(answer)
                        refused += 1
                        if refused == PATIENCE and np.isnan(scores).all():
                            raise answer  # not the recordings' fault
                    else:
                        scores[s, place] = answer
                bar.update(len(places))
    return list(zip(scores, reasons, fewer, strict=True))


def _checked(scores, n, classes):
    scores = np.asarray(scores)
    if scores.shape != (n, len(classes)):
        raise TypeError(f"predict_proba returned shape {scores.shape}, expected ({n}, {len(classes)})")
    if not np.isfinite(scores).all():
        raise ValueError("predict_proba returned NaN or infinite scores")
    return scores


def _cut(record, leads):
    """The record with only these leads, in this order; None where it has none of them."""
    present = [lead for lead in leads if lead in record.leads]
    return record.select(present) if present else None


def _leads(leads):
    if isinstance(leads, (int, np.integer)) and not isinstance(leads, bool):
        if not 1 <= leads <= len(PAPER_ORDER):
            raise ValueError(
                f"leads is {leads}, expected a number from 1 to {len(PAPER_ORDER)} or lead names"
            )
        return PAPER_ORDER[:leads]
    return tuple(LEADS[i] for i in lead_ids(leads))


def _name(dataset, index):
    return str(dataset.paths[index]).replace("\\", "/").rsplit("/", 1)[-1]
