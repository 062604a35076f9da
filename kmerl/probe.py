"""A linear layer on a model's features (SPEC 9)."""

import warnings

import numpy as np

from kmerl import _kmerl
from kmerl.metrics import UndefinedMetricWarning
from kmerl.report import RANDOM, Figures, describe, measure, over_seeds
from kmerl.scoring import chosen_leads, name_of, score, whole

__all__ = ["RANDOM_SEED", "linear_probe", "probes"]

RANDOM_SEED = 2025  # of the random frozen encoder beside every probe
REAL = np.dtype(_kmerl.build_info()["real"])
SETTINGS = {"epochs": 100, "batch size": 16, "lr": 1e-3}  # Table 4
OPTIMISER = {"warmup_steps": 5, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}  # Table 4; no weight decay


def linear_probe(
    model,
    dataset,
    fraction=1.0,
    leads=12,
    *,
    seed=0,
    seeds=None,
    part=None,
    epochs=100,
    batch_size=16,
    lr=1e-3,
    best_test_epoch=False,
    resamples=1000,
    progress=True,
):
    """Train one linear layer with bias on the frozen encoder's features, and measure (SPEC 9, Table 4).

    The features of every recording's first ten seconds are extracted once, in evaluation mode. Binary cross-entropy,
    mean over batch and classes; AdamW, betas 0.9 and 0.999, no weight decay; 5 warm-up steps, then a cosine to 0. An
    epoch is all training recordings in an order drawn from seed and epoch; its last batch may be smaller. The epoch is
    the one with the highest macro AUROC on the validation recordings; the test recordings are scored once, by its
    weights. Every figure is the same, to the last bit, on any number of threads.

    Parameters
    ----------
    model : KMERL
        Anything with ``encode(records, windows="first") -> (n, width)``.
    dataset : kmerl.datasets.Dataset
        With training recordings.
    fraction : float
        Share of the training recordings, above 0 to 1: ``dataset.fraction(fraction)``.
    leads : int or sequence of str
        The first k leads of the paper's order I II III aVF aVR aVL V1-V6, or lead names: the same in training,
        validation and test. Of each recording those that it has; one with none of them is left out and listed.
    seed : int
        Of the first weights and the orders of the probe, and of the bootstrap.
    seeds : int or sequence of int, optional
        Repeat the probe with these seeds (a number n: seed, seed + 1, ... n in all): ``report.seeds`` has mean and
        standard deviation over them, the other figures are those of the first. The bootstrap keeps `seed`.
    part : {"test", "validation"}, optional
        What is scored: the test recordings by default. On the validation recordings, which also choose the epoch, the
        figures flatter, and the report says so.
    epochs, batch_size : int
    lr : float
    best_test_epoch : bool
        Also the epoch with the highest macro AUROC on the recordings scored, as MERL reports it:
        ``report.beside["best test epoch (MERL)"]``. It flatters.
    resamples : int
        Of the bootstrap over patients.
    progress : bool
        Show progress bars.

    Returns
    -------
    Report
        ``report.random`` is the same probe on a random frozen encoder: ``model.untrained(2025)``, missing for a model
        that has no `untrained`.

    Raises
    ------
    TypeError, ValueError
        Bad arguments; a data set without recordings to train on or to score.

    Warns
    -----
    UndefinedMetricWarning
        Classes without both outcomes among the recordings scored: listed, and left out of the averages.
    UserWarning
        Classes without both outcomes among the training recordings, which the probe cannot learn; recordings that
        could not be used. Both are listed in the report.
    """
    (report,) = probes(
        model,
        dataset,
        [chosen_leads(leads)],
        fraction=fraction,
        seed=seed,
        seeds=seeds,
        part=part,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        best_test_epoch=best_test_epoch,
        resamples=resamples,
        progress=progress,
    )
    return report


