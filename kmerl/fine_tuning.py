"""Fine-tuning: the whole encoder and a linear head on its feature, trained end to end (SPEC 9, 10)."""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import warnings

import numpy as np

from kmerl import _kmerl, safetensors
from kmerl.batch import check_rate
from kmerl.checkpoint import Head
from kmerl.config import Config
from kmerl.durable import FolderLock, made_folder
from kmerl.metrics import UndefinedMetricWarning, roc_auc_score
from kmerl.probe import RANDOM_SEED, REAL, SETTINGS, Recordings, fit_probes, parts_of, rate_of, seeds_of, warn_of
from kmerl.progress import Progress
from kmerl.report import RANDOM, describe
from kmerl.scoring import chosen_leads, name_of, score, whole

__all__ = ["fine_tune"]

CHUNK = 64  # recordings scored at a time
UNMASKED = {"masked_leads": (0,), "segment_masking": "none"}
OPTIONS = ("betas", "eps", "weight_decay", "decay", "clip", "warmup_steps", "masked_leads", "segment_masking",
           "mask_ratio", "lanes", "span_recordings", "span_tokens", "memory_mb", "threads")  # fmt: skip


def fine_tune(
    model,
    dataset,
    fraction=1.0,
    leads=12,
    *,
    epochs=50,
    lr=2e-4,
    batch_size=16,
    seed=0,
    seeds=None,
    part=None,
    out=None,
    resamples=1000,
    progress=True,
    **options,
):
    """Train a copy of the whole encoder with one linear layer on its feature, and measure.

    Binary cross-entropy, mean over batch and classes. Optimiser, schedule and order are pretraining's (SPEC 7): AdamW,
    one cosine to 0 over all steps, whole batches only unless there is no more than a partial one; the layer starts as a
    probe's does. The epoch is the one with the highest macro AUROC on the validation recordings; the test recordings
    are scored once. The same bits on any number of threads, interrupted or not. Recordings are held as a store holds
    them (their first ten seconds, 1 uV steps), in a temporary file.

    Parameters
    ----------
    model : KMERL
        It stays as it is. One that was only initialised is trained from scratch: ``model.untrained(1)``.
    dataset, fraction, leads, seed, seeds, part, resamples, progress
        As in `linear_probe`; a seed is that of the layer's first weights and of the orders.
    epochs, batch_size : int
    lr : float
    out : path-like, optional
        A folder for the state of the training, one file a seed: what was interrupted goes on there, and what was done
        is not done again. Created if its parent exists.
    **options
        Fields of `kmerl.config.Config`, with their defaults there: ``betas``, ``eps``, ``weight_decay``, ``decay``,
        ``clip``, ``warmup_steps``, ``mask_ratio``, those of execution and of the order of sums; and ``masked_leads``
        and ``segment_masking``, by default none.

    Returns
    -------
    Report
        ``report.random`` is the linear probe on a random frozen encoder, with the probe's own settings;
        ``report.classifier`` what the first seed trained, with `predict_proba` and `save`
        (`kmerl.classifier.Classifier`).

    Raises
    ------
    TypeError, ValueError
        Bad arguments; nothing to train on or to score; a folder that holds another training.
    RuntimeError
        The loss or its gradient stops being finite.
    KeyboardInterrupt
        After Ctrl-C; with `out` the same call goes on.

    Warns
    -----
    UserWarning
        As in `linear_probe`.
    """
    from kmerl.model import KMERL

    if not isinstance(model, KMERL):
        raise TypeError(f"model is {type(model).__name__}, expected a kmerl.KMERL")
    random = model.untrained(RANDOM_SEED)
    check_rate(model.config_)
    resamples, seeds = whole(resamples, "resamples"), seeds_of(seed, seeds)
    sizes = {"epochs": whole(epochs, "epochs"), "batch_size": whole(batch_size, "batch_size")}
    config, leads = _config(model, {**options, **sizes, "lr": rate_of(lr)}), chosen_leads(leads)
    parts, part, notes = parts_of(dataset, fraction, part)
    indices = np.unique(np.concatenate(list(parts.values())))
    with contextlib.ExitStack() as stack:
        if out is not None:
            out = made_folder(out)
            stack.enter_context(FolderLock(out, "training"))
        signals = stack.enter_context(_Signals(config))

        def ask(records):
            features = random.encode(records, windows="first")
            signals.add(records)  # after what refuses them
            return features

        ((features, reasons, fewer),) = score(ask, config.width, dataset, [leads], indices, progress=progress)
        recordings = Recordings(dataset, parts, part, indices, reasons, leads, fewer)
        used = np.flatnonzero([reason is None for reason in reasons])
        corpus = signals.corpus(dataset.labels[indices[used]])
        rows = {name: np.searchsorted(used, of) for name, of in recordings.rows.items()}
        identity = _identity(model, recordings)
        fitted = []
        for one in seeds:
            path = None if out is None else os.path.join(out, f"seed-{one}.safetensors")
            training = _Training(model, dataclasses.replace(config, seed=one), corpus, rows, recordings, identity, path)
            fitted.append(training.run(progress))
            if one == seeds[0]:
                classifier = training.classifier(model)
    fields = {"fraction": float(fraction), "notes": notes + recordings.notes}
    settings = {"epochs": config.epochs, "batch size": config.batch_size, "lr": config.lr}
    settings |= {name.replace("_", " "): _plain(getattr(config, name)) for name in ("weight_decay", "warmup_steps")}
    settings |= {name.replace("_", " "): _plain(value) for name, value in sorted(options.items())}
    report = recordings.measure(
        "fine_tune", fitted, seeds, resamples, seed, model=describe(model), settings=settings, **fields
    )
    report.classifier = classifier
    fitted = fit_probes(recordings, features, seeds, SETTINGS, RANDOM, progress)
    report.beside[RANDOM] = recordings.measure(
        "linear_probe",
        fitted,
        seeds,
        resamples,
        seed,
        model=describe(random),
        settings={**SETTINGS, "encoder's seed": RANDOM_SEED},
        **fields,
    )
    warn_of([report])
    return report


