"""Whole tables of the paper: every row trained, measured on every data set, and set beside the paper's figures."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import sys
import time
import warnings

import numpy as np

from kmerl import evaluate
from kmerl import metrics as _metrics
from kmerl.ablation_table import FIGURE_ONLY, load_table
from kmerl.config import EXECUTION, PRESETS, SIZES, Config
from kmerl.durable import FolderLock, made_folder, writing
from kmerl.fine_tuning import OPTIONS
from kmerl.probe import probes, rate_of
from kmerl.report import RANDOM, UNTRAINED, as_json, load, markdown_table, read_json, text_table, write_text
from kmerl.sample import NETWORK
from kmerl.scoring import chosen_leads, whole
from kmerl.training import known

__all__ = ["Ablation", "SAMPLE", "ablate"]

# What a table is tried with on the recordings that come with kmerl: it trains in seconds and learns next to nothing.
SAMPLE = {
    **NETWORK,
    "report_pooling": "mean",
    "batch_size": 16,
    "lr": 1e-3,
    "epochs": 20,
}
SHAPE = ("width", "heads", "mlp_width")  # what an encoder's size says; `depth` may be cut for all rows
WORKSPACE = "ablation.json"


def ablate(
    table,
    store=None,
    datasets=None,
    out="ablations",
    *,
    rows=None,
    seeds=None,
    encoder=None,
    encoders=None,
    extractors=None,
    gold=None,
    probe=None,
    fine_tune=None,
    resamples=1000,
    progress=True,
    **config,
):
    """Runs a table of the paper: trains every row, measures it on every data set, sets it beside the paper's figures.

    It may be stopped at any moment: the same call goes on, trainings too, and repeats nothing that is finished. Rows
    of the same configuration are trained once, in all tables that have the same `out`.

    Parameters
    ----------
    table : str or path-like
        Such as "2c", "figure9" (`kmerl.list_tables`), or a JSON file of one's own (docs/reproduce.md).
    store : Store or path-like, optional
        What to pretrain on, labelled and embedded. Without it and `datasets`, the recordings that come with kmerl:
        a trial of a few minutes, in small.
    datasets : Dataset or sequence of Dataset, optional
        What to measure on (`kmerl.datasets`).
    out : path-like
        Folder of trainings and results. Its parent must exist.
    rows : sequence of str, optional
        Names of the rows to run; all that can be run without it.
    seeds : sequence of int, optional
        Seeds of pretraining and probes; several give mean and standard deviation over them. The table's by default.
    encoder : TextEncoder or TextEmbeddings, optional
        What the store was embedded with: for rows that need it labelled or pooled in another way, and for prompts.
    encoders : dict of str to TextEncoder, optional
        By the names that the rows of Table 7b have.
    extractors : dict, optional
        By the names in Tables 7c, 8 and 9 the arguments of `kmerl.LLMExtractor`: ``{"Gemma-2-9B": {"base_url": ...,
        "model": ...}}``; by the name "store" those of the store's own labels, where they are a language model's.
    gold : (texts, labels), optional
        Reports and a (n, entities) array of 0 and 1 in the default vocabulary's order, for extraction accuracy.
    probe, fine_tune : dict, optional
        Arguments of `kmerl.evaluate.linear_probe` and of `kmerl.evaluate.fine_tune` in place of theirs, such as
        ``{"epochs": 20}``.
    resamples : int
        Of the bootstrap over patients.
    progress : bool
        Progress on standard error.
    **config
        Fields of `kmerl.Config` for all rows, such as ``size``, ``epochs``, ``batch_size``: they win over the
        table's preset, and a row's own change wins over them.

    Returns
    -------
    Ablation
        Also written to `out` as ``<table>.json``, ``<table>.md`` and ``<table>.html``.

    Raises
    ------
    FileNotFoundError
        No such table.
    ValueError
        A file with faults; a row that is not in the table; rows named that cannot be run, or none that can, with the
        reasons; `out` holds results of other settings: the message names the field.
    """
    table = load_table(table)
    unknown = [name for name in config if name not in {field.name for field in dataclasses.fields(Config)}]
    if unknown:
        raise TypeError(f"ablate has no argument {unknown[0]!r}, and kmerl.Config has no field of that name")
    if "seed" in config:
        raise TypeError("give seeds=[...] in place of seed")
    given = {"encoder": encoder, "encoders": encoders}
    if store is None and datasets is None:
        if encoder is not None or encoders is not None:
            raise ValueError("encoder and encoders belong to a store of your own: the sample comes with embeddings")
        store, datasets, given["encoder"] = _sample(made_folder(out), progress)
        config = {**SAMPLE, **config}
    elif store is None or datasets is None:
        raise ValueError("store and datasets belong together: what to train on, and what to measure on")
    given.update(seeds=seeds, extractors=extractors, gold=gold, probe=probe, fine_tune=fine_tune, resamples=resamples)
    run = _Run(table, store, datasets, made_folder(out), **given, progress=progress, base=config)
    run.choose(rows)
    with FolderLock(run.out, "ablation"):
        run.check_workspace()
        run.work()
        found = run.found()
        for ending, write in (("json", found.to_json), ("md", found.to_markdown), ("html", found.to_html)):
            write(os.path.join(run.out, f"{table.name}.{ending}"))
    return found


def _sample(out, progress):
    """Store, data set and embeddings of the recordings that come with kmerl."""
    import kmerl

    encoder = kmerl.sample_embeddings()
    store = kmerl.Store.create(os.path.join(out, "sample"), kmerl.sample_records("train"), progress=False)
    try:
        _ = store.vocabulary, store.embeddings
    except RuntimeError:
        store.label(kmerl.Vocabulary.default(), progress=progress).embed(encoder, progress=progress)
    return store, [kmerl.sample_dataset()], encoder


class _Run:
    """One call of `ablate`: what is to be done, and doing it."""

    def __init__(self, table, store, datasets, out, *, seeds, encoder, encoders, extractors, gold, probe, fine_tune,
                 resamples, progress, base):
        import kmerl
        from kmerl.datasets import Dataset

        self.table, self.out, self.progress, self.base = table, out, progress, base
        self.store = kmerl.Store.open(store) if isinstance(store, (str, os.PathLike)) else store
        self.datasets = [datasets] if isinstance(datasets, Dataset) else list(datasets)
        names = [dataset.name for dataset in self.datasets]
        if not names:
            raise ValueError("datasets is empty, expected at least one kmerl.datasets.Dataset")
        if len(set(names)) < len(names):
            raise ValueError(f"datasets has two of the same name: {', '.join(names)}")
        self.seeds = [int(seed) for seed in (table.seeds if seeds is None else seeds)]
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {seeds}, expected different whole numbers")
        self.encoder, self.encoders = encoder, dict(encoders or {})
        self.extractors, self.gold = dict(extractors or {}), gold
        self.probe, self.fine_tune = _measuring("probe", probe), _measuring("fine_tune", fine_tune)
        self.resamples = whole(resamples, "resamples")
        self.configs = {row.name: self._config(row) for row in table.rows if not (row.quoted or row.needs)}
        self.failed = {}  # why a figure could not be had, by its path

    def _config(self, row):
        """Parameters of KMERL: the preset, what the caller chose for all rows, the row's own change."""
        values = {**self.base, **row.config}
        if PRESETS[row.preset].get("encoder") == "resnet18":  # has one shape, and no query network
            values = {name: value for name, value in values.items() if name not in ("size", "depth", *SHAPE)}
        if "size" in row.config:  # the row's encoder, as deep as the caller has it
            values = {name: value for name, value in values.items() if name not in SHAPE or name in row.config}
            if "depth" in values:
                width, _, heads, mlp_width = SIZES[row.config["size"]]
                values.update(size="custom", width=width, heads=heads, mlp_width=mlp_width)
        return {"preset": row.preset, **values}

    # ---- what can be run ----

    def choose(self, wanted):
        """Which rows are run, and why the others are not."""
        names = [row.name for row in self.table.rows]
        wanted = [wanted] if isinstance(wanted, str) else wanted
        for name in wanted or ():
            if name not in names:
                raise ValueError(f"rows has {name!r}; table {self.table.name} has {', '.join(map(repr, names))}")
        self.reasons = {row.name: reason for row in self.table.rows if (reason := self._reason(row))}
        refused = [f"{name!r}: {self.reasons[name]}" for name in wanted or () if name in self.reasons]
        if not wanted and len(self.reasons) == len(names):
            refused = [f"{name!r}: {reason}" for name, reason in self.reasons.items()]
        if refused:
            raise ValueError(f"table {self.table.name} cannot run {'; '.join(refused)}")
        for name in names:
            if wanted and name not in wanted:
                self.reasons.setdefault(name, UNASKED)
        self.named = bool(wanted)
        self.rows = [row for row in self.table.rows if row.name not in self.reasons]
        for name, reason in self.reasons.items():
            if reason not in (UNASKED, QUOTED):
                warnings.warn(f"table {self.table.name}, row {name!r} is not run: {reason}", stacklevel=4)

    def _refuse(self, row, reason):
        """What only shows itself on the way: an error where the row was asked for by name."""
        if self.named:
            raise ValueError(f"table {self.table.name} cannot run {row.name!r}: {reason}")
        self.reasons[row.name] = reason
        warnings.warn(f"table {self.table.name}, row {row.name!r} is not run: {reason}", stacklevel=4)

    def _reason(self, row):
        """Why a row cannot be run; empty where it can."""
        if row.quoted:
            return QUOTED
        if row.needs:
            return f"needs {row.needs}"
        if not any(_applies(column, row) for column in self.table.columns):
            return "the table has no column for a network that answers no names"
        if row.from_scratch:
            return ""
        if row.encoder is not None and row.encoder not in self.encoders:
            return f"needs the text encoder {row.encoder}: encoders={{{row.encoder!r}: ...}}, or --encoder NAME=FOLDER"
        name = row.labels.get("extractor", "store" if row.labels and self._extractor() != "lexicon" else None)
        if name is not None and name not in self.extractors:
            return (f"needs the language model {name}: extractors={{{name!r}: {{'base_url': ..., 'model': ...}}}}, or "
                    "--extractor NAME=URL,MODEL")  # fmt: skip
        encoder = self._encoder(row)
        if row.class_texts is not None and encoder is None:
            return "needs the store's text encoder, for prompts: encoder=..., or --encoder FOLDER"
        if row.class_texts is not None and hasattr(encoder, "__contains__"):
            texts = [text for code, text in _prompts().items() if any(code in d.codes for d in self.datasets)]
            if any(text not in encoder for text in texts):
                return "needs a text encoder for prompts: ready-made embeddings do not have them"
        made, wanted = self.store.embeddings, self._poolings(row)
        if (row.labels or wanted != (made.report_pooling, made.query_pooling)) and encoder is None:
            what = "labelled in another way" if row.labels else f"pooled by {' and '.join(wanted)}"
            return f"needs the store {what} and embedded again: encoder=..., or --encoder FOLDER"
        lacking = [name for name in wanted if encoder is not None and name not in getattr(encoder, "poolings", wanted)]
        if lacking:
            return (f"needs texts pooled by {lacking[0]!r}, which {encoder.id} has not; report_pooling='mean' for all "
                    "rows is SPEC 10's option")  # fmt: skip
        return ""

    def _extractor(self):
        """What the store was labelled by."""
        return self.store._need("labels").get("extractor")

    def _encoder(self, row):
        return self.encoder if row.encoder is None else self.encoders[row.encoder]

    def _poolings(self, row):
        values = {**PRESETS[row.preset], **self.configs[row.name]}
        defaults = {field.name: field.default for field in dataclasses.fields(Config)}
        return tuple(values.get(name, defaults[name]) for name in ("report_pooling", "query_pooling"))

    # ---- the folder ----

    def check_workspace(self):
        """Refuses a folder of results that were made in another way."""
        path = os.path.join(self.out, WORKSPACE)
        mine = {
            "store": self.store.fingerprint(),
            "resamples": self.resamples,
            "probe": self.probe,
            "fine_tune": self.fine_tune,
            "datasets": {dataset.name: _fingerprint(dataset) for dataset in self.datasets},
            "config": json.loads(json.dumps(_computed(self.base))),
        }
        if os.path.exists(path):
            theirs = _json_of(path)
            if not all(isinstance(theirs.get(name), dict) for name in ("datasets", "config")):
                raise ValueError(f"{path} is damaged: it does not say of which datasets and config its results are")
            pairs = [(name, theirs.get(name), mine[name]) for name in ("store", "resamples", "probe", "fine_tune")]
            pairs += [(f"datasets, {name}", theirs["datasets"].get(name, value), value)
                      for name, value in mine["datasets"].items()]  # fmt: skip
            pairs += [(name, theirs["config"].get(name, "not given"), mine["config"].get(name, "not given"))
                      for name in sorted({*theirs["config"], *mine["config"]})]  # fmt: skip
            different = [f"{name} is {a!r} there, {b!r} here" for name, a, b in pairs if a != b]
            if different:
                raise ValueError(f"out: {self.out!r} holds results of other settings: {'; '.join(different)}; choose "
                                 "another folder")  # fmt: skip
            mine["datasets"] = {**theirs["datasets"], **mine["datasets"]}
        with writing(path) as file:
            file.write(as_json(mine).encode())

    # ---- work ----

    def work(self):
        """Trains and measures what is not there yet."""
        for folder in ("runs", "stores"):
            os.makedirs(os.path.join(self.out, folder), exist_ok=True)
        todo = {}
        for row in self.rows:
            for seed in self.seeds:
                missing = [task for task in self._tasks(row) if not os.path.exists(self._path(row, seed, *task))]
                if missing:
                    todo.setdefault(self._key(row, seed), (row, seed, {}))[2].update(dict.fromkeys(missing))
        begun = time.monotonic()
        for done, (row, seed, tasks) in enumerate(todo.values()):
            if self.progress:
                left = (time.monotonic() - begun) / done * (len(todo) - done) if done else None
                print(f"table {self.table.name}, training {done + 1} of {len(todo)}: {row.name}, seed {seed}"
                      + (f", about {_duration(left)} left" if left is not None else ""), file=sys.stderr)  # fmt: skip
            try:
                model = self._trained(row, seed)
            except LookupError as error:  # ready-made embeddings lack a text that this row needs
                self._refuse(row, f"needs a text encoder: {error.args[0]}")
                continue
            for dataset in self.datasets:
                self._measure(model, row, seed, dataset, [way for way, name in tasks if name == dataset.name])
            if (EXTRACTION, "") in tasks:
                self._extract(row, seed)

    def _tasks(self, row):
        """(way of measuring, data set) that a row needs: columns that differ in what is read off share one."""
        ways = dict.fromkeys(_way(column, row) for column in self.table.columns if _applies(column, row))
        found = [(way, dataset.name) for dataset in self.datasets for way in ways if way != EXTRACTION]
        return found + ([(EXTRACTION, "")] if EXTRACTION in ways and self.gold is not None else [])

    def _key(self, row, seed):
        """What a training's folder is called: the same for the same configuration, whichever table it is in."""
        values = [_computed(self.configs[row.name]), row.labels, row.encoder, row.class_texts, row.from_scratch]
        changes = [f"{name}={value}" for name, value in {**row.config, **row.labels}.items()]
        changes += filter(None, (row.encoder, row.class_texts, row.from_scratch and "from scratch"))
        readable = re.sub(r"[^A-Za-z0-9=.]+", "-", "-".join([row.preset, *changes]))[:60].strip("-")
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        return f"{readable}-seed{seed}-{digest}"

    def _path(self, row, seed, way, dataset):
        name = "-".join(str(part) for part in (*way, dataset) if part not in (None, ""))
        return os.path.join(self.out, "runs", self._key(row, seed), f"{name}.json")

    def _trained(self, row, seed):
        """The row's model, trained as far as it was not yet."""
        import kmerl

        folder = os.path.join(self.out, "runs", self._key(row, seed))
        model = kmerl.KMERL(**{**self.configs[row.name], "seed": seed})
        if row.from_scratch:
            os.makedirs(folder, exist_ok=True)
            model._begin(self.store.embeddings.width, self.store.vocabulary, known(self.store.embeddings))
            return model
        if row.class_texts is not None:  # the same training, asked in other words
            plain = dataclasses.replace(row, class_texts=None)
            folder = os.path.join(self.out, "runs", self._key(plain, seed))
            os.makedirs(os.path.join(self.out, "runs", self._key(row, seed)), exist_ok=True)
        model.fit(self._stored(row), out=folder, progress=self.progress)
        model = kmerl.load_model(os.path.join(folder, "best.safetensors"))
        model.text_encoder = self._encoder(row)
        return model

    def _stored(self, row):
        """The store as the row needs it: the own one, or one beside it with the same recordings."""
        import kmerl

        made, wanted = self.store.embeddings, self._poolings(row)
        if not row.labels and row.encoder is None and wanted == (made.report_pooling, made.query_pooling):
            return self.store
        values = json.dumps([self.store.fingerprint(), row.labels, row.encoder, wanted], sort_keys=True)
        folder = os.path.join(self.out, "stores", hashlib.sha256(values.encode()).hexdigest()[:12])
        if not os.path.isdir(folder):
            _link(self.store.path, folder)
        store, options = kmerl.Store.open(folder), {"progress": self.progress}
        if row.labels:
            switches = {name: row.labels[name] for name in ("superclasses", "merge_synonyms") if name in row.labels}
            if "extractor" in row.labels or self._extractor() != "lexicon":
                extractor = self._language_model(row, switches)
                store.label(extractor=extractor, **options)
            else:
                store.label(self.store.vocabulary, hedged=self.store._need("labels")["hedged"], **switches, **options)
        store.embed(self._encoder(row), report_pooling=wanted[0], query_pooling=wanted[1], **options)
        return store

    def _language_model(self, row, switches):
        import kmerl

        given = dict(self.extractors[row.labels.get("extractor", "store")])
        if "prompts" in row.labels:
            given["prompts"] = {**dict(given.get("prompts") or {}), **row.labels["prompts"]}
        return kmerl.LLMExtractor(**given, **switches)

    def _extract(self, row, seed):
        """Share of correct (report, entity) decisions on the gold set."""
        from kmerl.agreement import compare_extractors

        texts, labels = self.gold
        total = compare_extractors(texts, np.asarray(labels), self._language_model(row, {})).total
        found = {name: getattr(total, name) for name in AGREEMENT}
        with writing(self._path(row, seed, EXTRACTION, "")) as file:
            file.write(as_json({**found, "reports": len(texts)}).encode())

    def _measure(self, model, row, seed, dataset, ways):
        """Keeps a report of each way of measuring; of what cannot be measured the reason."""
        groups = {}
        for kind, leads, fraction in ways:
            groups.setdefault((kind, fraction), []).append(leads)
        common = {"resamples": self.resamples, "progress": self.progress}
        for (kind, fraction), counts in groups.items():
            sets = [chosen_leads(count) for count in counts]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", _metrics.UndefinedMetricWarning)  # the table lists them
                    if kind == "zero_shot":
                        prompts = _prompts() if row.class_texts == "ckepe" else None
                        reports = evaluate.lead_sweep(model, dataset, counts, prompts=prompts, **common).reports
                    elif kind == "linear_probe":
                        reports = probes(model, dataset, sets, fraction=fraction, seed=seed, seeds=None, part=None,
                                         **self.probe, **common)  # fmt: skip
                    else:
                        out = os.path.join(self.out, "runs", self._key(row, seed))
                        reports = [evaluate.fine_tune(model, dataset, fraction, count, seed=seed, **self.fine_tune,
                                                      out=os.path.join(out, f"{dataset.name}-{fraction}-{count}"),
                                                      **common) for count in counts]  # fmt: skip
            except ValueError as error:
                for count in counts:
                    self.failed[self._path(row, seed, (kind, count, fraction), dataset.name)] = str(error)
                continue
            for count, report in zip(counts, reports, strict=True):
                if report.seen is None and kind == "zero_shot" and model.vocabulary_ is not None:
                    near = evaluate.seen_classes(model, dataset.classes)
                    report.seen = evaluate._groups(report, near, evaluate.SEEN)
                report.to_json(self._path(row, seed, (kind, count, fraction), report.dataset), scores=True)

    # ---- what was found ----

    def found(self):
        """The Ablation of all that is there."""
        import kmerl

        rows, beside = [], {}
        for row in self.table.rows:
            found = {"name": row.name, "reason": self.reasons.get(row.name, ""), "columns": {}}
            if not found["reason"]:
                found["config"] = self.configs[row.name]
                for column in self.table.columns:
                    if not _applies(column, row) or (column.evaluation == "extraction" and self.gold is None):
                        continue
                    seeds = [self._read(row, seed, column) for seed in self.seeds]
                    found["columns"][column.name] = self._joined(column, seeds)
                    for name, other in self._beside(row, column).items():
                        beside.setdefault(f"{name}, {row.preset}", {}).setdefault(column.name, other)
            rows.append(found)
        return Ablation(
            table=self.table,
            rows=rows,
            beside=[{"name": name, "reason": "", "columns": columns} for name, columns in beside.items()],
            datasets=[_about(dataset) for dataset in self.datasets],
            store={"recordings": len(self.store), "reports": len(self.store.reports)},
            base=self.base,
            seeds=self.seeds,
            resamples=self.resamples,
            version=kmerl.__version__,
        )

    def _read(self, row, seed, column):
        """{data set: (figures, what a mean's interval needs)} of a row's column, for one seed."""
        if column.evaluation == "extraction":
            path = self._path(row, seed, EXTRACTION, "")
            found = _json_of(path)
            for name in AGREEMENT:
                value = found.get(name)     # precision of no finding, and recall of none, are null
                if not (name in found and value is None and name != "accuracy" or type(value) in (int, float) and
                        0 <= value <= 1):  # fmt: skip
                    raise ValueError(f"{path} is damaged: {name} is {value!r:.40}, expected a share")
            return {"": ({"estimate": found["accuracy"], **found, "low": math.nan, "high": math.nan}, None)}
        return {dataset.name: self._figures(row, seed, column, dataset) for dataset in self.datasets}

    def _figures(self, row, seed, column, dataset):
        path = self._path(row, seed, _way(column, row), dataset.name)
        nothing = {"estimate": math.nan, "low": math.nan, "high": math.nan, "undefined": []}
        if path in self.failed:
            return {**nothing, "failed": self.failed[path]}, None
        report = load(path)
        metrics, classes = report.metrics, report.classes
        if column.classes != "all":
            near = report.seen["nearest"] if report.seen else {}
            metrics = report.seen["metrics"].get(column.classes, {}) if report.seen else {}
            classes = [c for c in near if bool(near[c]["by"]) == (column.classes == "seen")]
        about = {"recordings": len(report.records), "patients": len(set(report.patients)), "part": report.part,
                 "classes": len(classes), "undefined": [c for c in report.undefined if c in classes],
                 "skipped": len(report.skipped), "trained": report.trained, "notes": report.notes}  # fmt: skip
        if not classes:
            return {**nothing, **about, "absent": f"no {column.classes} classes"}, None
        if column.metric not in metrics:
            return {**nothing, **about, "failed": f"no {column.metric} of {column.classes} classes"}, None
        places = [report.classes.index(c) for c in classes]
        threshold = [report.thresholds[c] for c in classes] if column.metric == "f1" else None
        values = metrics[column.metric]
        figures = {"estimate": values["macro"], "low": values["low"], "high": values["high"], **about}
        return figures, (report.labels[:, places], report.scores[:, places], report.patients, threshold)

    def _joined(self, column, seeds):
        """Figures of a column: those of the first seed on each data set, their mean, what the seeds differ by."""
        first = {name: figures for name, (figures, _) in seeds[0].items()}
        counted = [name for name, figures in first.items() if "absent" not in figures]
        seeds = [{name: each[name] for name in counted} for each in seeds] if counted else seeds
        means = [float(np.mean([figures["estimate"] for figures, _ in each.values()])) for each in seeds]
        average = {"estimate": means[0], "low": math.nan, "high": math.nan}
        behind = [data for _, data in seeds[0].values()]
        if len(behind) == 1:
            average = {name: first[counted[0] if counted else next(iter(first))][name] for name in average}
        elif all(data is not None and len(set(data[2])) > 1 for data in behind):
            found = _metrics.mean_bootstrap(
                [data[:3] for data in behind],
                sources=[name.split("-")[0] for name in counted],
                thresholds=[data[3] for data in behind],
                n=self.resamples,
                metric=column.metric,
            )
            average = {"estimate": found.estimate, "low": found.low, "high": found.high}
        joined = {"average": average, "datasets": first}
        if len(seeds) > 1:
            sd = float(np.std(means, ddof=1))
            joined["seeds"] = {"seeds": self.seeds, "averages": means, "mean": float(np.mean(means)), "sd": sd}
        return joined

    def _beside(self, row, column):
        """{name: figures as of a row} of what stands beside the reports: untrained models, random encoders."""
        if column.evaluation == "extraction" or column.classes != "all":
            return {}
        found = {}
        for dataset in self.datasets:
            path = self._path(row, self.seeds[0], _way(column, row), dataset.name)
            for name, other in {} if path in self.failed else load(path).beside.items():
                values = other.metrics.get(column.metric)
                if name in (RANDOM, UNTRAINED) and values is not None:
                    found.setdefault(name, {})[dataset.name] = {
                        "estimate": values["macro"], "low": values["low"], "high": values["high"], "undefined": []
                    }  # fmt: skip
        return {
            name: self._joined(column, [{dataset: (figures, None) for dataset, figures in each.items()}])
            for name, each in found.items()
            if len(each) == len(self.datasets)
        }


