"""The command line: one verb a step; each prints what it did and what to run next.

Exit codes: 0 done, 1 bad input (one line on standard error), 2 wrong usage, 130 interrupted.
"""

import argparse
import csv
import io
import json
import os
import pathlib
import shlex
import sys
import warnings

import numpy as np

import kmerl
from kmerl.table import Table

__all__ = ["main"]

# What kmerl raises when its input is bad; anything else is a mistake of kmerl's and shows its traceback.
BAD_INPUT = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    RuntimeError,
    MemoryError,
    ImportError,
    OSError,
)
INTERRUPTED = 130
BATCH = 64


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : list of str, optional
        The arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code. Wrong usage raises SystemExit(2), as argparse does.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = _parser(argv)
    arguments = parser.parse_args(argv)
    if arguments.verb is None:
        parser.print_help(sys.stderr)
        return 2
    name = f"kmerl {arguments.verb}"
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"{name}: warning: {message}", file=sys.stderr)
        try:
            return arguments.run(arguments) or 0
        except KeyboardInterrupt:
            print(f"\n{name}: interrupted; {arguments.kept(arguments)}", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except BAD_INPUT as error:
            print(f"{name}: {_one_line(error)}", file=sys.stderr)
            return 1


def _one_line(error):
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__


def _parser(argv):
    parser = argparse.ArgumentParser(
        prog="kmerl", description="Zero-shot answers about ECGs, from any leads."
    )
    parser.add_argument("--version", action="version", version=f"kmerl {kmerl.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs, in the order of a project")

    def verb(run, summary, kept=lambda _: "nothing was left behind", **options):
        name = run.__name__.removeprefix("_")
        added = verbs.add_parser(name, help=summary, description=run.__doc__, allow_abbrev=False, **options)
        added.set_defaults(run=run, kept=kept)
        return added

    add = verb(_demo, "the whole path on the recordings that come with kmerl").add_argument
    add("--out", metavar="FOLDER", default="kmerl-demo", help="where to work (default: %(default)s)")

    store = verb(
        _store,
        "recordings and reports into a store",
        lambda a: f"{a.out} goes on when the same command is run again",
    )
    add = store.add_argument
    add("out", metavar="OUT", help="folder of the store")
    add("records", metavar="RECORD", nargs="+", help="WFDB record, or a folder: all records below it")
    add(
        "--reports",
        metavar="CSV",
        help="reports: columns record, report and, where there are patients, patient",
    )
    add("--patients", metavar="CSV", help="patients: columns record, patient")
    add(
        "--record-column", metavar="NAME", default="record", help="its name in the CSV (default: %(default)s)"
    )
    add(
        "--report-column", metavar="NAME", default="report", help="its name in the CSV (default: %(default)s)"
    )
    add(
        "--patient-column",
        metavar="NAME",
        default="patient",
        help="its name in the CSV (default: %(default)s)",
    )
    add(
        "--seconds", type=_seconds, default=10.0, help="how much to keep of each recording; all (default: 10)"
    )
    add(
        "--validation",
        type=float,
        default=0.1,
        help="share of the patients to validate on (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    add("--no-verify", action="store_true", help="read recordings whose checksums do not agree, too")
    _quiet(store)

    label = verb(_label, "entity labels from a store's reports", lambda a: "labels made before are kept")
    add = label.add_argument
    add("store", metavar="STORE")
    add("--vocabulary", metavar="JSON", help="a vocabulary file (default: the one that comes with kmerl)")
    add(
        "--hedged",
        choices=("drop", "keep"),
        default="drop",
        help='"possible ..." counts or not (default: %(default)s)',
    )
    _quiet(label)

    embed = verb(
        _embed, "text embeddings of a store's reports and entities",
        lambda a: f"what was embedded is kept in {a.store}; the same command goes on",
    )  # fmt: skip
    add = embed.add_argument
    add("store", metavar="STORE")
    add(
        "--encoder",
        metavar="FOLDER",
        required=True,
        help='a BERT in a Hugging Face folder; or "sample": the embeddings that come with kmerl, which cover the '
        "sample's reports and the default vocabulary only",
    )
    add("--report-pooling", choices=("mean", "cls", "pooler"), default="mean", help="default: %(default)s")
    add("--query-pooling", choices=("cls", "mean", "pooler"), default="cls", help="default: %(default)s")
    _quiet(embed)

    pretrain = verb(
        _pretrain, "train a model on a store",
        lambda a: f"{a.out}/last.safetensors is whole; the same command goes on",
    )  # fmt: skip
    add = pretrain.add_argument
    add("store", metavar="STORE")
    add(
        "--out",
        metavar="RUN",
        required=True,
        help="folder for the log and the checkpoints; an unfinished one goes on",
    )
    add("--max-steps", metavar="N", type=int, help="stop after so many steps in all")
    add("--preset", metavar="NAME", help='a named configuration, such as "paper"')
    if argv[:1] == ["pretrain"]:
        _add_config(pretrain.add_argument_group("configuration (kmerl.KMERL's fields)"))
    _quiet(pretrain)

    predict = verb(_predict, "probabilities of classes for recordings")
    add = predict.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a .safetensors file, or a name from kmerl.list_models()")
    add("records", metavar="RECORD", nargs="+", help="WFDB record")
    _add_classes(predict)
    add("--leads", metavar="NAMES", type=_names, help='use these leads only, such as "II" or "I,II,V2"')
    _add_text_encoder(predict)
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")

    evaluate = verb(_evaluate, "zero-shot figures on a labelled data set")
    add = evaluate.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a .safetensors file, or a name from kmerl.list_models()")
    add("folder", metavar="FOLDER", help="recordings with a CSV of labels, PTB-XL, or CPSC2018")
    add(
        "--dataset",
        choices=("auto", "folder", "ptbxl", "cpsc2018"),
        default="auto",
        help="default: what the folder holds",
    )
    add(
        "--labels",
        metavar="CSV",
        help="columns record, patient, split, and 0/1 for each class (default: labels.csv)",
    )
    add("--task", choices=("super", "sub", "form", "rhythm"), help="of PTB-XL (default: super)")
    add(
        "--leads",
        metavar="K|NAMES",
        type=_lead_choice,
        default=12,
        help="first K leads, or names (default: %(default)s)",
    )
    add("--sweep", action="store_true", help="the first 1, 2, ... 12 leads, and each single one")
    add(
        "--part",
        choices=("test", "validation", "train", "all"),
        help="default: test, or all where there is no test",
    )
    add("--resamples", type=int, default=1000, help="of the bootstrap over patients (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    add(
        "--out",
        metavar="FILE",
        action="append",
        default=[],
        help="write .json, .md, .csv (scores) or a picture; repeat",
    )
    add("--json", action="store_true", help="print JSON")
    _add_text_encoder(evaluate)
    _quiet(evaluate)

    plot = verb(_plot, "a recording on ECG paper, with the attention of a finding")
    add = plot.add_argument
    add("record", metavar="RECORD", help="WFDB record")
    add("--checkpoint", metavar="CHECKPOINT", help="whose attention to show")
    add("--class", metavar="NAME", dest="finding", help="the finding to attend to; needs --checkpoint")
    add("--leads", metavar="NAMES", type=_names, help="draw these leads only")
    add(
        "--layout",
        choices=("auto", "grid", "rows"),
        default="auto",
        help="3 x 4 grid with rhythm strip, or rows",
    )
    add("--start", metavar="SECONDS", type=float, default=0.0)
    add("--seconds", type=_seconds, default=10.0, help="how much to draw; all (default: 10)")
    add("--out", metavar="FILE", help=".png, .pdf or .svg (default: the record's name with .png, here)")
    _add_text_encoder(plot)

    info = verb(_info, "what a file or folder is")
    info.add_argument(
        "path", metavar="PATH", help="a record, store, run, checkpoint, vocabulary or text encoder"
    )
    return parser


# ---- Options ----


def _quiet(parser):
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _add_classes(parser):
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        type=_names,
        help='names of classes, separated by commas; "a, b" in quotes is one',
    )


def _add_text_encoder(parser):
    parser.add_argument(
        "--encoder",
        metavar="FOLDER",
        help="text encoder, for classes that the checkpoint does not know by name",
    )


def _names(text):
    """Names separated by commas; one that holds a comma stands in double quotes."""
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not names or "" in names:
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name, expected names separated by commas")
    return names


def _lead_choice(text):
    return int(text) if text.strip().isdigit() else _names(text)


def _seconds(text):
    if text == "all":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is neither a number of seconds nor "all"') from None


def _masked_leads(text):
    """9,10,11 or 9:0.5,10:0.25,11:0.25"""
    try:
        if ":" in text:
            return {
                int(count): float(weight) for count, weight in (part.split(":") for part in text.split(","))
            }
        return tuple(int(count) for count in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 9,10,11 or 9:0.5,10:0.5") from None


def _pair(text):
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0.9,0.999") from None
    return first, second


def _add_config(parser):
    """An option for each field of Config, with its documentation; what is not given is not passed on."""
    import dataclasses

    from kmerl.config import Config

    special = {"masked_leads": (_masked_leads, "N,N,..."), "betas": (_pair, "B1,B2")}
    described = _documentation(Config)
    for field in dataclasses.fields(Config):
        kind = str(field.type)
        options = {"dest": f"config_{field.name}", "default": argparse.SUPPRESS}
        options["help"] = f"{described.get(field.name, '')} (default: {field.default})".strip().replace(
            "%", "%%"
        )
        if "bool" in kind:
            options["action"] = argparse.BooleanOptionalAction
        elif field.name in special:
            options["type"], options["metavar"] = special[field.name]
        else:
            options["type"] = int if kind.startswith("int") else float if kind.startswith("float") else str
            options["metavar"] = {int: "N", float: "X", str: "NAME"}[options["type"]]
        parser.add_argument("--" + field.name.replace("_", "-"), **options)


def _documentation(documented):
    """What a numpydoc class docstring says of each attribute, on one line."""
    import inspect

    described, names = {}, []
    for line in inspect.getdoc(documented).splitlines():
        if line and not line.startswith(" ") and " : " in line:
            listed, kind = line.split(" : ", 1)
            names = [name.strip() for name in listed.split(",")]
            described.update((name, kind + "." if "{" in kind else "") for name in names)
        elif line.startswith(" ") and names:
            described.update((name, f"{described[name]} {line.strip()}".strip()) for name in names)
    return described


# ---- Verbs ----


def _demo(arguments):
    """Train a small model on the recordings that come with kmerl and answer on those it has not seen."""
    from kmerl import demo

    return demo.main(arguments.out)


def _store(arguments):
    """Read recordings once and keep them with their reports in a folder, ready for training."""
    paths, named = _record_paths(arguments.records)
    reports = patients = None
    if arguments.reports is not None:
        table = _Annotations(arguments.reports, arguments.record_column)
        reports = table.of(paths, named, arguments.report_column)
        if arguments.patient_column in table.header and arguments.patients is None:
            patients = table.of(paths, named, arguments.patient_column)
        elif arguments.patient_column != "patient":
            table.need(arguments.patient_column)
    if arguments.patients is not None:
        patients = _Annotations(arguments.patients, arguments.record_column).of(
            paths, named, arguments.patient_column
        )
    store = kmerl.Store.create(
        arguments.out,
        paths,
        reports=reports,
        patients=patients,
        seconds=arguments.seconds,
        validation=arguments.validation,
        seed=arguments.seed,
        verify=not arguments.no_verify,
        progress=not arguments.quiet,
    )
    _say(f"{arguments.out}: {len(store):,} recordings stored, {len(store.skipped):,} skipped")
    for name, reason in store.skipped[:10]:
        _say(f"  skipped {name}: {reason}")
    if len(store.skipped) > 10:
        _say(f"  and {len(store.skipped) - 10:,} more (store.skipped)")
    sizes = ", ".join(f"{len(indices):,} for {part}" for part, indices in store.split.items())
    _say(f"  {sizes}; {'with' if reports is not None else 'without'} reports")
    if reports is not None:
        empty = sum(not text for text in reports)
        if empty:
            _say(f"  {empty:,} recordings have no report in {arguments.reports}")
    _next("label", arguments.out)


def _label(arguments):
    """Find in each report which entities it asserts; they are what the model learns to answer."""
    vocabulary = (
        kmerl.Vocabulary.load(arguments.vocabulary) if arguments.vocabulary else kmerl.Vocabulary.default()
    )
    store = kmerl.Store.open(arguments.store)
    store.label(vocabulary, hedged=arguments.hedged, progress=not arguments.quiet)
    counts = np.asarray(store.labels).sum(axis=0, dtype=np.int64)
    names = list(store.entities)
    found = sorted(((int(n), name) for n, name in zip(counts, names, strict=True) if n), reverse=True)
    bare = int((np.asarray(store.labels).sum(axis=1) == 0).sum())
    _say(
        f"{arguments.store}: {len(found)} of {len(names)} entities found; {bare:,} of {len(store):,} recordings have none"
    )
    _say(
        "  most frequent: " + ", ".join(f"{name} ({n:,})" for n, name in found[:8])
        if found
        else "  nothing found"
    )
    _next("embed", arguments.store, "--encoder", "FOLDER")


def _embed(arguments):
    """Embed each distinct report and entity name once with a frozen text encoder."""
    store = kmerl.Store.open(arguments.store)
    encoder = (
        kmerl.sample_embeddings()
        if arguments.encoder == "sample"
        else kmerl.TextEncoder.load(arguments.encoder)
    )
    store.embed(
        encoder,
        report_pooling=arguments.report_pooling,
        query_pooling=arguments.query_pooling,
        progress=not arguments.quiet,
    )
    embeddings = store.embeddings
    _say(
        f"{arguments.store}: {len(embeddings.reports):,} distinct reports and {len(embeddings.texts):,} names embedded, "
        f"{embeddings.width} wide, with {embeddings.encoder}"
    )
    _next("pretrain", arguments.store, "--out", "run")


def _pretrain(arguments):
    """Train a model on a labelled and embedded store. A run that was broken off goes on where it stopped."""
    given = {
        name.removeprefix("config_"): value
        for name, value in vars(arguments).items()
        if name.startswith("config_")
    }
    if arguments.preset is not None:
        given["preset"] = arguments.preset
    model = kmerl.KMERL(**given)
    store = kmerl.Store.open(arguments.store)
    model.fit(store, out=arguments.out, max_steps=arguments.max_steps, progress=not arguments.quiet)
    log = _read_log(arguments.out)
    _say(
        f"{arguments.out}: {log['steps']:,} steps, loss {_short(log['loss'])}, validation loss {_short(log['best'])} at best"
    )
    _say(
        f"  {arguments.out}/best.safetensors has the lowest validation loss, {arguments.out}/last.safetensors is the last"
    )
    _next(
        "predict",
        f"{arguments.out}/best.safetensors",
        "RECORD",
        "--classes",
        "atrial fibrillation,normal ecg",
    )


def _predict(arguments):
    """Ask a model for the probability of each class in each recording."""
    from kmerl.evaluate import answers

    model = _model(arguments)
    classes = arguments.classes or _known_classes(model)
    rows, failed = [], []
    for begin in range(0, len(arguments.records), BATCH):
        records = {}
        for path in arguments.records[begin : begin + BATCH]:
            try:
                record = kmerl.read_record(path, leads="known")
                records[path] = record.select(arguments.leads) if arguments.leads else record
            except (ValueError, OSError) as error:
                failed.append((path, error))
        for path, answer in answers(model, records, classes).items():
            if isinstance(answer, Exception):
                failed.append((path, answer))
            else:
                rows.append((path, records[path].leads, answer))
    for path, error in failed:
        reason = _one_line(error)
        print(f"kmerl predict: {reason if str(path) in reason else f'{path}: {reason}'}", file=sys.stderr)
    if rows:
        write = _predict_json if arguments.json else _predict_csv if arguments.csv else _predict_table
        write(rows, classes, arguments)
    return 1 if failed else 0


def _predict_json(rows, classes, arguments):
    found = [
        {
            "record": path,
            "leads": list(leads),
            "probabilities": dict(zip(classes, map(_rounded, answer), strict=True)),
        }
        for path, leads, answer in rows
    ]
    print(json.dumps(found, indent=2, ensure_ascii=False))


def _predict_csv(rows, classes, arguments):
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["record", *classes])
    for path, _, answer in rows:
        writer.writerow([path, *map(_rounded, answer)])


def _predict_table(rows, classes, arguments):
    width = max(map(len, classes))
    for path, leads, answer in rows:
        order = range(len(classes)) if arguments.classes else np.argsort(-np.asarray(answer), kind="stable")
        _say(f"{path}, {len(leads)} lead{'s' if len(leads) > 1 else ''}: {' '.join(leads)}")
        for k in order:
            bar = "#" * round(30 * float(answer[k]))
            _say(f"  {classes[k]:<{width}}  {float(answer[k]):.3f}  {bar}".rstrip())
    path = rows[0][0]
    _next("plot", path, "--checkpoint", arguments.checkpoint, "--class", classes[int(np.argmax(rows[0][2]))])


def _evaluate(arguments):
    """Ask a model for every class of a labelled data set, and measure; intervals are over patients."""
    from kmerl import evaluate

    for path in arguments.out:
        if not path.lower().endswith((".json", ".md", ".csv", ".png", ".pdf", ".svg")):
            raise ValueError(
                f"--out {path}: expected a name that ends in .json, .md, .csv, .png, .pdf or .svg"
            )
        if path.lower().endswith(".csv") and arguments.sweep:
            raise ValueError(
                f"--out {path}: a sweep has many scores for a recording; .csv goes without --sweep"
            )
    model = _model(arguments)
    dataset = _dataset(arguments)
    options = {name: getattr(arguments, name) for name in ("part", "resamples", "seed")}
    options["progress"] = not arguments.quiet
    if arguments.sweep:
        found = evaluate.lead_sweep(model, dataset, single=True, **options)
    else:
        found = evaluate.zero_shot(model, dataset, arguments.leads, **options)
    print(found.to_json() if arguments.json else found.table(), end="" if arguments.json else "\n")
    for path in arguments.out:
        kind = path.lower().rsplit(".", 1)[1]
        if kind == "json":
            found.to_json(path)
        elif kind == "md":
            found.to_markdown(path)
        elif kind == "csv":
            found.to_csv(path)
        else:
            _save(found.plot(), path)
        if not arguments.json:
            _say(f"wrote {path}")
    if not arguments.json and not arguments.sweep:
        _next("evaluate", arguments.checkpoint, arguments.folder, "--sweep")


def _plot(arguments):
    """Draw a recording on ECG paper: 25 mm/s, 10 mm/mV; with --checkpoint and --class what a finding attends
    to."""
    if (arguments.checkpoint is None) != (arguments.finding is None):
        raise ValueError("--checkpoint and --class belong together: whose attention, and to what")
    record = kmerl.read_record(arguments.record, leads="known")
    attention = None
    if arguments.checkpoint is not None:
        attention = _model(arguments).attend(record, arguments.finding)
    out = arguments.out or f"{record.name}.png"
    figure = kmerl.plot_ecg(
        record,
        attention,
        leads=arguments.leads,
        layout=arguments.layout,
        start=arguments.start,
        seconds=arguments.seconds,
        finding=arguments.finding,
    )
    _save(figure, out)
    width, height = figure.get_size_inches() * 25.4
    _say(f"{out}: {record.name}, {record.fs:g} Hz, {width:.0f} x {height:.0f} mm at 25 mm/s and 10 mm/mV")
    if attention is None:
        _next("plot", arguments.record, "--checkpoint", "CHECKPOINT", "--class", "NAME")


def _info(arguments):
    """Say what a file or folder is, and what is in it."""
    path = pathlib.Path(arguments.path)
    if path.is_dir():
        for file, describe in INSIDE.items():
            if (path / file).exists():
                return describe(path)
        raise ValueError(
            f"{path}: a folder that is no store, run, text encoder or data set; has none of {', '.join(INSIDE)}"
        )
    if path.suffix == ".safetensors":
        return _info_checkpoint(path)
    if path.suffix == ".json":
        return _info_vocabulary(path)
    return _info_record(path)


def _info_store(path):
    store = kmerl.Store.open(path)
    description = store.describe()
    _say(f"{path}: a store")
    for line in str(description).splitlines():
        _say(f"  {line}")
    if "entities" not in description:
        _next("label", path)
    elif "encoder" not in description:
        _next("embed", path, "--encoder", "FOLDER")
    else:
        _next("pretrain", path, "--out", "run")


def _info_unfinished(path):
    _say(f"{path}: a store that is not finished; run the command that was making it again, it goes on")


def _info_run(path):
    log = _read_log(path)
    _say(f"{path}: a pretraining run")
    _say(
        f"  {log['steps']:,} steps, loss {_short(log['loss'])}, validation loss {_short(log['best'])} at best"
    )
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            return _info_checkpoint(path / name)


def _info_checkpoint(path):
    from kmerl.checkpoint import Checkpoint

    checkpoint = Checkpoint.read(path)
    config = checkpoint.config
    count = sum(array.size for array in checkpoint.parameters.values())
    _say(f"{path}: a checkpoint")
    _say(
        f"  size {config.size}: width {config.width}, depth {config.depth}, heads {config.heads}; {count:,} parameters"
    )
    _say(
        f"  {config.seconds:g} s at {config.fs:g} Hz, segments of {config.segment_samples}, {config.normalisation} normalisation"
    )
    _say(f"  text encoder {checkpoint.text_encoder or 'none'}, {config.text_width} wide")
    _say(f"  answers {len(checkpoint.names.texts) if checkpoint.names else 0:,} names without a text encoder")
    for name, value in checkpoint.training.items():
        _say(f"  {name.replace('_', ' ')}: {value}")
    _say(f"  written by {checkpoint.library or 'an unknown version'}")
    _next("predict", path, "RECORD", "--classes", "atrial fibrillation,normal ecg")


def _info_vocabulary(path):
    vocabulary = kmerl.Vocabulary.load(path)
    names = list(vocabulary)
    _say(f"{path}: a vocabulary of {len(names):,} entities")
    _say(f"  {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}")
    _next("label", "STORE", "--vocabulary", path)


def _info_text_encoder(path):
    encoder = kmerl.TextEncoder.load(path)
    _say(f"{path}: a text encoder, {encoder.id}")
    _say(
        f"  embeddings {encoder.width} wide, up to {encoder.max_length} tokens, poolings {', '.join(encoder.poolings)}"
    )
    _next("embed", "STORE", "--encoder", path)


def _info_dataset(path):
    from kmerl import datasets

    dataset = datasets.ptbxl(path) if (path / "ptbxl_database.csv").is_file() else datasets.folder(path)
    _say(f"{path}: a data set, {len(dataset):,} recordings of {len(set(dataset.patients)):,} patients")
    _say("  " + ", ".join(f"{len(indices):,} {part}" for part, indices in dataset.split.items()))
    for name, count in zip(dataset.classes, dataset.labels.sum(axis=0, dtype=np.int64), strict=True):
        _say(f"  {name}: {count:,}")
    for note in dataset.notes:
        _say(f"  {note}")
    _next("evaluate", "CHECKPOINT", path)


# A file that tells what the folder around it is.
INSIDE = {
    "store.sqlite": _info_store,
    "building.sqlite": _info_unfinished,
    "log.jsonl": _info_run,
    "model.safetensors": _info_text_encoder,
    "ptbxl_database.csv": _info_dataset,
    "labels.csv": _info_dataset,
}


def _info_record(path):
    record = kmerl.read_record(path)
    missing = float(np.mean(~np.isfinite(record.signal)))
    _say(f"{path}: a recording")
    _say(
        f"  {record.signal.shape[1] / record.fs:g} s at {record.fs:g} Hz, {len(record.leads)} leads: {' '.join(record.leads)}"
    )
    known = record.signal[np.isfinite(record.signal)]
    if len(known):
        _say(f"  {known.min():.3f} to {known.max():.3f} mV, {100 * missing:.2g} % of the samples missing")
    for comment in record.comments:
        _say(f"  # {comment}")
    _next("plot", path)


# ---- What verbs share ----


def _say(text):
    print(text)


def _next(verb, *words):
    print(f"next: kmerl {verb} {' '.join(shlex.quote(str(word)) for word in words)}")


def _rounded(p):
    return round(float(p), 6)


def _short(number):
    return "-" if number is None else f"{number:.4g}"


def _model(arguments):
    model = kmerl.load_model(arguments.checkpoint)
    if arguments.encoder is not None:
        model.text_encoder = kmerl.TextEncoder.load(arguments.encoder)
    return model


def _known_classes(model):
    return list(model.vocabulary)


def _dataset(arguments):
    from kmerl import datasets

    folder, kind = pathlib.Path(arguments.folder), arguments.dataset
    if kind == "auto":
        kind = "folder"
        if arguments.labels is None and (folder / "ptbxl_database.csv").is_file():
            kind = "ptbxl"
        elif (
            arguments.labels is None
            and not (folder / "labels.csv").is_file()
            and any(folder.rglob("A0*.hea"))
        ):
            kind = "cpsc2018"
    if arguments.task is not None and kind != "ptbxl":
        raise ValueError(f"--task belongs to PTB-XL, {folder} is read as {kind}")
    if arguments.labels is not None and kind != "folder":
        raise ValueError(f"--labels belongs to folders with a CSV of labels, {folder} is read as {kind}")
    if kind == "ptbxl":
        return datasets.ptbxl(folder, arguments.task or "super")
    if kind == "cpsc2018":
        return datasets.cpsc2018(folder)
    return datasets.folder(folder, labels=arguments.labels or "labels.csv")


def _record_paths(given):
    """The records, those of folders in order, and for each what a CSV may call it."""
    paths, named = [], []
    for path in given:
        if os.path.isdir(path):
            found = sorted(str(header.with_suffix("")) for header in pathlib.Path(path).rglob("*.hea"))
            if not found:
                raise FileNotFoundError(f"{path}: a folder without a recording (a .hea file)")
            paths += found
            named += [os.path.relpath(record, path) for record in found]
        else:
            paths.append(path)
            named.append(_without_ending(path))
    return paths, named


def _without_ending(record):
    for ending in (".hea", ".dat", ".mat"):
        record = record.removesuffix(ending)
    return record


class _Annotations(Table):
    """A CSV that says something about recordings, found by path or, where that is enough, by name."""

    def __init__(self, path, record_column):
        super().__init__(path)
        self.need(record_column)
        self._rows, self._column = {}, record_column
        for i, row in enumerate(self.rows):
            record = _without_ending(row[record_column])
            if record in self._rows:
                raise ValueError(f"{self.at(i)}: {record!r} is in line {self.line(self._rows[record])} too")
            self._rows[record] = i

    def of(self, paths, named, column):
        """What `column` says of each record; "" where there is no line for it."""
        self.need(column)
        rows = [self._row(path, name) for path, name in zip(paths, named, strict=True)]
        if not any(row is not None for row in rows):
            raise ValueError(
                f"{self.name} has no line about any of the {len(paths):,} recordings: its first is about "
                f"{self.rows[0][self._column]!r}, the first recording is {named[0]!r}"
            )
        return ["" if row is None else self.rows[row][column] for row in rows]

    def _row(self, path, name):
        for key in (name, _without_ending(str(path)), os.path.basename(name)):
            if key in self._rows:
                return self._rows[key]
        return None


def _read_log(run):
    """Steps, last loss and lowest validation loss of a run; None where there is none."""
    steps, loss, best = 0, None, None
    with open(os.path.join(run, "log.jsonl"), encoding="utf-8") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that was being written when the run was broken off
            steps = max(steps, entry.get("step", 0))
            loss = entry.get("loss", loss)
            if entry.get("val_loss") is not None:
                best = entry["val_loss"] if best is None else min(best, entry["val_loss"])
    return {"steps": steps, "loss": loss, "best": best}


def _save(figure, path):
    from kmerl.durable import writing

    kind = path.lower().rsplit(".", 1)[-1]
    if kind not in ("png", "pdf", "svg"):
        raise ValueError(f"--out {path}: expected a name that ends in .png, .pdf or .svg")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind)
    with writing(path) as file:
        file.write(drawn.getvalue())