def _config(model, options):
    from kmerl.config import Config

    unknown = [name for name in options if name not in (*OPTIONS, "epochs", "batch_size", "lr")]
    if unknown:
        raise TypeError(f"fine_tune has no option {unknown[0]!r}; it has {', '.join(OPTIONS)}")
    fields = {field.name: field.default for field in dataclasses.fields(Config)}
    usual = {name: fields[name] for name in OPTIONS if name not in UNMASKED}
    return dataclasses.replace(model.config_, window="first", **{**usual, **UNMASKED, **options})


def _identity(model, recordings):
    """What a training must have in common with the one that it goes on from, besides its settings."""
    digest = hashlib.sha256(json.dumps([describe(model), list(recordings.leads)]).encode())
    for part, indices in recordings.indices.items():
        digest.update(json.dumps([part, [name_of(recordings.dataset, i) for i in indices]]).encode())
        digest.update(np.ascontiguousarray(recordings.dataset.labels[indices], np.uint8).tobytes())
    return digest.hexdigest()


def _plain(value):
    return value if isinstance(value, (int, float, str)) else str(value)


class _Signals:
    """Recordings as a store holds them, one behind the other in a temporary file."""

    def __init__(self, config):
        self.config = config
        self.rows = {"start": [], "leads": [], "samples": []}
        self.length = 0

    def __enter__(self):
        self.file = tempfile.TemporaryFile()
        return self

    def __exit__(self, *_):
        self.file.close()

    def add(self, records):
        from kmerl.store_build import pack

        packed = [pack(record, self.config.seconds) for record in records]
        for one in packed:
            self.file.write(one["data"].tobytes())
            for name, value in (("start", self.length), ("leads", one["leads"]), ("samples", one["samples"])):
                self.rows[name].append(value)
            self.length += one["data"].size

    def corpus(self, labels):
        """The core's corpus of them, with their labels, (n, classes)."""
        n = len(self.rows["start"])
        if n != len(labels):
            raise RuntimeError(f"{n} recordings were kept, {len(labels)} have labels")
        self.file.flush()
        distinct, which = np.unique(labels, axis=0, return_inverse=True)
        kinds = {"start": np.int64, "leads": np.uint16, "samples": np.int32}
        return _kmerl.Corpus({
            "shards": [np.memmap(self.file, np.int16, "r")],
            "shard": np.zeros(n, np.int32),
            **{name: np.array(values, kinds[name]) for name, values in self.rows.items()},
            "report": np.ascontiguousarray(which.reshape(-1), np.int32),
            "labels": np.ascontiguousarray(distinct, np.uint8),
            "embeddings": np.zeros((len(distinct), 0), REAL),
            "entities": np.zeros((labels.shape[1], 0), REAL),
        })  # fmt: skip