QUOTED = "quoted: kmerl has no such method"
UNASKED = "not asked for"
CHECKS = {"epochs": whole, "batch_size": whole, "lr": lambda value, name: rate_of(value)}
KNOWN = {"probe": (*CHECKS, "best_test_epoch"), "fine_tune": (*CHECKS, *OPTIONS)}


def _measuring(name, given):
    """The arguments of a probe or of fine-tuning, checked before anything is trained for them."""
    given = dict(given or {})
    for key, value in given.items():
        if key not in KNOWN[name]:
            raise TypeError(f"{name} has {key!r}, known are {', '.join(KNOWN[name])}")
        try:
            CHECKS.get(key, lambda *_: None)(value, key)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return given
EXTRACTION = ("extraction", None, None)
AGREEMENT = ("accuracy", "precision", "recall")


def _computed(values):
    """What is computed: without the fields that only say how a run is executed."""
    return {name: value for name, value in values.items() if name not in EXECUTION}


def _applies(column, row):
    """A network trained end to end on labels answers no names."""
    return column.evaluation == "linear_probe" or not row.from_scratch


def _way(column, row):
    """What is to be evaluated for a column: kind, leads, fraction."""
    if column.evaluation == "extraction":
        return EXTRACTION
    kind = "fine_tune" if row.from_scratch else column.evaluation
    return kind, column.leads, column.fraction


