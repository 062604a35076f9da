"""Evaluation of a model on a labelled data set, with any leads (SPEC 9): zero-shot, by a linear probe, fine-tuned.

A class is asked by its name. Every figure comes with a bootstrap
interval over patients; what was left out is listed in the report.
"""

import hashlib
import warnings

import numpy as np

from kmerl import _kmerl, scoring
from kmerl import metrics as _metrics
from kmerl.fine_tuning import fine_tune
from kmerl.leads import LEADS, ORDERS, lead_ids
from kmerl.model import KMERL
from kmerl.probe import linear_probe, probes
from kmerl.report import SHOWN, UNTRAINED, Figures, Report, Sweep, describe, measure, with_interval
from kmerl.scoring import PAPER_ORDER, chosen_leads, name_of, whole

__all__ = [
    "PAPER_ORDER",
    "SCORES",
    "Report",
    "Sweep",
    "fine_tune",
    "lead_sweep",
    "linear_probe",
    "seen_classes",
    "zero_shot",
]

# What a zero-shot score may be, and the `method` of `KMERL.predict_proba` that gives it.
SCORES = {"probability": "query", "cosine": "cosine", "mean": "both"}
INITIALISATIONS = 5  # untrained models beside a result
SEEN = 0.95  # cosine above which a class counts as seen (SPEC 9)