class _Training:
    """One seed's training: the copy of the model, the trainer, and what is kept of the best epoch."""

    def __init__(self, model, config, corpus, rows, recordings, identity, path):
        self.config, self.corpus, self.rows, self.recordings, self.path = config, corpus, rows, recordings, path
        self.about = {"identity": identity, "config": config.to_json()}
        self.threads = config.threads or _kmerl.build_info()["threads"]
        self.core = _kmerl.Model(config.to_core())
        self.core.set_parameters(model.parameters())
        self.core.set_statistics(model.statistics())
        self.trainer = _kmerl.Trainer(
            self.core,
            corpus,
            rows["train"],
            np.zeros(0, np.int64),
            threads=self.threads,
            classes=len(recordings.dataset.classes),
        )
        self.scores, self.best = [], None
        if path is not None and os.path.exists(path):
            self._load()

    def run(self, progress):
        """As of `fit_probes`, for this seed."""
        state = self.trainer.state()
        each, step = state["epoch_steps"], state["step"]
        total = each * self.config.epochs
        with Progress(total, f"fine-tune, seed {self.config.seed}", "steps", show=progress, initial=step) as bar:
            shown = {}

            def hook(event):
                shown["loss"] = f"{event['loss']:.4f}"
                bar.update(1, **shown)

            try:
                while step < total or len(self.scores) < self.config.epochs:
                    if step == (len(self.scores) + 1) * each:
                        self._validate()
                        if not np.isnan(self.scores[-1]):
                            shown["val_auroc"] = f"{self.scores[-1]:.3f}"
                        self._save()
                    else:
                        self.trainer.run((step // each + 1) * each, hook)
                    step = self.trainer.state()["step"]
            except BaseException:
                self._save()
                raise
        parameters, statistics, head, epoch = self.best
        self.core.set_parameters(parameters)
        self.core.set_statistics(statistics)
        names = {"validation", self.recordings.part}
        return {name: _kmerl.sigmoid(self._logits(self.rows[name], head)) for name in names}, epoch, np.nan

    def _validate(self):
        """After an epoch: its macro AUROC, and whether it is the best so far, or the last where none is."""
        head, rows = self.trainer.head()[0], self.rows["validation"]
        auroc = np.nan
        if len(rows):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UndefinedMetricWarning)
                labels = self.recordings.dataset.labels[self.recordings.indices["validation"]]
                auroc = roc_auc_score(labels, self._logits(rows, head))
        known = [value for value in self.scores if not np.isnan(value)]
        if not known or auroc > max(known):
            self.best = self.core.parameters(), self.core.statistics(), head, len(self.scores) + 1
        self.scores.append(auroc)

    def classifier(self, model):
        """What is best, after `run`: the model's configuration, names and texts with it."""
        from kmerl.classifier import Classifier

        parameters, statistics, head, _ = self.best
        classes = list(self.recordings.dataset.classes)
        tuned = model.untrained(self.config.seed).set_parameters(parameters)
        if statistics:
            tuned.set_statistics(statistics)
        weight, bias = self._layer(head)
        return Classifier(tuned, Head(classes, list(self.recordings.leads), weight, bias))

    def _layer(self, head):
        """Weight (classes, width) and bias (classes,)."""
        classes = len(self.recordings.dataset.classes)
        return head[: classes * self.config.width].reshape(classes, -1), head[classes * self.config.width :]

    def _logits(self, rows, head):
        config = dataclasses.replace(self.config, **UNMASKED).to_core()
        classes = len(self.recordings.dataset.classes)
        weight, bias = self._layer(head)
        logits = [np.zeros((0, classes), REAL)]
        for begin in range(0, len(rows), CHUNK):
            chosen = np.ascontiguousarray(rows[begin : begin + CHUNK], np.int64)
            batch = _kmerl.sample_batch(self.corpus, chosen, config, 0, 0, self.threads)
            batch = {name: batch[name] for name in ("patches", "lead", "segment", "offset")}
            features = self.core.evaluate(batch, threads=self.threads)["features"]
            logits.append(_kmerl.probe_apply(features, weight, bias))
        return np.concatenate(logits)

    def _save(self):
        if self.path is None:
            return
        state = self.trainer.state()
        scores = [None if np.isnan(value) else float(value) for value in self.scores]
        about = {**self.about, "step": state["step"], "scores": scores, "epoch": self.best[3] if self.best else None}
        safetensors.write(self.path, self._tensors(state, self.best), {"kmerl": json.dumps(about)})

    def _tensors(self, state, best):
        """{group/name: array} of a file: what is trained now, and `best` where there is one."""
        groups = {"parameters": self.core.parameters(), "statistics": self.core.statistics(), "m": state["m"],
                  "v": state["v"], "head": dict(zip("wmv", self.trainer.head(), strict=True))}  # fmt: skip
        if best is not None:
            parameters, statistics, head, _ = best
            groups |= {"best.parameters": parameters, "best.statistics": statistics, "best.head": {"w": head}}
        return {f"{group}/{name}": x for group, of in groups.items() for name, x in of.items()}

    def _load(self):
        tensors, metadata = safetensors.read(self.path)
        try:
            about = json.loads(metadata["kmerl"])
        except (KeyError, ValueError, RecursionError):
            about = None
        if not isinstance(about, dict) or not about.keys() >= {*self.about, "step", "scores", "epoch"}:
            raise ValueError(f"{self.path} is no state of a fine-tuning")
        try:
            different = Config.from_json(about["config"]).difference(self.config)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path} is damaged: its configuration: {error}") from None
        for differs, what in ((about["identity"] != self.about["identity"], "another model, data set or set of leads"),
                              (different, "other settings")):
            if differs:
                raise ValueError(f"{self.path} holds a training of {what}; choose another folder")
        if fault := self._fault(about, tensors):
            raise ValueError(f"{self.path} is damaged: {fault}")
        groups = {}
        for name, x in tensors.items():
            group, _, name = name.partition("/")
            groups.setdefault(group, {})[name] = np.array(x)
        self.core.set_parameters(groups["parameters"])
        self.core.set_statistics(groups.get("statistics", {}))
        self.trainer.set_state(step=about["step"], validated=0, m=groups["m"], v=groups["v"])
        self.trainer.set_head(**groups["head"])
        self.scores = [np.nan if value is None else float(value) for value in about["scores"]]
        if about["epoch"] is not None:
            self.best = (groups["best.parameters"], groups.get("best.statistics", {}), groups["best.head"]["w"],
                         about["epoch"])  # fmt: skip

    def _fault(self, about, tensors):
        """What a file that `_save` wrote cannot hold; "" where there is nothing."""
        step, scores, epoch = about["step"], about["scores"], about["epoch"]
        if not isinstance(scores, list) or not all(_is_score(value) for value in scores):
            return "its scores are not numbers from 0 to 1"
        state = self.trainer.state()
        done, each = len(scores), state["epoch_steps"]
        if done > self.config.epochs or type(step) is not int or not done * each <= step <= (done + 1) * each or (
                step > self.config.epochs * each):
            return f"it is at step {step!r:.40} after {done} of {self.config.epochs} epochs of {each} steps"
        if not (epoch is None and not scores or type(epoch) is int and 1 <= epoch <= done):
            return f"its best epoch is {epoch!r:.40} of {done}"
        best = self.core.parameters(), self.core.statistics(), self.trainer.head()[0], epoch
        expected = self._tensors(state, best if epoch is not None else None)
        if different := sorted(expected.keys() ^ tensors.keys()):
            return f"{different[0]!r:.80} is {'missing' if different[0] in expected else 'not of this training'}"
        for name, x in expected.items():
            if tensors[name].shape != x.shape or tensors[name].dtype != x.dtype:
                return f"{name} is {tensors[name].dtype} {tensors[name].shape}, expected {x.dtype} {x.shape}"
            if not np.isfinite(tensors[name]).all():
                return f"{name} has NaN or infinite numbers"
        return ""


def _is_score(value):
    return value is None or isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