def _prompts():
    """{class code: text}: MERL's CKEPE prompts."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "merl_prompts.json")
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _json_of(path):
    """The JSON object that is the file."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it is a {type(found).__name__}, expected an object")
    return found


def _link(store, folder):
    """A store of the same recordings that takes no more room: its files are written once and never changed, so that a
    second name will do; the index, which is exchanged as a whole, is copied."""
    os.makedirs(folder + ".part", exist_ok=True)
    for entry in os.scandir(store):
        target = os.path.join(folder + ".part", entry.name)
        if entry.name == "lock" or entry.name.endswith(".part") or not entry.is_file():
            continue
        if entry.name.endswith(".npy"):
            with contextlib.suppress(FileExistsError):
                try:
                    os.link(entry.path, target)
                except OSError:  # another file system
                    os.symlink(os.path.abspath(entry.path), target)
        else:
            shutil.copyfile(entry.path, target)
    os.replace(folder + ".part", folder)


def _fingerprint(dataset):
    """A hash of what a data set's figures depend on, but for the signals."""
    split = {part: np.asarray(indices).tolist() for part, indices in dataset.split.items()}
    names = [os.path.basename(path) for path in dataset.paths]
    parts = json.dumps([names, list(dataset.patients), list(dataset.classes), split], sort_keys=True)
    return hashlib.sha256(parts.encode() + np.ascontiguousarray(dataset.labels).tobytes()).hexdigest()[:16]


