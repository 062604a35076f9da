"""The command line: one verb a step; each prints what it did and what to run next.

Exit codes: 0 done, 1 bad input (one line on standard error), 2 wrong usage, 130 interrupted.
"""

import argparse
import csv
import io
import json
import os
import pathlib
import re
import shlex
import sys
import warnings

import numpy as np

import kmerl
from kmerl import shipped
from kmerl.table import Table

__all__ = ["main"]

# What kmerl raises for bad input. Anything else is a mistake of kmerl's own and shows its traceback.
BAD_INPUT = (
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    RuntimeError,
    MemoryError,
    ImportError,
    OSError,
)
INTERRUPTED = 130
BATCH = 64  # recordings in memory
ENDINGS = (".hea", ".dat", ".mat")
LLM_SERVER = "http://127.0.0.1:8080/v1"
PICTURES = (".png", ".pdf", ".svg")


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : list of str, optional
        The arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        The exit code. Wrong usage raises SystemExit(2), as argparse does.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = _parser(argv)
    if argv[:1] == ["demo"]:  # has options of its own
        arguments = argparse.Namespace(verb="demo", run=_demo, kept=_nothing, rest=argv[1:])
    else:
        arguments = parser.parse_args(argv)
    if arguments.verb is None:
        parser.print_help(sys.stderr)
        return 2
    name = f"kmerl {arguments.verb}"
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"{name}: warning: {message}", file=sys.stderr)
        try:
            code = arguments.run(arguments) or 0
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print(f"\n{name}: interrupted; {arguments.kept(arguments)}", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except BAD_INPUT as error:
            print(f"{name}: {_in_shell_words(_one_line(error))}", file=sys.stderr)
            return 1


# What messages for Python users say, in the words of the shell.
SHELL_WORDS = (
    (r"run store\.label\([^)]*\)\)?( first)?", r"run kmerl label STORE\1"),
    (r"run store\.embed\([^)]*\)\)( first)?", r"run kmerl embed STORE --encoder FOLDER\1"),
    (r"run store\.embed again", "run kmerl embed again"),
    (r"call Store\.create again with the same recordings", "run the same kmerl store again"),
    (r"\b(merge_synonyms|superclasses)=False\b", r"--no-\1"),
    (r"\bbase_url\b", "--base-url"),
    (r"^(concurrency|hold_out|prompts|seconds|seed|threshold|pooling|validation)\b(?= is| must| names)",
     r"--\1"),
    (r"set model\.text_encoder = kmerl\.TextEncoder\.load\(folder\) with", "give --encoder FOLDER with"),
)  # fmt: skip


def _in_shell_words(text):
    for pattern, words in SHELL_WORDS:
        text = re.sub(pattern, lambda m, words=words: m.expand(words).replace("_", "-"), text)
    return text


def _one_line(error):
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__


def _nothing(arguments):
    return "nothing is left behind"


def _parser(argv):
    parser = argparse.ArgumentParser(
        prog="kmerl", description="Zero-shot answers about ECGs, from any leads.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"kmerl {kmerl.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs, in the order of a project")
    for name, (summary, options, run, kept) in VERBS.items():
        usage = "%(prog)s STORE --out RUN [option ...]" if name == "pretrain" else None  # it has too many
        added = verbs.add_parser(name, help=summary, description=run.__doc__, usage=usage, allow_abbrev=False)
        added.set_defaults(run=run, kept=kept, parser=added)
        if argv[:1] == [name]:  # the others' options would only take time
            options(added)
    return parser


# ---- kmerl demo ----


def _demo_options(parser):
    pass


def _demo(arguments):
    """The whole path on the recordings that come with kmerl: store, labels, pretraining, answers."""
    from kmerl import demo

    return demo.main(arguments.rest)


# ---- kmerl simulate ----


def _simulate_options(parser):
    add = parser.add_argument
    add("out", metavar="OUT", help="a folder: of WFDB records and reports.csv, of pictures, or the store")
    add("-n", metavar="N", dest="count", type=int, default=10, help="how many (default: 10)")
    add("--as", dest="kind", choices=("wfdb", "store", "plots"), default="wfdb", help="(default: wfdb)")
    add("--finding", metavar="NAME", action="append", help="what every recording shows; may be given again")
    add("--seed", metavar="N", type=int, default=0, help="(default: 0)")
    add("--start", metavar="N", type=int, default=0, help="index of the first (default: 0)")
    add("--fs", metavar="HZ", type=float, default=500.0, help="(default: 500)")
    add("--seconds", metavar="S", type=float, default=10.0, help="(default: 10)")
    add("--leads", metavar="NAMES", type=_names, help="(default: all twelve)")
    add("--noise", metavar="X", type=float, default=1.0, help="0: none, 1: as in practice (default: 1)")
    _add_quiet(parser)


def _simulate(arguments):
    """Write simulated ECGs with their reports: WFDB records, a store, or pictures."""
    if arguments.count < 1:
        raise ValueError(f"-n must be 1 or more, got {arguments.count}")
    simulator = kmerl.Simulator(
        arguments.seed,
        findings=arguments.finding,
        fs=arguments.fs,
        seconds=arguments.seconds,
        leads=arguments.leads,
        noise=arguments.noise,
    )
    if not 0 <= arguments.start <= len(simulator) - arguments.count:
        raise ValueError(f"--start must be 0 to {len(simulator) - arguments.count}, got {arguments.start}")
    indices = range(arguments.start, arguments.start + arguments.count)
    if arguments.kind == "store":
        store = kmerl.Store.create(
            arguments.out,
            (simulator[i] for i in indices),
            reports=simulator.reports(indices),
            patients=[f"simulated-{simulator.seed}-{i}" for i in indices],
            seconds=None,
            progress=not arguments.quiet,
        )
        _say(f"{arguments.out}: {len(store):,} simulated recordings stored")
        return _next("label", arguments.out)
    from kmerl.durable import writing
    from kmerl.progress import Progress
    from kmerl.wfdb import write_record

    os.makedirs(arguments.out, exist_ok=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["record", "patient", "report"])
    with Progress(arguments.count, "simulate", "recordings", show=not arguments.quiet) as bar:
        for i in indices:
            record = simulator[i]
            path = os.path.join(arguments.out, record.name)
            if arguments.kind == "plots":
                figure = kmerl.plot_ecg(record, title=record.report)
                _save(figure, path + ".png")
                figure.clear()
            else:
                write_record(path, record)
            rows.writerow([record.name, record.patient, record.report])
            bar.update(1)
    reports = os.path.join(arguments.out, "reports.csv")
    with writing(reports) as file:
        file.write(table.getvalue().encode())
    what = "pictures" if arguments.kind == "plots" else "WFDB records"
    _say(f"{arguments.out}: {arguments.count:,} simulated {what}, and reports.csv")
    if arguments.kind == "wfdb":
        _next("store", "STORE", arguments.out, "--reports", reports)


# ---- kmerl store ----


def _store_options(parser):
    add = parser.add_argument
    add("out", metavar="OUT", help="folder of the store")
    add(
        "records",
        metavar="RECORD",
        nargs="+",
        help='a WFDB record, or a folder: all records below it; or "sample": the ECGs that come with kmerl, with '
        "their reports",
    )
    add(
        "--dataset",
        choices=("mimic_iv_ecg",),
        help="RECORD is the folder of this data set, with reports and patients of its own",
    )
    add("--protocol", choices=("default", "merl"), default="default", help="of --dataset: as MERL stores recordings")
    add("--reports", metavar="CSV", help="columns record, report and, if you have them, patient")
    add("--patients", metavar="CSV", help="columns record, patient")
    for column in ("record", "report", "patient"):
        add(f"--{column}-column", metavar="NAME", default=column, help=f"in the CSV (default: {column})")
    add("--seconds", type=_seconds, default=10.0, help="to keep of each recording, or all (default: 10)")
    add("--validation", metavar="X", type=float, default=0.1, help="share of the patients (default: 0.1)")
    add("--seed", metavar="N", type=int, default=0, help="of the split (default: 0)")
    add("--no-verify", action="store_true", help="do not check the files' checksums")
    _add_quiet(parser)


def _store(arguments):
    """Read recordings once and keep them with their reports in a folder, ready for training."""
    if arguments.dataset is not None:
        return _store_dataset(arguments)
    if arguments.protocol != "default":
        arguments.parser.error("--protocol goes with --dataset")
    sample = arguments.records == ["sample"] and not os.path.exists("sample")
    if sample and (arguments.reports or arguments.patients):
        arguments.parser.error("the sample has its own reports and patients: leave out --reports and --patients")
    paths = kmerl.sample_records() if sample else _record_paths(arguments.records)
    reports = patients = None
    if arguments.reports is not None:
        table = _Annotations(arguments.reports, arguments.record_column)
        reports = table.of(paths, arguments.report_column)
        if arguments.patients is None and (
            arguments.patient_column in table.header or arguments.patient_column != "patient"
        ):
            patients = table.of(paths, arguments.patient_column)
    if arguments.patients is not None:
        table = _Annotations(arguments.patients, arguments.record_column)
        patients = table.of(paths, arguments.patient_column)
    _create_store(
        arguments,
        paths,
        reports=reports,
        patients=None if patients is None else [patient or None for patient in patients],
    )
    if reports is None and not sample:
        _say(more="no reports: without --reports there is nothing to learn from")
        return _next("store", "OUT", "RECORD", "--reports", "CSV")
    if reports is not None and "" in reports:
        _say(
            more=f"{reports.count(''):,} of {len(reports):,} recordings have no report in {arguments.reports}"
        )
    _next("label", arguments.out)


def _store_dataset(arguments):
    from kmerl import datasets

    if len(arguments.records) != 1:
        arguments.parser.error(f"--dataset goes with one folder, got {len(arguments.records)}")
    for option in ("reports", "patients"):
        if getattr(arguments, option) is not None:
            arguments.parser.error(f"--{option} does not go with --dataset, which has its own")
    source = datasets.mimic_iv_ecg(arguments.records[0], protocol=arguments.protocol)
    for note in source.notes:
        _say(more=note)
    _create_store(arguments, source)
    _next("label", arguments.out)


def _create_store(arguments, records, **given):
    store = kmerl.Store.create(
        arguments.out,
        records,
        **given,
        seconds=arguments.seconds,
        validation=arguments.validation,
        seed=arguments.seed,
        verify=not arguments.no_verify,
        progress=not arguments.quiet,
    )
    _say(
        f"{arguments.out}: {len(store):,} recordings stored, {len(store.skipped):,} skipped",
        *(f"skipped {name}: {reason}" for name, reason in store.skipped[:10]),
    )
    if len(store.skipped) > 10:
        more = f"sqlite3 {shlex.quote(arguments.out)}/store.sqlite 'SELECT name, reason FROM skipped'"
        _say(more=f"and {len(store.skipped) - 10:,} more: {more}")
    _say(more=", ".join(f"{len(indices):,} for {part}" for part, indices in store.split.items()))


def _record_paths(given):
    """The records, those of folders in the order of their names."""
    paths = []
    for path in given:
        if os.path.isdir(path):
            found = sorted(str(header.with_suffix("")) for header in pathlib.Path(path).rglob("*.hea"))
            if not found:
                raise FileNotFoundError(f"{path}: a folder without a recording (a .hea file)")
            paths += found
        else:
            paths.append(path)
    return paths


def _without_ending(record):
    return next((record[: -len(ending)] for ending in ENDINGS if record.endswith(ending)), record)


class _Annotations(Table):
    """A CSV that says something about recordings, named by their paths or by the ends of them."""

    def __init__(self, path, record_column):
        super().__init__(path)
        self.need(record_column)
        self._places = {}
        for i, row in enumerate(self.rows):
            record = _without_ending(row[record_column])
            if record in self._places:
                raise ValueError(f"{self.at(i)}: {record!r} is in line {self.line(self._places[record])} too")
            self._places[record] = i

    def of(self, paths, column):
        """What `column` says of each record; "" where there is no line for it."""
        self.need(column)
        places = [self._place(path) for path in paths]
        if all(place is None for place in places):
            raise ValueError(
                f"{self.name} has no line about any of the {len(paths):,} recordings: its first is about "
                f"{next(iter(self._places))!r}, the first recording is {paths[0]!r}"
            )
        return ["" if place is None else self.rows[place][column] for place in places]

    def _place(self, path):
        path = _without_ending(path)
        parts = pathlib.PurePath(os.path.abspath(path)).parts
        ends = ("/".join(parts[-count:]) for count in range(len(parts) - 1, 0, -1))
        return next((self._places[name] for name in (path, *ends) if name in self._places), None)


# ---- kmerl label ----


def _label_options(parser):
    add = parser.add_argument
    add("store", metavar="STORE")
    add(
        "--vocabulary",
        metavar="JSON",
        help="default: the vocabulary that comes with kmerl; with --model one mined from the store's reports",
    )
    add(
        "--hedged",
        choices=("drop", "keep"),
        default="drop",
        help='findings like "possible ..." (default: drop)',
    )
    add("--hold-out", metavar="NAMES", type=_names, help="entities to leave out, separated by commas")
    add("--phrases", metavar="JSON", help="negations and hedges of your own (docs/entities.md)")
    add("--no-superclasses", action="store_true", help="without superclasses (Table 2b of the paper)")
    add("--no-merge-synonyms", action="store_true", help="each name in the reports is an entity (Table 2b)")
    add("--picture", metavar="FILE", help="draw which entities occur together: .png, .pdf or .svg")
    _add_quiet(parser)
    add = parser.add_argument_group("a language model behind an OpenAI-compatible server").add_argument
    add("--model", metavar="NAME", help="the model's name on the server (default: no language model)")
    add("--base-url", metavar="URL", default=LLM_SERVER, help="report texts go there (default: %(default)s)")
    add("--api-key-variable", metavar="NAME", help="environment variable that holds the server's key")
    add("--unit", choices=("statement", "report"), default="statement", help="default: statement")
    add("--verify", choices=("rules", "llm"), default="rules", help="default: rules")
    add("--prompts", metavar="FOLDER", help="prompts of your own (docs/llm.md)")
    add("--concurrency", metavar="N", type=int, default=4, help="requests under way at once (default: 4)")


def _label(arguments):
    """Find in each report the entities that it asserts; they are what the model learns to answer."""
    if arguments.picture is not None and not arguments.picture.lower().endswith(PICTURES):
        arguments.parser.error(f"--picture {arguments.picture}: expected .png, .pdf or .svg")
    if arguments.phrases is not None and arguments.model is not None:
        arguments.parser.error("--phrases goes without --model: a language model reads in its own way")
    vocabulary = kmerl.Vocabulary.load(arguments.vocabulary) if arguments.vocabulary else None
    mined = arguments.model is not None and vocabulary is None
    switches = {name: not getattr(arguments, f"no_{name}") for name in ("superclasses", "merge_synonyms")}
    extractor = "lexicon" if arguments.model is None else _language_model(arguments, switches if mined else {})
    store = kmerl.Store.open(arguments.store)
    store.label(
        vocabulary,
        extractor=extractor,
        hedged=arguments.hedged,
        hold_out=arguments.hold_out or (),
        phrases=arguments.phrases,
        progress=not arguments.quiet,
        **({} if mined else switches),
    )
    found = store.prevalence()
    _say(
        f"{arguments.store}: {found.found:,} of {len(found.entities):,} entities found",
        *found.table(12).splitlines(),
        *([f"and {found.found - 12:,} more"] if found.found > 12 else []),
        f"{found.bare:,} of {len(store):,} recordings have none",
    )
    if arguments.hold_out:
        _say(more=f"held out: {store.describe()['held_out']}")
        below = _below(vocabulary or kmerl.Vocabulary.default(), arguments.hold_out, store)
        if below:
            _say(more=f"not held out, though below them: {', '.join(below)}")
    if arguments.picture is not None:
        _save(kmerl.plot_cooccurrence(store), arguments.picture)
        _say(more=f"drew {arguments.picture}")
    if arguments.model is not None:
        counts = extractor.counts
        _say(
            more=f"{counts['requests']:,} requests, "
            f"{counts['prompt_tokens'] + counts['completion_tokens']:,} tokens, "
            f"{counts['cached']:,} answers from before; "
            f"{counts['unsupported']:,} of {counts['entities']:,} findings dropped as not in the text, "
            f"{len(extractor.unanswered):,} texts without an answer"
        )
    _next("embed", arguments.store, "--encoder", "FOLDER")


def _below(vocabulary, names, store):
    """The store's entities that have one of the names above them in the vocabulary."""
    gone = {vocabulary[name].name for name in names if name in vocabulary}
    return [name for name in store.entities if name in vocabulary and gone & set(vocabulary.above(name))]


def _language_model(arguments, switches):
    variable = arguments.api_key_variable
    if variable is not None and not os.environ.get(variable):
        raise ValueError(f"--api-key-variable: the environment variable {variable} is not set")
    return kmerl.LLMExtractor(
        arguments.base_url,
        arguments.model,
        None if variable is None else os.environ[variable],
        unit=arguments.unit,
        verify=arguments.verify,
        prompts=arguments.prompts,
        concurrency=arguments.concurrency,
        **switches,
    )


# ---- kmerl vocabulary ----


def _vocabulary_options(parser):
    add = parser.add_argument
    add("what", choices=("review",), help="review: near-duplicates, as a table for you to decide")
    add("vocabulary", metavar="VOCABULARY", help="a vocabulary (.json), or a text file with a name a line")
    add("--encoder", metavar="FOLDER", help='a BERT in a Hugging Face folder, or "sample"')
    add("--threshold", metavar="X", type=float, default=0.9, help="least cosine of a pair (default: 0.9)")
    add("--pooling", choices=("cls", "mean", "pooler"), default="cls", help="default: cls")
    add("--apply", metavar="CSV", help="merge what the edited table says")
    add("--out", metavar="FILE", required=True, help="the table to make, or with --apply the new vocabulary")


def _vocabulary(arguments):
    """Propose near-duplicates in a vocabulary as a table (--encoder), or merge what the edited table says
    (--apply)."""
    from kmerl.vocabulary_review import read_names

    if (arguments.encoder is None) == (arguments.apply is None):
        arguments.parser.error("expected --encoder, to make a table, or --apply, to merge what it says")
    vocabulary = read_names(arguments.vocabulary)
    if arguments.apply is not None:
        merged = kmerl.apply_review(vocabulary, arguments.apply)
        merged.save(arguments.out)
        gone = len(vocabulary) - len(merged)
        _say(f"{arguments.out}: {len(merged):,} entities, {gone:,} merged into others")
        _next("label", "STORE", "--vocabulary", arguments.out)
        return
    review = kmerl.review_vocabulary(
        vocabulary, _text_encoder(arguments.encoder), threshold=arguments.threshold, pooling=arguments.pooling
    )
    review.save(arguments.out)
    _say(
        f"{arguments.out}: {len(review):,} pairs among {len(vocabulary):,} entities with a cosine of "
        f"{arguments.threshold:g} or more",
        *(f"{pair.similarity:.3f}  {pair.keep} | {pair.merge}" for pair in review.pairs[:5]),
        'write "merge" or "keep" into the column decision of the table',
    )
    _next("vocabulary", "review", arguments.vocabulary, "--apply", arguments.out, "--out", "merged.json")


# ---- kmerl embed ----


def _embed_options(parser):
    add = parser.add_argument
    add("store", metavar="STORE")
    add(
        "--encoder",
        metavar="FOLDER",
        required=True,
        help='a BERT in a Hugging Face folder; or "sample": the embeddings that come with kmerl, of the '
        "sample's reports and the default vocabulary only",
    )
    add("--report-pooling", choices=("mean", "cls", "pooler"), default="mean", help="default: mean")
    add("--query-pooling", choices=("cls", "mean", "pooler"), default="cls", help="default: cls")
    _add_quiet(parser)


def _embed(arguments):
    """Embed each distinct report and each entity's names once with a frozen text encoder."""
    store = kmerl.Store.open(arguments.store)
    store.embed(
        _text_encoder(arguments.encoder),
        report_pooling=arguments.report_pooling,
        query_pooling=arguments.query_pooling,
        progress=not arguments.quiet,
    )
    made = store.embeddings
    _say(
        f"{arguments.store}: {len(made.reports):,} distinct reports and {len(made.texts):,} names embedded",
        f"{made.width} wide, with {made.encoder}",
    )
    _next("pretrain", arguments.store, "--out", "run")


# ---- kmerl pretrain ----


def _pretrain_options(parser):
    add = parser.add_argument
    add("store", metavar="STORE")
    add("--out", metavar="RUN", required=True, help="folder of log and checkpoints; a broken-off run goes on")
    add("--max-steps", metavar="N", type=int, help="stop after so many steps in all")
    add(
        "--nonfinite",
        choices=("stop", "skip"),
        default="stop",
        help="what a NaN or an infinity in a loss or gradient does (default: stop)",
    )
    add("--preset", metavar="NAME", help='a named configuration: "paper", "merl-vit", "merl-resnet"')
    _add_quiet(parser)
    _add_config(parser)


def _add_config(parser, without=()):
    """An option for each field of Config; `_config` collects those that were given."""
    import dataclasses

    from kmerl.config import Config

    add = parser.add_argument_group("configuration: the fields of kmerl.KMERL").add_argument
    special = {"masked_leads": (_masked_leads, "N,N,..."), "betas": (_two_numbers, "X,X")}
    described = _documentation(Config)
    for field in dataclasses.fields(Config):
        if field.name in without:
            continue
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
        add("--" + field.name.replace("_", "-"), **options)


def _config(arguments):
    given = vars(arguments).items()
    return {name.removeprefix("config_"): value for name, value in given if name.startswith("config_")}


def _documentation(documented):
    """What a numpydoc class docstring says of each attribute, on one line."""
    import inspect

    described, names = {}, []
    for line in inspect.getdoc(documented).splitlines():
        if line and not line.startswith(" ") and " : " in line:
            listed, kind = line.split(" : ", 1)
            names = [name.strip() for name in listed.split(",")]
            described.update((name, f"{kind}." if "{" in kind else "") for name in names)
        elif line.startswith(" ") and names:
            described.update((name, f"{described[name]} {line.strip()}".strip()) for name in names)
    return described


def _pretrain(arguments):
    """Train a model on a labelled and embedded store. A run that was broken off goes on where it stopped."""
    from kmerl.info import read_log

    model = kmerl.KMERL(preset=arguments.preset, **_config(arguments))
    store = kmerl.Store.open(arguments.store)
    model.fit(
        store,
        out=arguments.out,
        max_steps=arguments.max_steps,
        nonfinite=arguments.nonfinite,
        progress=not arguments.quiet,
    )
    log = read_log(arguments.out)
    best, last = (f"{arguments.out}/{name}.safetensors" for name in ("best", "last"))
    _say(f"{arguments.out}: {log['steps']:,} steps")
    for what, value, path in (("validation loss", log["best"], best), ("loss", log["loss"], last)):
        if value is not None:
            _say(more=f"{path}: {what} {value:.4g}{', the lowest' if path == best else ''}")
    _next("predict", best, "RECORD", "--classes", "atrial fibrillation,normal ecg")


# ---- kmerl predict ----


def _predict_options(parser):
    add = parser.add_argument
    _add_checkpoint(parser, f"; left out, {shipped.DEFAULT} answers")
    add("records", metavar="RECORD", nargs="*", help="a WFDB record")
    add(
        "--classes",
        metavar="NAMES",
        type=_names,
        help="separated by commas, one that has a comma in double quotes (default: all it was trained on)",
    )
    add("--leads", metavar="NAMES", type=_names, help='use these leads only, such as "II" or "I,II,V2"')
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")


def _predict(arguments):
    """Ask a model for the probability of each class in each recording."""
    _default_checkpoint(arguments)
    model = _model(arguments)
    classes = arguments.classes or list(model.vocabulary_ or ())
    if not classes:
        raise ValueError(f"--classes is missing: {arguments.checkpoint} was trained without a vocabulary")
    rows, failed = [], {}
    for begin in range(0, len(arguments.records), BATCH):
        records = []
        for path in arguments.records[begin : begin + BATCH]:
            try:
                records.append((path, kmerl.read_record(path, leads=arguments.leads)))
            except (ValueError, OSError) as error:
                failed[path] = _one_line(error)
        rows += _ask(model, records, classes, failed)
    for path, reason in failed.items():
        print(f"kmerl predict: {reason if path in reason else f'{path}: {reason}'}", file=sys.stderr)
    if rows:
        show = _predict_json if arguments.json else _predict_csv if arguments.csv else _predict_table
        show(rows, classes, arguments)
    return 1 if failed else 0


def _ask(model, records, classes, failed):
    """(path, probabilities, what was done to the recording) of each; what is refused goes into `failed`."""
    if not records:
        return []
    try:
        answer = model.predict_proba([record for _, record in records], classes, details=True)
    except ValueError as error:
        if str(error).startswith("classes"):  # the argument: no recording's fault
            raise
        if len(records) == 1:
            failed[records[0][0]] = _one_line(error)
            return []
        return [row for record in records for row in _ask(model, [record], classes, failed)]
    paths = [path for path, _ in records]
    return list(zip(paths, np.asarray(answer.probabilities), answer.recordings, strict=True))


def _predict_json(rows, classes, arguments):
    found = [
        {
            "record": path,
            "leads": list(done["leads"]),
            "dropped": list(done["dropped"]),
            "probabilities": {name: round(float(p), 6) for name, p in zip(classes, answer, strict=True)},
        }
        for path, answer, done in rows
    ]
    print(json.dumps(found, indent=2, ensure_ascii=False))


def _predict_csv(rows, classes, arguments):
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["record", *classes])
    writer.writerows([path, *(f"{p:.6f}" for p in answer)] for path, answer, _ in rows)


def _predict_table(rows, classes, arguments):
    width = max(map(len, classes))
    for path, answer, done in rows:
        leads = done["leads"]
        title = f"{path}, {len(leads)} lead{'s' if len(leads) > 1 else ''}: {' '.join(leads)}"
        if done["dropped"]:
            title += f" (dropped, flat or too many missing samples: {' '.join(done['dropped'])})"
        order = range(len(classes)) if arguments.classes else np.argsort(-answer, kind="stable")
        _say(
            title,
            *(
                f"{classes[k]:<{width}}  {answer[k]:.3f}  {'#' * round(30 * answer[k])}".rstrip()
                for k in order
            ),
        )
    path, answer, _ = rows[0]
    _next("plot", path, "--checkpoint", arguments.checkpoint, "--class", classes[int(np.argmax(answer))])


# ---- kmerl evaluate ----


def _evaluate_options(parser):
    add = parser.add_argument
    _add_checkpoint(parser)
    add("folder", metavar="FOLDER", help="recordings with a CSV of labels, or PTB-XL, CPSC2018 or CSN")
    add("--dataset", choices=("folder", "ptbxl", "cpsc2018", "csn"), help="default: what the folder looks like")
    add("--protocol", choices=("default", "merl"), help="merl: recordings as MERL prepares them; not with folder")
    add(
        "--labels",
        metavar="CSV",
        help="record, patient, split, a 0/1 column a class (default: labels.csv); of csn: exact (default) or merl",
    )
    add("--task", choices=("super", "sub", "form", "rhythm"), help="of PTB-XL (default: super)")
    add(
        "--leads",
        metavar="K|NAMES",
        type=_lead_choice,
        default=12,
        help="the first K, or names (default: 12)",
    )
    add("--sweep", action="store_true", help="the first 1, 2, ... 12 leads, and each single one")
    add(
        "--order",
        metavar="NAMES",
        type=_order,
        help="in which a sweep adds leads: paper (default), clinical, mimic, or lead names",
    )
    add(
        "--method",
        choices=("zero-shot", "linear-probe", "fine-tune"),
        default="zero-shot",
        help="ask for the classes by name (default), or train a linear layer on the frozen encoder, or both end to end",
    )
    trained = "for --method linear-probe and fine-tune: "
    add("--fraction", metavar="F", type=float, help=trained + "of the training recordings (default: 1; sweep: 0.01)")
    add("--seeds", metavar="N", type=int, help=trained + "repeat N times: mean and standard deviation")
    add("--epochs", metavar="N", type=int, help="for --method fine-tune (default: 50)")
    add("--lr", metavar="X", type=float, help="for --method fine-tune (default: 2e-4)")
    add("--state", metavar="FOLDER", help="for --method fine-tune: where it is kept, so that the same command goes on")
    add(
        "--score",
        choices=("probability", "cosine", "mean"),
        help="of zero-shot: the query network's (default), the cosine in contrast space, or both averaged",
    )
    add("--prompts", metavar="JSON", help="for the cosine: {class or code: text}, in place of the class names")
    add("--untrained", metavar="N", type=int, help="untrained models beside zero-shot (default: 5; 0: none)")
    add("--seen", metavar="C", type=float, help="cosine above which a class counts as seen (default: 0.95)")
    add("--compare", metavar="REPORT.json", help="a report made with --out: differences, with p values")
    add(
        "--part",
        choices=("test", "validation", "train", "all"),
        help="default: test; all where there is none",
    )
    add("--resamples", metavar="N", type=int, default=1000, help="of the bootstrap (default: 1000)")
    add("--seed", metavar="N", type=int, default=0, help="of the bootstrap (default: 0)")
    add(
        "--out",
        metavar="FILE",
        action="append",
        default=[],
        help=".json, .md, .csv (scores), .html (a page with pictures) or .png; repeat",
    )
    add("--html", metavar="FILE", help="the same as --out FILE.html")
    add("--json", action="store_true", help="print JSON")
    _add_quiet(parser)


def _evaluate(arguments):
    """Ask a model for every class of a labelled data set, or train a linear probe or all of it, and measure, with
    intervals over patients."""
    from kmerl import evaluate
    from kmerl import report as reports

    refuse = arguments.parser.error
    if arguments.html is not None:
        if not arguments.html.lower().endswith((".html", ".htm")):
            refuse(f"--html {arguments.html}: expected a name that ends in .html")
        arguments.out = [*arguments.out, arguments.html]
    for path in arguments.out:
        if not path.lower().endswith((".json", ".md", ".csv", ".html", ".htm", *PICTURES)):
            refuse(f"--out {path}: expected .json, .md, .csv, .html, .png, .pdf or .svg")
        if not pathlib.Path(path).absolute().parent.is_dir():  # before an evaluation that would be lost
            raise FileNotFoundError(f"--out {path}: the folder {str(pathlib.Path(path).parent)!r} does not exist")
    method = arguments.method.replace("-", "_")
    goes = {
        **dict.fromkeys(("fraction", "seeds"), ("linear-probe", "fine-tune")),
        **dict.fromkeys(("epochs", "lr", "state"), ("fine-tune",)),
        **dict.fromkeys(("score", "prompts", "untrained", "seen"), ("zero-shot",)),
    }
    own = {name: getattr(arguments, name) for name in goes if getattr(arguments, name) is not None}
    for name in own:
        if arguments.method not in goes[name]:
            refuse(f"--{name} goes with --method {' or '.join(goes[name])}")
    if arguments.sweep and method == "fine_tune":
        refuse("--sweep goes with --method zero-shot or linear-probe")
    if "state" in own:
        own["out"] = own.pop("state")
    if arguments.order is not None and not arguments.sweep:
        refuse("--order goes with --sweep; --leads takes names")
    if arguments.compare is not None and arguments.sweep:
        refuse("--compare goes without --sweep")
    other = reports.load(arguments.compare) if arguments.compare is not None else None
    if "prompts" in own:
        own["prompts"] = _prompts(own["prompts"])
    model, dataset = _model(arguments), _dataset(arguments)
    options = {**own, **{name: getattr(arguments, name) for name in ("part", "resamples", "seed")}}
    options["progress"] = not arguments.quiet
    if arguments.sweep:
        options |= {"method": method, "order": arguments.order or "paper", "single": True}
        found = evaluate.lead_sweep(model, dataset, **options)
    else:
        found = getattr(evaluate, method)(model, dataset, leads=arguments.leads, **options)
    compared = found.compare(other) if other is not None else None
    if arguments.json:
        print((found if compared is None else compared).to_json().rstrip())
    else:
        print(found.table())
        if compared is not None:
            print("", compared.table(), sep="\n")
    for path in arguments.out:
        _write_report(found, path)
    if not arguments.json:
        for path in arguments.out:
            _say(f"wrote {path}")
        given = [(name, getattr(arguments, name)) for name in ("dataset", "protocol", "labels", "task")]
        data = [word for name, value in given if value is not None for word in (f"--{name}", value)]
        probe = ["--method", arguments.method] if method == "linear_probe" else []
        sweep = [] if arguments.sweep else ["--sweep"]
        _next("evaluate", arguments.checkpoint, arguments.folder, *data, *probe, *sweep)


def _write_report(found, path):
    ending = pathlib.Path(path).suffix.lower()
    if ending in PICTURES:
        _save(found.plot(), path)
    elif ending == ".json":
        found.to_json(path, scores=True)
    else:
        {".md": found.to_markdown, ".csv": found.to_csv}.get(ending, found.to_html)(path)


def _prompts(path):
    """Texts for classes, from a JSON file."""
    found = kmerl.report.read_json(path)
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError(f"{path}: expected one object of a text for each class")
    return found


def _order(text):
    return text if text in ("paper", "clinical", "mimic") else _names(text)


def _dataset(arguments):
    from kmerl import datasets

    folder, kind = pathlib.Path(arguments.folder), arguments.dataset or "folder"
    guess = arguments.dataset is None and arguments.labels in (None, "exact", "merl")
    if guess and not (folder / (arguments.labels or "labels.csv")).is_file():
        if (folder / "ptbxl_database.csv").is_file():
            kind = "ptbxl"
        elif (folder / "ConditionNames_SNOMED-CT.csv").is_file():
            kind = "csn"
        elif any(folder.rglob("A0*.hea")):
            kind = "cpsc2018"
    owners = (
        ("--task", arguments.task, ("ptbxl",)),
        ("--labels", arguments.labels, ("folder", "csn")),
        ("--protocol", arguments.protocol, ("ptbxl", "cpsc2018", "csn")),
    )
    for option, value, belong in owners:
        if value is not None and kind not in belong:
            belongs = " or ".join(belong)
            arguments.parser.error(f"{option} goes with --dataset {belongs}, {folder} is read as {kind}")
    protocol = arguments.protocol or "default"
    if kind == "ptbxl":
        return datasets.ptbxl(folder, arguments.task or "super", protocol=protocol)
    if kind == "cpsc2018":
        return datasets.cpsc2018(folder, protocol=protocol)
    if kind == "csn":
        return datasets.csn(folder, arguments.labels or "exact", protocol=protocol)
    return datasets.folder(folder, labels=arguments.labels or "labels.csv")


# ---- kmerl ablate ----


def _ablate_options(parser):
    add = parser.add_argument
    add("store", metavar="STORE", nargs="?", help="what to pretrain on (default: the sample, with its own data set)")
    add("--table", metavar="NAME", required=True, help=f"{', '.join(kmerl.list_tables())}, or a file of your own")
    add("--data", metavar="KIND:FOLDER", action="append", help="what to measure on; may be given again: "
        "ptbxl (its four tasks), ptbxl-super, ptbxl-sub, ptbxl-form, ptbxl-rhythm, cpsc2018, csn, folder")  # fmt: skip
    add("--out", metavar="DIR", default="ablations", help="trainings and results (default: %(default)s); the same "
        "command goes on")  # fmt: skip
    add("--rows", metavar="NAMES", type=_names, help="only these rows")
    add("--seeds", metavar="N,N,...", type=_whole_numbers, help="of pretraining and probes (default: the table's)")
    add("--encoder", metavar="[NAME=]FOLDER", action="append", default=[], help="the store's text encoder, or one of "
        "Table 7b by the row's name")  # fmt: skip
    add("--extractor", metavar="NAME=URL,MODEL", action="append", default=[], help="a language model of Tables 7c, 8 "
        "and 9 by the row's name, behind an OpenAI-compatible server")  # fmt: skip
    add("--gold", metavar="CSV", help="for extraction accuracy: column report, and entities of the default vocabulary")
    add("--probe-epochs", metavar="N", type=int, help="of linear probes (default: the paper's 100)")
    add("--fine-tune-epochs", metavar="N", type=int, help="of networks trained from scratch (default: 50)")
    add("--resamples", metavar="N", type=int, default=1000, help="of the bootstrap (default: 1000)")
    _add_quiet(parser)
    _add_config(parser, without=("seed", "encoder"))


def _ablate(arguments):
    """Run a table of the paper: train every row, measure it on every data set, set it beside the paper's figures."""
    if (arguments.store is None) != (arguments.data is None):
        arguments.parser.error("STORE and --data go together: what to train on, and what to measure on")
    encoders = {}
    for text in arguments.encoder:
        name, _, folder = text.rpartition("=")
        encoders[name] = _text_encoder(folder)
    extractors = {}
    for text in arguments.extractor:
        name, found, server = text.partition("=")
        if not found or "," not in server:
            arguments.parser.error(f"--extractor {text}: expected NAME=URL,MODEL")
        extractors[name] = dict(zip(("base_url", "model"), server.split(",", 1), strict=True))
    epochs = {"probe": arguments.probe_epochs, "fine_tune": arguments.fine_tune_epochs}
    found = kmerl.ablate(
        arguments.table,
        arguments.store,
        arguments.data and [dataset for text in arguments.data for dataset in _data(text)],
        arguments.out,
        rows=arguments.rows,
        seeds=arguments.seeds,
        encoder=encoders.pop("", None),
        encoders=encoders or None,
        extractors=extractors,
        gold=arguments.gold and _gold(arguments.gold),
        **{name: {"epochs": number} for name, number in epochs.items() if number is not None},
        resamples=arguments.resamples,
        progress=not arguments.quiet,
        **_config(arguments),
    )
    print(found)
    for ending in ("json", "md", "html"):
        _say(f"wrote {os.path.join(arguments.out, found.table.name)}.{ending}")
    names = kmerl.list_tables()
    another = names[(names.index(found.table.name) + 1) % len(names)] if found.table.name in names else names[0]
    given = [] if arguments.store is None else [arguments.store]
    given += [word for text in arguments.data or () for word in ("--data", text)]
    _next("ablate", "--table", another, *given, "--out", arguments.out)


def _gold(path):
    """Reports and their entities, of the default vocabulary, as (texts, labels)."""
    table, vocabulary = Table(path), kmerl.Vocabulary.default()
    table.need("report")
    labels = np.zeros((len(table.rows), len(vocabulary)), np.uint8)
    for column in table.header:
        if column != "report":
            if column not in vocabulary:
                raise ValueError(f"--gold {path}: column {column!r} is no entity of {vocabulary.label}")
            bits = [table.bit(i, column) for i in range(len(table.rows))]
            labels[:, vocabulary.index(column)] |= np.array(bits, np.uint8)
    return [row["report"] for row in table.rows], labels


def _data(text):
    """The data sets of KIND:FOLDER."""
    from kmerl import datasets

    kind, _, folder = text.partition(":")
    tasks = {f"ptbxl-{task}": task for task in ("super", "sub", "form", "rhythm")}
    if kind == "ptbxl":
        return [datasets.ptbxl(folder, task) for task in tasks.values()]
    if kind in tasks:
        return [datasets.ptbxl(folder, tasks[kind])]
    if kind in ("cpsc2018", "csn", "folder"):
        return [getattr(datasets, kind)(folder)]
    kinds = f"ptbxl, {', '.join(tasks)}, cpsc2018, csn or folder"
    raise ValueError(f"--data {text}: expected KIND:FOLDER with KIND {kinds}")


# ---- kmerl plot ----


def _plot_options(parser):
    add = parser.add_argument
    add("record", metavar="RECORD", help="a WFDB record")
    add(
        "--checkpoint",
        metavar="CHECKPOINT",
        help=f"the model whose attention to show, with --class (default: {shipped.DEFAULT})",
    )
    add("--class", metavar="NAME", dest="finding", help="the finding whose attention to show")
    add("--leads", metavar="NAMES", type=_names, help="draw these leads only")
    add(
        "--layout", choices=("auto", "grid", "rows"), default="auto", help="3 x 4 and a rhythm strip, or rows"
    )
    add("--start", metavar="S", type=float, default=0.0, help="in seconds (default: 0)")
    add("--seconds", metavar="S", type=_seconds, default=10.0, help="to draw, or all (default: 10)")
    add("--out", metavar="FILE", help=".png, .pdf or .svg (default: the record's name with .png, here)")
    add("--encoder", metavar="FOLDER", help="text encoder, for a finding the checkpoint does not know")


def _plot(arguments):
    """Draw a recording on ECG paper, 25 mm/s and 10 mm/mV, with the attention of a finding behind it."""
    if arguments.finding is None and arguments.checkpoint is not None:
        arguments.parser.error("--checkpoint needs --class: attention to what")
    if arguments.finding is not None and arguments.checkpoint is None:
        arguments.checkpoint = _default_model(arguments)
    if arguments.out is not None and not arguments.out.lower().endswith(PICTURES):
        arguments.parser.error(f"--out {arguments.out}: expected .png, .pdf or .svg")
    record = kmerl.read_record(arguments.record)
    attention, segment = None, 0.2
    if arguments.checkpoint is not None:
        model = _model(arguments)
        attention = model.attend(record, arguments.finding)
        segment = model.config_.segment_samples / model.config_.fs
    figure = kmerl.plot_ecg(
        record,
        attention,
        leads=arguments.leads,
        layout=arguments.layout,
        start=arguments.start,
        seconds=arguments.seconds,
        finding=arguments.finding,
        segment_seconds=segment,
    )
    out = arguments.out or f"{record.name}.png"
    _save(figure, out)
    width, height = figure.get_size_inches() * 25.4
    _say(f"{out}: {record.name}, {width:.0f} x {height:.0f} mm")
    if attention is None:
        checkpoint = shipped.DEFAULT if shipped.DEFAULT in kmerl.list_models() else "CHECKPOINT"
        _next("plot", arguments.record, "--checkpoint", checkpoint, "--class", "atrial fibrillation")
    else:
        _next("predict", arguments.checkpoint, arguments.record)


def _save(figure, path):
    from kmerl.durable import writing

    drawn = io.BytesIO()
    figure.savefig(drawn, format=pathlib.Path(path).suffix[1:].lower())
    with writing(path) as file:
        file.write(drawn.getvalue())


# ---- kmerl models ----


def _models_options(parser):
    pass


def _models(arguments):
    """List the models that come with kmerl."""
    names = kmerl.list_models()
    if not names:
        print("no model comes with this kmerl")
        return
    for name in names:
        about, size = shipped.about(name)
        print(f"{name}  {size / 1e6:.1f} MB  {about}")
    _next("predict", names[0], "RECORD")


# ---- kmerl info ----


def _info_options(parser):
    parser.add_argument("path", metavar="PATH", help="a record, or any file or folder that kmerl made")


def _info(arguments):
    """Say what a file or folder is, and what is in it."""
    from kmerl.info import describe

    lines, following = describe(arguments.path)
    _say(*lines)
    _next(*following)


# ---- What verbs share ----


def _add_quiet(parser):
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _add_checkpoint(parser, more=""):
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help=f"a .safetensors file, or a name from kmerl models{more}")
    add("--encoder", metavar="FOLDER", help="text encoder, for classes the checkpoint does not know")


def _default_checkpoint(arguments):
    """Where no checkpoint stands before the records, the one that comes with kmerl."""
    first, records = arguments.checkpoint, arguments.records
    if first.endswith(".safetensors") or first in kmerl.list_models():
        if not records:
            arguments.parser.error("the following arguments are required: RECORD")
    elif not records or first.endswith(ENDINGS) or os.path.exists(f"{first}.hea"):
        arguments.checkpoint, arguments.records = _default_model(arguments), [first, *records]


def _default_model(arguments):
    if shipped.DEFAULT not in kmerl.list_models():
        arguments.parser.error(f"CHECKPOINT is missing, and {shipped.DEFAULT} does not come with this kmerl")
    return shipped.DEFAULT


def _model(arguments):
    model = kmerl.load_model(arguments.checkpoint)
    if arguments.encoder is not None:
        model.text_encoder = _text_encoder(arguments.encoder)
    return model


def _text_encoder(folder):
    return kmerl.sample_embeddings() if folder == "sample" else kmerl.TextEncoder.load(folder)


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
    """9,10,11 or, with weights, 9:0.5,10:0.25,11:0.25."""
    try:
        if ":" in text:
            parts = (part.split(":") for part in text.split(","))
            return {int(count): float(weight) for count, weight in parts}
        return tuple(int(count) for count in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 9,10,11 or 9:0.5,10:0.5") from None


def _whole_numbers(text):
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0,1,2") from None


def _two_numbers(text):
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0.9,0.999") from None
    return first, second


def _say(*lines, more=None):
    """The first line is what was done, the others belong to it."""
    for i, line in enumerate(lines):
        print(f"  {line}" if i else line)
    if more is not None:
        print(f"  {more}")


def _next(verb, *words):
    print(f"next: kmerl {verb} {' '.join(shlex.quote(str(word)) for word in words)}".rstrip())


# name: what it does, its options, how it runs, what is kept when it is interrupted
VERBS = {
    "demo": ("the whole path on the recordings that come with kmerl", _demo_options, _demo, _nothing),
    "simulate": (
        "simulated ECGs with reports, without end",
        _simulate_options,
        _simulate,
        lambda a: f"what {a.out} holds is kept, the same command writes it again",
    ),
    "store": (
        "recordings and reports into a store",
        _store_options,
        _store,
        lambda a: f"what {a.out} holds is kept, the same command goes on",
    ),
    "label": (
        "find entities in a store's reports",
        _label_options,
        _label,
        lambda a: "labels made before are kept, and the answers of a language model",
    ),
    "vocabulary": ("review a vocabulary's near-duplicates", _vocabulary_options, _vocabulary, _nothing),
    "embed": (
        "embed a store's reports and entities",
        _embed_options,
        _embed,
        lambda a: "what was embedded is kept, the same command goes on",
    ),
    "pretrain": (
        "train a model on a store",
        _pretrain_options,
        _pretrain,
        lambda a: f"{a.out}/last.safetensors is kept, the same command goes on",
    ),
    "models": ("the models that come with kmerl", _models_options, _models, _nothing),
    "predict": ("probabilities of classes for recordings", _predict_options, _predict, _nothing),
    "evaluate": ("figures on a labelled data set, zero-shot or trained on it", _evaluate_options, _evaluate, _nothing),
    "ablate": (
        "a table of the paper: every row trained and measured",
        _ablate_options,
        _ablate,
        lambda a: f"what {a.out} holds is kept, the same command goes on",
    ),
    "plot": ("a recording on ECG paper, with attention", _plot_options, _plot, _nothing),
    "info": ("what a file or folder is", _info_options, _info, _nothing),
}