def probes(
    model,
    dataset,
    lead_sets,
    *,
    fraction,
    seed,
    seeds,
    part,
    epochs=100,
    batch_size=16,
    lr=1e-3,
    best_test_epoch=False,
    resamples,
    progress,
):
    """`linear_probe` with each set of leads; every recording is read once."""
    if not callable(getattr(model, "encode", None)):
        raise TypeError(f"model is {type(model).__name__}, expected a model with encode")
    epochs, batch_size = whole(epochs, "epochs"), whole(batch_size, "batch_size")
    resamples, seeds = whole(resamples, "resamples"), seeds_of(seed, seeds)
    lr = rate_of(lr)
    parts, part, notes = parts_of(dataset, fraction, part)
    indices = np.unique(np.concatenate(list(parts.values())))
    encoders = {"this model": model}
    if callable(getattr(model, "untrained", None)):
        encoders[RANDOM] = model.untrained(RANDOM_SEED)
    else:
        notes.append(f"no random encoder beside it: a {type(model).__name__} has no untrained()")
    found = score(
        lambda records: np.hstack([m.encode(records, windows="first") for m in encoders.values()]),
        _width(model) * len(encoders),
        dataset,
        lead_sets,
        indices,
        progress=progress,
    )
    settings = {"epochs": epochs, "batch size": batch_size, "lr": lr}
    reports = []
    for leads, (features, reasons, fewer) in zip(lead_sets, found, strict=True):
        recordings = Recordings(dataset, parts, part, indices, reasons, leads, fewer)
        about, made = notes + recordings.notes, {}
        for (name, encoder), x in zip(encoders.items(), np.split(features, len(encoders), axis=1), strict=True):
            fitted = fit_probes(recordings, x, seeds, settings, name, progress, best_test_epoch)
            made[name] = recordings.measure(
                "linear_probe",
                fitted,
                seeds,
                resamples,
                seed,
                model=describe(encoder),
                settings=settings if name != RANDOM else {**settings, "encoder's seed": RANDOM_SEED},
                fraction=float(fraction),
                notes=about,
            )
        report = made["this model"]
        if RANDOM in made:
            report.beside = {RANDOM: made[RANDOM], **report.beside}
        reports.append(report)
    warn_of(reports)
    return reports


class Recordings:
    """Those of one set of leads that can be used, by part; what is trained on them is measured by them."""

    def __init__(self, dataset, parts, part, indices, reasons, leads, fewer):
        # indices rises; self.indices are those in it that can be used, self.rows their places.
        self.dataset, self.part, self.leads = dataset, part, leads
        known = {i: reason is None for i, reason in zip(indices.tolist(), reasons, strict=True)}
        self.indices = {name: np.array([i for i in of if known[int(i)]], np.int64) for name, of in parts.items()}
        self.rows = {name: np.searchsorted(indices, of) for name, of in self.indices.items()}
        self.skipped = [
            (name_of(dataset, i), f"{name}: {reasons[np.searchsorted(indices, i)]}")
            for name, of in parts.items()
            for i in of
            if not known[int(i)]
        ]
        for name in ("train", part):
            if not len(self.indices[name]):
                raise ValueError(
                    f"none of the {len(parts[name]):,} {name} recordings of {dataset.name} can be used with leads "
                    f"{' '.join(leads)}: {self.skipped[0][1]}"
                )
        self.notes, self.unlearnt = [], self._one_outcome("train")
        if self.unlearnt:
            self.notes.append(
                f"{len(self.unlearnt)} of {len(dataset.classes)} classes have only one outcome in the "
                f"{len(self.indices['train']):,} training recordings and cannot be learned: {', '.join(self.unlearnt)}"
            )
        blind = self._one_outcome("validation") if len(self.indices["validation"]) else dataset.classes
        if len(blind) == len(dataset.classes):
            self.notes.append(
                "no validation recordings with both outcomes of a class to choose the epoch: the last one is taken"
            )
        elif blind:
            self.notes.append(f"the epoch was chosen without {', '.join(blind)}: one outcome only in validation")
        if fewer:
            self.notes.append(f"{fewer:,} recordings lack some of the {len(leads)} leads: used with those they have")

    def _one_outcome(self, name):
        labels = self.dataset.labels[self.indices[name]]
        single = labels.min(axis=0) == labels.max(axis=0)
        return [c for c, one in zip(self.dataset.classes, single, strict=True) if one]

    def measure(self, evaluation, fitted, seeds, resamples, seed, **fields):
        """The report of the first seed, with what the others gave; `fitted` as of `fit_probes`."""
        held, settings, notes = self.indices["validation"], fields.pop("settings"), fields.pop("notes")
        trained = self.indices["train"]
        reports = []
        for (scores, epoch, best), n in zip(fitted, [resamples] + [1] * (len(seeds) - 1), strict=True):
            report = measure(
                evaluation,
                self.dataset,
                self.indices[self.part],
                scores[self.part],
                validation=(held, scores["validation"]),
                leads=self.leads,
                part=self.part,
                resamples=n,
                seed=seed,
                settings={**settings, "epoch chosen on validation": epoch},
                trained={
                    "recordings": len(trained),
                    "patients": len({str(self.dataset.patients[i]) for i in trained}),
                },
                skipped=self.skipped,
                notes=notes,
                **fields,
            )
            if not np.isnan(best):
                report.beside["best test epoch (MERL)"] = Figures(
                    metrics={"roc_auc": {"macro": best, "low": np.nan, "high": np.nan}},
                    note="the epoch is chosen on the recordings it is scored on; it flatters",
                )
            reports.append(report)
        if len(seeds) > 1:
            reports[0].seeds = over_seeds(reports, seeds)
        return reports[0]