def _about(dataset):
    return {
        "name": dataset.name,
        "recordings": len(dataset),
        "listed": dataset.listed,
        "parts": {part: len(indices) for part, indices in dataset.split.items()},
        "notes": list(dataset.notes),
    }


def _duration(seconds):
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min" if seconds > 90 else (
        f"{seconds:.0f} s")  # fmt: skip


class Ablation:
    """What `ablate` found: a table of the paper, with the paper's figures beside one's own.

    Attributes
    ----------
    table : Table
        What was asked, with the paper's figures (`kmerl.ablation_table`).
    rows : list of dict
        ``{"name", "reason": why it was not run or "", "config", "columns": {column: {"average": {"estimate", "low",
        "high"}, "datasets": {name: {...}}, "seeds": {"mean", "sd", ...}}}}``; metrics in [0, 1].
    beside : list of dict
        As `rows`: untrained models and random frozen encoders, of the first row of each preset.
    datasets : list of dict
        Of each set its name, how many recordings it has here and in whole, its notes.
    store, base, seeds, resamples, version
        What was trained on, and how.
    """

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __repr__(self):
        ran = sum(not row["reason"] for row in self.rows)
        return f"<Ablation {self.table.name}: {ran} of {len(self.rows)} rows on {len(self.datasets)} data sets>"

    def __str__(self):
        return self.text()

    def row(self, name):
        """The figures of a row by its name."""
        for row in self.rows:
            if row["name"] == name:
                return row
        raise KeyError(f"table {self.table.name} has no row {name!r}")

    # ---- the paper's layout ----

    def _title(self):
        where = f" ({self.table.source})" if self.table.source else ""
        return f"Table {self.table.name}: {self.table.title}{where}"

    def _blocks(self):
        """[(caption, header, rows)]: one for the averages, or one a column with the data sets side by side."""
        names = [dataset["name"] for dataset in self.datasets]
        blocks = []
        if self.table.layout == "average":
            header, lines = ["", *self._pairs([column.name for column in self.table.columns])], []
            for row, paper in self._lines():
                line = [row["name"]]
                for column in self.table.columns:
                    line.append(_cell(row, column, None))
                    if self.table.source:
                        line.append(_quoted(paper.get(column.name), "average", None))
                lines.append(line)
            over = names[0] if len(names) == 1 else f"mean over {len(names)} data sets: {', '.join(names)}"
            blocks.append((f"In %, {over}", header, lines))
            if len(names) == 1:
                return blocks
        for column in self.table.columns:
            if column.evaluation == "extraction":
                continue
            shown = [*names, "average"] if len(names) > 1 else names
            header, lines = ["", *(self._pairs(shown) if self.table.layout == "each" else shown)], []
            for row, paper in self._lines():
                line = [row["name"]]
                for name in shown:
                    line.append(_cell(row, column, None if name == "average" else name))
                    if self.table.layout == "each" and self.table.source:
                        place = self.table.datasets.index(name) if name in self.table.datasets else None
                        kind = "average" if name == "average" else "each"
                        line.append(_quoted(paper.get(column.name), kind, place))
                lines.append(line)
            blocks.append((f"In %, {column.name}, each data set", header, lines))
        return blocks

    def _pairs(self, names):
        return [cell for name in names for cell in ((name, "paper") if self.table.source else (name,))]

    def _lines(self):
        """Rows with the paper's figures, then what stands beside them."""
        pairs = list(zip(self.rows, (row.paper for row in self.table.rows), strict=True))
        return pairs + [(row, {}) for row in self.beside]

    def _remarks(self):
        names = [dataset["name"] for dataset in self.datasets]
        whole = all(d["recordings"] >= d["listed"] for d in self.datasets)
        remarks = ["Intervals: 95 % over patients, of the first seed." if len(self.seeds) > 1 else
                   "Intervals: 95 % over patients."]  # fmt: skip
        if self.table.source:
            same = sorted(names) == sorted(self.table.datasets) and whole
            remarks.append(
                f"Paper: quoted from {self.table.source}; after pretraining on 771,693 recordings of MIMIC-IV-ECG"
                + (", averages over the same six data sets." if same else ", averages over PTB-XL super, sub, form and "
                   f"rhythm, CPSC2018 and CSN: not comparable with averages over {', '.join(names)}"
                   f"{'' if whole else ', of which a part is here'}.")
            )  # fmt: skip
        remarks.append(f"Pretrained here on {self.store['recordings']:,} recordings with {self.store['reports']:,} "
                       f"distinct reports; preset {self.table.preset}"
                       + "".join(f", {name}={value}" for name, value in self.base.items()) + ".")  # fmt: skip
        if len(self.seeds) > 1:
            remarks.append(f"+-: standard deviation over the seeds {', '.join(map(str, self.seeds))}, no interval.")
        remarks += [f"{row.name}: {row.reading}." for row in self.table.rows if row.reading]
        remarks += [f"Not run, {row['name']}: {row['reason']}." for row in self.rows
                    if row["reason"] not in ("", QUOTED, UNASKED)]  # fmt: skip
        if any(column.evaluation == "extraction" for column in self.table.columns):
            measured = [row["columns"].get(c.name) for row in self.rows for c in self.table.columns
                        if c.evaluation == "extraction"]  # fmt: skip
            if not any(measured):
                remarks.append("Extraction accuracy needs a gold set: gold=(texts, labels), or --gold CSV.")
        if any(row.from_scratch for row in self.table.rows):
            remarks.append("From scratch: trained end to end on each data set's labels; answers no names, so there is "
                           "no zero-shot figure.")  # fmt: skip
        quoted = [row["name"] for row in self.rows if row["reason"] == QUOTED]
        if quoted:
            remarks.append(f"Only quoted, kmerl has no such method: {', '.join(quoted)}.")
        notes = {(dataset["name"], note) for dataset in self.datasets for note in dataset["notes"]}
        remarks += [f"{dataset['name']}: {note}." for dataset in self.datasets for note in dataset["notes"]]
        undefined = {}
        for row in self.rows:
            for way, column in row["columns"].items():
                for name, figures in column["datasets"].items():
                    undefined.setdefault(name, dict.fromkeys(figures.get("undefined", ())))
                    for note in figures.get("notes", ()):  # what only the measuring showed
                        if (name, note) not in notes:
                            notes.add((name, note))
                            remarks.append(f"{name}, {row['name']}, {way}: {note}.")
                    if "failed" in figures:
                        remarks.append(f"No figure, {row['name']}, {way}, {name}: {figures['failed']}.")
                    if "absent" in figures and len(self.datasets) > 1:
                        remarks.append(f"In no average, {row['name']}, {way}, {name}: {figures['absent']}.")
        remarks += [f"{name}: without both outcomes, in no average: {', '.join(classes)}."
                    for name, classes in undefined.items() if classes]  # fmt: skip
        remarks += [note[0].upper() + note[1:] + "." for note in self.table.notes]
        return remarks + [f"kmerl {self.version}."]

    def text(self):
        """The table as plain text.

        Returns
        -------
        str
        """
        lines = [self._title()]
        for caption, header, rows in self._blocks():
            lines += ["", caption, "", *text_table(header, rows)]
        return "\n".join([*lines, "", *self._remarks()])

    def to_markdown(self, path=None):
        """The table as Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        lines = [f"## {self._title()}"]
        for caption, header, rows in self._blocks():
            lines += ["", caption + ":", "", *markdown_table(header, rows)]
        return write_text(path, "\n".join([*lines, "", *(f"- {remark}" for remark in self._remarks())]) + "\n")

    def to_html(self, path=None):
        """The table as one HTML page, which loads nothing from elsewhere; written to `path` where one is given.

        Returns
        -------
        str
        """
        from kmerl import report_html as page

        body = [page.section(caption, page.table(header, rows)) for caption, header, rows in self._blocks()]
        body.append(page.section("What must be known", page.listing(self._remarks())))
        subtitle = f"preset {self.table.preset}; {len(self.rows)} rows, {len(self.datasets)} data sets"
        return write_text(path, page.page(self._title(), subtitle, body, self.version))

    def to_dict(self):
        """Everything, of plain Python types; metrics in [0, 1], the paper's figures in % as it has them."""
        return {
            "table": self.table.name,
            "title": self.table.title,
            "source": self.table.source,
            "preset": self.table.preset,
            "config": self.base,
            "store": self.store,
            "seeds": self.seeds,
            "resamples": self.resamples,
            "kmerl": self.version,
            "datasets": self.datasets,
            "rows": [{**row, "paper": quoted.paper, "reading": quoted.reading}
                     for row, quoted in zip(self.rows, self.table.rows, strict=True)],
            "beside": self.beside,
            "remarks": self._remarks(),
        }  # fmt: skip

    def to_json(self, path=None):
        """`to_dict` as JSON (NaN is null); written to `path` where one is given.

        Returns
        -------
        str
        """
        return write_text(path, as_json(self.to_dict()))


def _cell(row, column, dataset):
    """A figure of ours in %, with its interval; why there is none."""
    if row["reason"]:
        return "" if row["reason"] in (QUOTED, UNASKED) else "not run"
    if column.name not in row["columns"]:
        return "-"
    found = row["columns"][column.name]
    figures = found["average"] if dataset is None else found["datasets"].get(dataset, found["average"])
    text = _percent(figures["estimate"])
    if figures["low"] is not None and not math.isnan(figures["low"]):
        text += f" [{_percent(figures['low'])}, {_percent(figures['high'])}]"
    if dataset is None and "seeds" in found:
        text += f", {_percent(found['seeds']['mean'])} +- {_percent(found['seeds']['sd'])}"
    return text


def _percent(value):
    return "-" if value is None or math.isnan(value) else f"{100 * value:.2f}"


def _quoted(paper, kind, place):
    """A figure of the paper, as it has it."""
    figure = None if paper is None else paper[kind]
    if isinstance(figure, list):
        figure = None if place is None else figure[place]
    if figure is None or figure == FIGURE_ONLY:
        return figure or ""
    return f"{figure:.2f}" + (f" +- {paper['sd']:g}" if paper["sd"] is not None and kind == "average" else "")