def zero_shot(
    model,
    dataset,
    leads=12,
    *,
    score=None,
    prompts=None,
    untrained=INITIALISATIONS,
    seen=SEEN,
    part=None,
    resamples=1000,
    seed=0,
    batch_size=64,
    progress=True,
):
    """Score every recording of a data set for every one of its classes, by name, and measure.

    Parameters
    ----------
    model : KMERL
        Anything with ``predict_proba(records, classes) -> (n, classes)``; `score`, `prompts`, `untrained` and `seen`
        need a KMERL.
    dataset : kmerl.datasets.Dataset
    leads : int or sequence of str
        The first k leads of the paper's order I II III aVF aVR aVL V1-V6, or lead names. The model sees only
        these, of each recording those that it has; a recording with none of them is skipped and listed.
    score : {None, "probability", "cosine", "mean"}
        The query network's probability; ``(1 + cos) / 2`` of the recording and the class in contrast space, their
        texts pooled as reports; or the mean of both numbers, each in [0, 1]. None: the probability, of a model
        trained without a query network the cosine. Scores with a cosine in them only rank: no calibration.
    prompts : dict of str to str, optional
        For the cosine: ``{class: text}``, or by the data set's codes, asked in place of the class names (MERL's CKEPE).
    untrained : int
        So many untrained models of the same configuration stand beside the result, ``report.untrained``: mean and
        95 % range of their figures over seeds 0, 1, ... They score the same recordings, which are read once, so
        each takes as long as the model itself; 0 leaves them out.
    seen : float
        A class counts as seen if the model's vocabulary has its name or a synonym, or an entity whose embedding has a
        cosine above this to the class's: ``report.seen``, with the figures of both groups. 0.95 is for MedCPT;
        another text encoder needs its own.
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
        Bad arguments; a data set without recordings in ``part``; a model that cannot answer the classes, or has no
        such score.

    Warns
    -----
    UndefinedMetricWarning
        Classes without both outcomes: listed, and left out of the averages.
    UserWarning
        Recordings that could not be scored: listed in ``report.skipped`` with the reason.
    """
    (report,) = _evaluate(
        model,
        dataset,
        [chosen_leads(leads)],
        score=score,
        prompts=prompts,
        untrained=untrained,
        seen=seen,
        part=part,
        resamples=resamples,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    return report


def lead_sweep(
    model,
    dataset,
    k=None,
    *,
    order="paper",
    single=False,
    method="zero_shot",
    part=None,
    resamples=1000,
    seed=0,
    progress=True,
    **options,
):
    """`zero_shot` or `linear_probe` with the first k leads of an order, for each k; recordings are read once.

    Parameters
    ----------
    k : iterable of int, optional
        Numbers of leads, 1 to 12 by default.
    order : {"paper", "clinical", "mimic"} or sequence of str
        In which leads are added: the paper's I II III aVF aVR aVL V1-V6 (Fig. 6), another that is in circulation, or
        lead names, which may be fewer than 12.
    single : bool
        Each single lead of the order too; with ``k=()`` only these.
    method : {"zero_shot", "linear_probe"}
    model, dataset, part, resamples, seed, progress
        As in `zero_shot` or `linear_probe`.
    **options
        ``score``, ``prompts``, ``untrained``, ``seen`` and ``batch_size`` as in `zero_shot`, or ``fraction`` (0.01 by
        default, as in Fig. 6b) and ``seeds`` as in `linear_probe`.

    Returns
    -------
    Sweep
    """
    order = _order(order)
    counts = [k] if isinstance(k, (int, np.integer)) else list(range(1, len(order) + 1) if k is None else k)
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= len(order):
            raise ValueError(f"k holds {count!r}, expected numbers of leads, 1 to {len(order)}")
    if not counts and not single:
        raise ValueError(f"k is empty, expected numbers of leads, 1 to {len(order)}")
    if method not in _SWEEPS:
        raise ValueError(f"method is {method!r}, expected {' or '.join(_SWEEPS)}")
    run, defaults = _SWEEPS[method]
    unknown = [name for name in options if name not in defaults]
    if unknown:
        raise TypeError(f"lead_sweep has no option {unknown[0]} with method={method!r}; it has {', '.join(defaults)}")
    sets = [order[:count] for count in counts] + ([(lead,) for lead in order] if single else [])
    options = {**defaults, **options, "part": part, "resamples": resamples, "seed": seed, "progress": progress}
    reports = run(model, dataset, sets, **options)
    alone = dict(zip(order, reports[len(counts) :], strict=True)) if single else {}
    return Sweep(counts, reports[: len(counts)], alone, order)


def seen_classes(model, classes, threshold=SEEN):
    """Which classes the model's vocabulary knows (Sec. 3.3, SPEC 9).

    Parameters
    ----------
    model : KMERL
        Trained on a vocabulary.
    classes : sequence of str
    threshold : float
        Of the cosine between the embeddings of a class and of an entity, pooled as queries.

    Returns
    -------
    dict
        ``{class: {"entity", "cosine", "by"}}``: the nearest entity, the cosine to it, and why the class counts as
        seen: "name" (an entity's name or synonym, which is answered as the entity), "cosine" (above the threshold),
        or "" (unseen).

    Raises
    ------
    ValueError
        A class whose embedding is not known; a model without vocabulary; a threshold outside -1 to 1.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.number)) or not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}, expected a cosine from -1 to 1")
    vocabulary = getattr(model, "vocabulary_", None)
    if vocabulary is None:
        raise ValueError("model has no vocabulary, so no class is seen or unseen: it was not trained on one")
    entities = list(vocabulary)
    rows, place = model._embed(list(classes), "query")
    known, at = model._embed(entities, "query")
    cosine, nearest = _kmerl.nearest(rows, known)
    entity_of = {row: entity for entity, row in zip(reversed(entities), reversed(at), strict=True)}
    found = {}
    for name, row in zip(classes, place, strict=True):
        by = "name" if name in vocabulary else "cosine" if cosine[row] > threshold else ""
        entity = vocabulary[name].name if by == "name" else entity_of[int(nearest[row])]
        found[name] = {"entity": entity, "cosine": 1.0 if by == "name" else float(cosine[row]), "by": by}
    return found


# ---- Scoring ----


def _evaluate(
    model,
    dataset,
    lead_sets,
    *,
    score=None,
    prompts=None,
    untrained=INITIALISATIONS,
    seen=SEEN,
    part,
    resamples,
    seed,
    batch_size=64,
    progress,
):
    if not callable(getattr(model, "predict_proba", None)):
        raise TypeError(f"model is {type(model).__name__}, expected a model with predict_proba")
    if not hasattr(dataset, "split") or not hasattr(dataset, "labels"):
        raise TypeError(f"dataset is {type(dataset).__name__}, expected a kmerl.datasets.Dataset")
    resamples, batch_size = whole(resamples, "resamples"), whole(batch_size, "batch_size")
    classes, config = dataset.classes, None
    if isinstance(model, KMERL):
        model._ready()
        config = model.config_
    score, asked, settings = _asked(model, config, dataset, score, prompts)
    near = None
    if config is not None and config.query_weight > 0 and model.vocabulary_ is not None:
        near = seen_classes(model, classes, seen)
    indices, part, notes = _part(dataset, part)
    if isinstance(untrained, bool) or not isinstance(untrained, (int, np.integer)) or untrained < 0:
        raise ValueError(f"untrained is {untrained!r}, expected how many untrained models, from 0")
    if untrained and not callable(getattr(model, "untrained", None)):
        notes.append(f"no untrained model beside it: a {type(model).__name__} has no untrained()")
        untrained = 0
    others = [model.untrained(n) for n in range(untrained)]

    def scored(indices, models):
        return scoring.score(
            lambda records: np.hstack([np.asarray(m.predict_proba(records, classes, **asked)) for m in models]),
            len(classes) * len(models),
            dataset,
            lead_sets,
            indices,
            batch_size=batch_size,
            progress=progress,
        )

    held = np.asarray(dataset.split["validation"] if part == "test" else indices[:0], np.int64)
    tested, validated = scored(indices, [model, *others]), scored(held, [model])
    reports, described = [], describe(model)
    for leads, (scores, reasons, fewer), (held_scores, held_reasons, held_fewer) in zip(
        lead_sets, tested, validated, strict=True
    ):
        own = np.array([reason is None for reason in reasons], bool)
        usable = np.array([reason is None for reason in held_reasons], bool)
        if not own.any():
            first = next(reason for reason in reasons if reason is not None)
            raise ValueError(
                f"no recording of {dataset.name} could be scored with leads {' '.join(leads)}: {first}"
            )
        about = list(notes)
        if fewer + held_fewer:
            about.append(
                f"{fewer + held_fewer:,} recordings lack some of the {len(leads)} leads: scored with those they have"
            )
        each = np.split(scores[own], 1 + len(others), axis=1)
        report = measure(
            "zero_shot",
            dataset,
            indices[own],
            each[0],
            validation=(held[usable], held_scores[usable]),
            model=described,
            leads=leads,
            part=part,
            resamples=resamples,
            seed=seed,
            probabilities=score not in ("cosine", "mean"),
            settings=settings,
            skipped=[
                (name_of(dataset, i), why)
                for i, why in zip([*indices, *held], [*reasons, *held_reasons], strict=True)
                if why
            ],
            notes=about,
        )
        if others:
            report.beside[UNTRAINED] = _range(report.labels, each[1:])
        if near is not None:
            report.seen = _groups(report, near, seen)
        reports.append(report)
    undefined = reports[0].undefined
    if undefined:
        warnings.warn(
            f"{len(undefined)} of {len(classes)} classes have only one outcome, in no average: "
            f"{', '.join(undefined)}",
            _metrics.UndefinedMetricWarning,
            stacklevel=3,
        )
    failed = max((report.skipped for report in reports), key=len)
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(indices) + len(held)} recordings could not be scored; the first: "
            f"{failed[0][0]}: {failed[0][1]}",
            stacklevel=3,
        )
    return reports


def _asked(model, config, dataset, score, prompts):
    """The score's name, options of predict_proba for it, and what the report says of it."""
    if score is not None and score not in SCORES:
        raise ValueError(f"score is {score!r}, expected one of {', '.join(SCORES)}")
    if config is None:
        if score is not None or prompts is not None:
            raise ValueError(f"score and prompts need a KMERL, a {type(model).__name__} has one kind of answer")
        return None, {}, {}
    if score is None:
        score = "probability" if config.query_weight > 0 else "cosine"
    if score != "cosine" and config.query_weight == 0:
        raise ValueError(
            f"score is {score!r}, but this model was trained with query_weight=0 and has no query network: "
            "expected 'cosine'"
        )
    if score != "probability" and config.contrast_weight == 0:
        raise ValueError(
            f"score is {score!r}, but this model was trained with contrast_weight=0 and has no contrast space: "
            "expected 'probability'"
        )
    options, settings = {"method": SCORES[score]}, {"score": score}
    if score != "cosine" and config.lead_pooling != "joint":
        settings["lead pooling"] = config.lead_pooling
    if prompts is not None:
        if not hasattr(prompts, "keys"):
            raise TypeError(f"prompts is {type(prompts).__name__}, expected a mapping of classes to texts")
        if score == "probability":
            raise ValueError("prompts stand for classes in the cosine: expected score='cosine' or 'mean'")
        texts = {}
        for name, code in zip(dataset.classes, dataset.codes, strict=True):
            key = name if name in prompts else code
            if key in prompts:
                texts[name] = prompts[key]
        missing = [name for name in dataset.classes if name not in texts]
        if missing:
            raise ValueError(f"prompts has no text for {', '.join(missing[:5])}{', ...' if missing[5:] else ''}")
        digest = hashlib.sha256("\n".join(f"{name}\t{text}" for name, text in texts.items()).encode()).hexdigest()
        options["prompts"], settings["prompts"] = texts, f"{len(texts)} texts, {digest[:12]}"
    return score, options, settings


def _range(labels, scores):
    """Mean and 95 % range of several untrained models' macro averages."""
    found, shown = {}, [name for name in SHOWN if name != "f1"]  # they have no thresholds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _metrics.UndefinedMetricWarning)
        for metric in shown:
            values = [_metrics.score(metric, labels, p) for p in scores]
            low, high = np.percentile(values, (2.5, 97.5)) if len(values) > 1 else (np.nan, np.nan)
            found[metric] = {"macro": float(np.mean(values)), "low": float(low), "high": float(high), "values": values}
    n = len(scores)
    return Figures(metrics=found, spread=f"95 % of {n} initialisations" if n > 1 else "1 initialisation")


def _groups(report, near, threshold):
    """`Report.seen`."""
    groups = {"seen": [c for c in near if near[c]["by"]], "unseen": [c for c in near if not near[c]["by"]]}
    found = {}
    for group, names in groups.items():
        columns = [report.classes.index(c) for c in names]
        if not columns:
            continue
        labels, scores = report.labels[:, columns], report.scores[:, columns]
        found[group] = {}
        for metric in (name for name in SHOWN if name in report.metrics):
            options = {"classes": names}
            options["threshold"] = [report.thresholds[c] for c in names] if metric == "f1" else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", _metrics.UndefinedMetricWarning)
                row = with_interval(metric, labels, scores, report.patients, report.resamples, report.seed, options)
            found[group][metric] = {end: row[end] for end in ("macro", "low", "high")}
    return {"threshold": float(threshold), "nearest": near, "metrics": found}


def _order(order):
    """Lead names in the order asked for."""
    if isinstance(order, str) and order in ORDERS:
        return tuple(ORDERS[order])
    if isinstance(order, str):
        raise ValueError(f"order is {order!r}, expected {', '.join(ORDERS)} or lead names")
    return tuple(LEADS[i] for i in lead_ids(order, "order"))


# What a sweep runs, and its options beyond those they share.
_SWEEPS = {
    "zero_shot": (
        _evaluate,
        {"score": None, "prompts": None, "untrained": INITIALISATIONS, "seen": SEEN, "batch_size": 64},
    ),
    "linear_probe": (probes, {"fraction": 0.01, "seeds": None}),
}


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