def fit_probes(recordings, features, seeds, settings, name, progress, watch=False):
    """``(scores of the part, scores of validation, epoch, best macro AUROC of any epoch)`` for each seed."""
    from kmerl.progress import Progress

    x = {part: np.ascontiguousarray(features[rows], REAL) for part, rows in recordings.rows.items()}
    y = {part: np.ascontiguousarray(recordings.dataset.labels[of], np.uint8) for part, of in recordings.indices.items()}
    watched = recordings.part if watch else None
    nothing = (x["train"][:0], y["train"][:0])
    with Progress(settings["epochs"], f"probe, {name}", "epochs", show=progress) as bar:
        weight, bias, epoch, _, others = _kmerl.probe_fit(
            x["train"],
            y["train"],
            x["validation"],
            y["validation"],
            *((x[watched], y[watched]) if watch else nothing),
            seeds=np.array(seeds, np.uint64),
            epochs=settings["epochs"],
            batch_size=settings["batch size"],
            lr=settings["lr"],
            threads=_kmerl.build_info()["threads"],
            hook=lambda done: bar.update(1),
            **OPTIMISER,
        )
    found = []
    for w, b, e, other in zip(weight, bias, epoch, others, strict=True):
        scores = {
            part: _kmerl.sigmoid(_kmerl.probe_apply(x[part], w, b)) for part in {"validation", recordings.part}
        }
        best = float(np.nanmax(other)) if watch and not np.isnan(other).all() else np.nan
        found.append((scores, int(e), best))
    return found


def parts_of(dataset, fraction, part):
    """``{"train", "validation", part: indices}``, the part to score, and notes."""
    if not hasattr(dataset, "split") or not hasattr(dataset, "labels"):
        raise TypeError(f"dataset is {type(dataset).__name__}, expected a kmerl.datasets.Dataset")
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.number)) or not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction!r}, expected a share of the training recordings above 0 to 1")
    if part not in (None, "test", "validation"):
        raise ValueError(f"part is {part!r}, expected test or validation")
    part, notes = part or "test", []
    sizes = ", ".join(f"{len(v):,} {k}" for k, v in dataset.split.items())
    for name in ("train", part):
        if not len(dataset.split[name]):
            about = "".join(f"; {note}" for note in getattr(dataset, "notes", ()) if note.startswith("partial copy"))
            raise ValueError(
                f"{dataset.name} has no {name} recordings ({sizes}), which are needed{about}: add recordings of that "
                "part, or give a split of your own by a CSV (kmerl.datasets.folder)"
            )
    if part == "validation":
        notes.append("scored on the recordings that chose the epoch and the thresholds: this flatters")
    with warnings.catch_warnings():     # of classes with one outcome, which `Recordings` knows of those it can use
        warnings.filterwarnings("ignore", r"\d+ of \d+ classes have one outcome only")
        train = dataset.fraction(float(fraction))
    parts = {"train": train, "validation": dataset.split["validation"], part: dataset.split[part]}
    return {name: np.asarray(of, np.int64) for name, of in parts.items()}, part, notes


def rate_of(lr):
    if isinstance(lr, bool) or not isinstance(lr, (int, float, np.number)) or not 0 < lr < np.inf:
        raise ValueError(f"lr is {lr!r}, expected a number above 0")
    return float(lr)


def seeds_of(seed, seeds):
    if seeds is None:
        seeds = [seed]
    elif isinstance(seeds, (int, np.integer)) and not isinstance(seeds, bool):
        seeds = [seed + i for i in range(whole(seeds, "seeds"))]
    else:
        seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds is {seeds!r}, expected a number of seeds or different seeds")
    for one in [seed, *seeds]:
        if isinstance(one, bool) or not isinstance(one, (int, np.integer)) or not 0 <= one < 2**64:
            raise ValueError(f"seed is {one!r}, expected a whole number from 0 to 2**64 - 1")
    return [int(one) for one in seeds]


def _width(model):
    """How many features the model has."""
    config = getattr(model, "config_", None)
    width = getattr(model, "width", None) if config is None else config.width
    if isinstance(width, bool) or not isinstance(width, (int, np.integer)):
        raise TypeError(f"model is {type(model).__name__}, expected one with parameters, or with a width of features")
    return int(width)


def warn_of(reports):
    undefined, classes = reports[0].undefined, reports[0].classes
    if undefined:
        warnings.warn(
            f"{len(undefined)} of {len(classes)} classes have only one outcome, in no average: {', '.join(undefined)}",
            UndefinedMetricWarning,
            stacklevel=4,
        )
    for note in reports[0].notes:
        if "cannot be learned" in note:
            warnings.warn(note, stacklevel=4)
    failed = max((report.skipped for report in reports), key=len)
    if failed:
        warnings.warn(
            f"{len(failed):,} recordings could not be used; the first: {failed[0][0]}: {failed[0][1]}", stacklevel=4
        )
