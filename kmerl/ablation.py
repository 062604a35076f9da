"""Whole tables of the paper: every row trained, measured on every data set, and set beside the paper's figures."""

import dataclasses
import hashlib
import html
import json
import math
import os
import re
import sys
import time
import warnings

import numpy as np

from kmerl import evaluate
from kmerl import metrics as _metrics
from kmerl.ablation_table import FIGURE_ONLY, load_table
from kmerl.config import SIZES, Config
from kmerl.durable import FolderLock, writing
from kmerl.probe import probes
from kmerl.report import _json, _markdown_table, _text_table, _write, load
from kmerl.scoring import chosen_leads

__all__ = ["Ablation", "SAMPLE", "ablate"]

# What a table is tried with on the recordings that come with kmerl: it trains in seconds and learns next to nothing.
SAMPLE = {
    "size": "custom",
    "width": 64,
    "depth": 2,
    "heads": 1,
    "mlp_width": 128,
    "query_width": 64,
    "query_layers": 1,
    "query_heads": 1,
    "query_mlp_width": 64,
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
    probe=None,
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
        What the store was embedded with: for rows that need the store labelled or pooled in another way.
    encoders : dict of str to TextEncoder, optional
        By the names that the rows of Table 7b have.
    probe : dict, optional
        Arguments of `kmerl.evaluate.linear_probe` in place of the paper's, such as ``{"epochs": 20}``.
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
    if store is None and datasets is None:
        if encoder is not None or encoders is not None:
            raise ValueError("encoder and encoders belong to a store of your own: the sample comes with embeddings")
        store, datasets, encoder = _sample(_made(out), progress)
        config = {**SAMPLE, **config}
    elif store is None or datasets is None:
        raise ValueError("store and datasets belong together: what to train on, and what to measure on")
    run = _Run(table, store, datasets, _made(out), seeds=seeds, encoder=encoder, encoders=encoders,
               probe=probe, resamples=resamples, progress=progress, base=config)  # fmt: skip
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


def _made(out):
    """The folder, made where its parent exists."""
    out = os.fspath(out)
    parent = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(parent):
        raise FileNotFoundError(f"out: the folder {parent!r} does not exist; create it first")
    os.makedirs(out, exist_ok=True)
    return out


class _Run:
    """One call of `ablate`: what is to be done, and doing it."""

    def __init__(self, table, store, datasets, out, *, seeds, encoder, encoders, probe, resamples, progress, base):
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
        self.probe, self.resamples = dict(probe or {}), resamples
        self.configs = {row.name: self._config(row) for row in table.rows if not (row.quoted or row.needs)}

    def _config(self, row):
        """Parameters of KMERL: the preset, what the caller chose for all rows, the row's own change."""
        values = {**self.base, **row.config}
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
        refused = [f"{name}: {self.reasons[name]}" for name in wanted or () if name in self.reasons]
        if not wanted and len(self.reasons) == len(names):
            refused = [f"{name}: {reason}" for name, reason in self.reasons.items()]
        if refused:
            raise ValueError(f"table {self.table.name} cannot run {'; '.join(refused)}")
        for name in names:
            if wanted and name not in wanted:
                self.reasons.setdefault(name, "not asked for")
        self.rows = [row for row in self.table.rows if row.name not in self.reasons]
        for name, reason in self.reasons.items():
            if reason not in ("not asked for", QUOTED):
                warnings.warn(f"table {self.table.name}, row {name!r} is not run: {reason}", stacklevel=4)

    def _reason(self, row):
        """Why a row cannot be run; empty where it can."""
        if row.quoted:
            return QUOTED
        if row.needs:
            return f"needs {row.needs}"
        return ""

    # ---- the folder ----

    def check_workspace(self):
        """Refuses a folder of results that were made in another way."""
        path = os.path.join(self.out, WORKSPACE)
        mine = {
            "store": self.store.fingerprint(),
            "resamples": self.resamples,
            "probe": self.probe,
            "datasets": {dataset.name: _fingerprint(dataset) for dataset in self.datasets},
            "config": json.loads(json.dumps(self.base)),
        }
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                theirs = json.load(file)
            known = {**theirs["datasets"], **mine["datasets"]}
            pairs = [(name, theirs[name], mine[name]) for name in ("store", "resamples", "probe")]
            pairs += [(f"datasets, {name}", theirs["datasets"].get(name, value), value) for name, value in
                      mine["datasets"].items()]  # fmt: skip
            pairs += [(name, theirs["config"].get(name, "not given"), mine["config"].get(name, "not given"))
                      for name in sorted({*theirs["config"], *mine["config"]})]  # fmt: skip
            different = [f"{name} is {a!r} there, {b!r} here" for name, a, b in pairs if a != b]
            if different:
                raise ValueError(f"out: {self.out!r} holds results of other settings: {'; '.join(different)}; choose "
                                 "another folder")  # fmt: skip
            mine["datasets"] = known
        with writing(path) as file:
            file.write(_json(mine).encode())

    # ---- work ----

    def work(self):
        """Trains and measures what is not there yet."""
        os.makedirs(os.path.join(self.out, "runs"), exist_ok=True)
        todo = {}
        for row in self.rows:
            for seed in self.seeds:
                missing = [task for task in self._tasks(row) if not os.path.exists(self._path(row, seed, *task))]
                if missing:
                    todo.setdefault(self._key(row, seed), (row, seed, []))[2].extend(missing)
        begun = time.monotonic()
        for done, (row, seed, tasks) in enumerate(todo.values()):
            if self.progress:
                left = (time.monotonic() - begun) / done * (len(todo) - done) if done else None
                print(f"table {self.table.name}, training {done + 1} of {len(todo)}: {row.name}, seed {seed}"
                      + (f", about {_duration(left)} left" if left is not None else ""), file=sys.stderr)  # fmt: skip
            model = self._trained(row, seed)
            for dataset in self.datasets:
                self._measure(model, row, seed, dataset, [way for way, name in tasks if name == dataset.name])

    def _tasks(self, row):
        """(way of measuring, data set) that a row needs: columns that differ in what is read off share one."""
        ways = dict.fromkeys((c.evaluation, c.leads, c.fraction) for c in self.table.columns if _applies(c, row))
        return [(way, dataset.name) for dataset in self.datasets for way in ways]

    def _key(self, row, seed):
        """What a training's folder is called: the same for the same configuration, whichever table it is in."""
        changes = [f"{name}={value}" for name, value in {**row.config, **row.labels}.items()]
        values = json.dumps([self.configs[row.name], row.labels, row.encoder, row.from_scratch], sort_keys=True)
        readable = re.sub(r"[^A-Za-z0-9=.]+", "-", "-".join([row.preset, *changes]))[:60].strip("-")
        return f"{readable}-seed{seed}-{hashlib.sha256(values.encode()).hexdigest()[:8]}"

    def _path(self, row, seed, way, dataset):
        name = "-".join(str(part) for part in (*way, dataset) if part is not None)
        return os.path.join(self.out, "runs", self._key(row, seed), f"{name}.json")

    def _trained(self, row, seed):
        import kmerl

        folder = os.path.join(self.out, "runs", self._key(row, seed))
        model = kmerl.KMERL(**{**self.configs[row.name], "seed": seed})
        model.fit(self.store, out=folder, progress=self.progress)
        return kmerl.load_model(os.path.join(folder, "best.safetensors"))

    def _measure(self, model, row, seed, dataset, ways):
        options = {"resamples": self.resamples, "progress": self.progress}
        counts = [leads for kind, leads, _ in ways if kind == "zero_shot"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", _metrics.UndefinedMetricWarning)  # the table lists them
            probed = {}
            for kind, leads, fraction in ways:
                if kind == "linear_probe":
                    probed.setdefault(fraction, []).append(leads)
            for fraction, leads in probed.items():
                sets = [chosen_leads(count) for count in leads]
                reports = probes(model, dataset, sets, fraction=fraction, seed=seed, seeds=None, part=None,
                                 **self.probe, **options)  # fmt: skip
                for count, report in zip(leads, reports, strict=True):
                    self._keep(row, seed, ("linear_probe", count, fraction), report)
            if counts:
                swept = evaluate.lead_sweep(model, dataset, counts, **options)
                for leads, report in zip(counts, swept.reports, strict=True):
                    self._keep(row, seed, ("zero_shot", leads, None), report)

    def _keep(self, row, seed, way, report):
        report.to_json(self._path(row, seed, way, report.dataset), scores=True)

    # ---- what was found ----

    def found(self):
        """The Ablation of all that is there."""
        rows = []
        for row in self.table.rows:
            found = {"name": row.name, "reason": self.reasons.get(row.name, ""), "columns": {}}
            if not found["reason"]:
                found["config"] = self.configs[row.name]
                for column in self.table.columns:
                    if _applies(column, row):
                        seeds = [self._read(row, seed, column) for seed in self.seeds]
                        found["columns"][column.name] = _joined(seeds, self.seeds)
            rows.append(found)
        import kmerl

        return Ablation(
            table=self.table,
            rows=rows,
            datasets=[_about(dataset) for dataset in self.datasets],
            store={"recordings": len(self.store), "reports": len(self.store.reports)},
            base=self.base,
            seeds=self.seeds,
            resamples=self.resamples,
            version=kmerl.__version__,
        )

    def _read(self, row, seed, column):
        """{data set: figures} of a row's column, for one seed."""
        found = {}
        for dataset in self.datasets:
            path = self._path(row, seed, (column.evaluation, column.leads, column.fraction), dataset.name)
            report = load(path)
            values = report.metrics[column.metric]
            found[dataset.name] = {
                "estimate": values["macro"],
                "low": values["low"],
                "high": values["high"],
                "recordings": len(report.records),
                "patients": len(set(report.patients)),
                "part": report.part,
                "undefined": report.undefined,
            }
        return found


STYLE = """<style>body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
table { border-collapse: collapse; margin: 1.5em 0 } caption { text-align: left; color: #555 }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left; padding-left: 0 }</style>
"""
QUOTED = "quoted: kmerl has no such method"


def _applies(column, row):
    """A network trained end to end on labels answers no names."""
    return column.evaluation == "linear_probe" or not row.from_scratch


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


def _joined(seeds, numbers):
    """Figures of a column: those of the first seed on each data set, their mean, and what the seeds differ by."""
    first = seeds[0]
    means = [_mean([figures["estimate"] for figures in each.values()]) for each in seeds]
    average = {"estimate": means[0], "low": math.nan, "high": math.nan}
    if len(first) == 1:
        average = {name: next(iter(first.values()))[name] for name in average}
    found = {"average": average, "datasets": first}
    if len(numbers) > 1:
        sd = float(np.std(means, ddof=1))
        found["seeds"] = {"seeds": numbers, "averages": means, "mean": float(np.mean(means)), "sd": sd}
    return found


def _mean(values):
    """Unweighted; unknown where one of them is."""
    return float(np.mean([math.nan if value is None else value for value in values]))


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
            for row, quoted in zip(self.rows, self.table.rows, strict=True):
                line = [row["name"]]
                for column in self.table.columns:
                    line += [_cell(row, column, None), _quoted(quoted.paper.get(column.name), "average", None)]
                lines.append(line)
            over = names[0] if len(names) == 1 else f"mean over {len(names)} data sets: {', '.join(names)}"
            blocks.append((f"In %, {over}", header, lines))
            if len(names) == 1:
                return blocks
        for column in self.table.columns:
            shown = [*names, "average"] if len(names) > 1 else names
            header, lines = ["", *(self._pairs(shown) if self.table.layout == "each" else shown)], []
            for row, quoted in zip(self.rows, self.table.rows, strict=True):
                line = [row["name"]]
                for name in shown:
                    line.append(_cell(row, column, None if name == "average" else name))
                    if self.table.layout == "each":
                        place = self.table.datasets.index(name) if name in self.table.datasets else None
                        kind = "average" if name == "average" else "each"
                        line.append(_quoted(quoted.paper.get(column.name), kind, place))
                lines.append(line)
            blocks.append((f"In %, {column.name}, each data set", header, lines))
        return blocks

    def _pairs(self, names):
        return [cell for name in names for cell in ((name, "paper") if self.table.source else (name, ""))]

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
                    if row["reason"] not in ("", QUOTED)]  # fmt: skip
        quoted = [row["name"] for row in self.rows if row["reason"] == QUOTED]
        if quoted:
            remarks.append(f"Only quoted, kmerl has no such method: {', '.join(quoted)}.")
        for dataset in self.datasets:
            remarks += [f"{dataset['name']}: {note}." for note in dataset["notes"]]
        undefined = {}
        for row in self.rows:
            for column in row["columns"].values():
                for name, figures in column["datasets"].items():
                    undefined.setdefault(name, dict.fromkeys(figures["undefined"]))
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
            lines += ["", caption, "", *_text_table(header, rows)]
        return "\n".join([*lines, "", *self._remarks()])

    def to_markdown(self, path=None):
        """The table as Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        lines = [f"## {self._title()}"]
        for caption, header, rows in self._blocks():
            lines += ["", caption + ":", "", *_markdown_table(header, rows)]
        return _write(path, "\n".join([*lines, "", *(f"- {remark}" for remark in self._remarks())]) + "\n")

    def to_html(self, path=None):
        """The table as one HTML page that needs no other file; written to `path` where one is given.

        Returns
        -------
        str
        """
        title = html.escape(self._title())
        lines = [f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n{STYLE}</head>'
                 f"<body>\n<h1>{title}</h1>"]  # fmt: skip
        for caption, header, rows in self._blocks():
            lines.append(f"<table><caption>{html.escape(caption)}</caption>")
            for kind, row in [("th", header), *(("td", row) for row in rows)]:
                lines.append("<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row) + "</tr>")
            lines.append("</table>")
        lines += ["<ul>", *(f"<li>{html.escape(remark)}</li>" for remark in self._remarks()), "</ul></body></html>"]
        return _write(path, "\n".join(lines) + "\n")

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
            "remarks": self._remarks(),
        }  # fmt: skip

    def to_json(self, path=None):
        """`to_dict` as JSON (NaN is null); written to `path` where one is given.

        Returns
        -------
        str
        """
        return _write(path, _json(self.to_dict()))


def _cell(row, column, dataset):
    """A figure of ours in %, with its interval; why there is none."""
    if row["reason"]:
        return "" if row["reason"] in (QUOTED, "not asked for") else "not run"
    if column.name not in row["columns"]:
        return "-"
    found = row["columns"][column.name]
    figures = found["average"] if dataset is None else found["datasets"][dataset]
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
