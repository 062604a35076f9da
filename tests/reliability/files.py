"""Every kind of file that kmerl reads, damaged, and opened as users do.

    python tests/reliability/files.py --count 20000 --seed 1
    python tests/reliability/files.py --seed 1 --only 4711

Case i takes a kind of file and damages it once to three times: bytes are flipped, cut, doubled, moved, overwritten with
extreme numbers; values in JSON (also in headers, in texts inside JSON and in databases) are exchanged for huge, negative,
wrong and deeply nested ones; numbers and words of text files are exchanged. The outcome must be a right answer or one of
the documented errors, without a warning, a hang, or memory that a file of a few kB cannot ask for: a child process does
the cases under a limit, and whatever ends it is told with the case's number."""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import numpy as np  # noqa: E402
from small import TINY, HashEncoder  # noqa: E402

import kmerl  # noqa: E402
import kmerl.fine_tuning  # noqa: E402
from kmerl import info, metrics, report, store_text  # noqa: E402
from kmerl.ablation_table import load_table  # noqa: E402
from kmerl.classifier import Classifier  # noqa: E402
from kmerl.llm_cache import AnswerCache  # noqa: E402
from kmerl.vocabulary_review import read_names  # noqa: E402
from kmerl.wfdb import write_record  # noqa: E402

DOCUMENTED = (ValueError, TypeError, LookupError, OverflowError, RuntimeError, ImportError, OSError)
MEMORY = 512 << 20      # bytes beyond what the child has before its first case; more is a fault, and so is a MemoryError
CPU = 15                # seconds of a case
WALL = 120              # the same, asleep or not
MEMORY_DISK = next((place for place in ("/dev/shm",) if os.access(place, os.W_OK)), None)     # syncs cost nothing there
CLASSES = ["sinus rhythm", "atrial fibrillation"]
MODEL = {**TINY, "masked_leads": (10,), "seconds": 0.4, "segment_samples": 50, "threads": 1, "epochs": 2}


# ---- damage ----------------------------------------------------------------------------------------------------

INTEGERS = (0, -1, 1, 2, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, -(2**31), -(2**63),
            10**40, 10**400)
NUMBERS = (*INTEGERS, 0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf"))
TEXTS = ("", " ", "0", "nan", "x", "\0", "\ud800", "ä" * 9, "../../x", "/etc/passwd", "a" * 70_000, "{a}", "[", "[" * 3000,
         "a|b " * 40, "(((", "null", '{"a": 1}', "9" * 5000, "%s %n {0}", "I", "mV", "CON", "1e999")
DEEP = "\x01deep"       # a text that becomes 100,000 nested lists


def nested(draw):
    return draw.choice(([], {}, [[]], [None] * 3, {"": None}, [1e308] * 50, list(range(5000)), {"a": {"b": {"c": []}}},
                        dict.fromkeys(map(str, range(2000))), DEEP))


def value(draw):
    kind = draw.random()
    return draw.choice(NUMBERS) if kind < 0.45 else draw.choice(TEXTS) if kind < 0.7 else \
        nested(draw) if kind < 0.85 else draw.choice((None, True, False))


def places(tree, found):
    """Every (container, key) in a JSON value."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            places(tree[key], found)
    return found


def damage_tree(draw, tree):
    """One change of a JSON value; texts that are JSON themselves are gone into."""
    found = places(tree, []) if isinstance(tree, (dict, list)) and tree else []
    if not found or draw.random() < 0.02:
        return value(draw)
    inner = [(holder, key) for holder, key in found if isinstance(holder[key], str) and holder[key][:1] in "{["]
    holder, key = draw.choice(inner if inner and draw.random() < 0.5 else found)
    here = holder[key]
    if isinstance(here, str) and here[:1] in ("{", "[") and draw.random() < 0.9:
        with contextlib.suppress(ValueError, RecursionError):
            holder[key] = dumped(damage_tree(draw, json.loads(here)))
            return tree
    how = draw.randrange(8)
    if how < 4:
        holder[key] = value(draw)
    elif how == 4:
        del holder[key]
    elif how == 5:
        other, name = draw.choice(found)
        if name in (other if isinstance(other, dict) else range(len(other))):
            holder[key] = json.loads(json.dumps(other[name]))
    elif isinstance(holder, list):
        holder.insert(draw.randrange(len(holder) + 1), value(draw) if how == 6 else here)
    else:
        holder[draw.choice(TEXTS) if how == 6 else draw.choice(list(holder)) + draw.choice(("", "x"))] = here
    return tree


def dumped(tree):
    return json.dumps(tree).replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000)


def damage_bytes(draw, data):
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        size = len(data)
        at = draw.randrange(size + 1) if draw.random() < 0.6 else draw.randrange(min(size, 256) + 1)
        length = min(draw.choice((1, 2, 4, 8, 33, 500, size // 3 + 1)), size - at)
        how = draw.randrange(9)
        if how < 3 and at < size:
            data[at] ^= 1 << draw.randrange(8)
        elif how == 3:
            del data[at:]
        elif how == 4:
            del data[at : at + length]
        elif how == 5:
            data[at:at] = data[at : at + length] * draw.choice((1, 1, 3, 40))
        elif how == 6:
            other = draw.randrange(size + 1)
            data[at : at + length] = data[other : other + length]
        elif how == 7:
            wide = draw.choice((1, 2, 4, 8))
            number = draw.choice(INTEGERS) & (1 << 8 * wide) - 1
            data[at : at + wide] = number.to_bytes(wide, draw.choice(("little", "big")))
        else:
            data[at : at + length] = bytes([draw.choice((0, 255, 32, 34, 10))]) * length
    return bytes(data)


def damage_text(draw, data):
    """Exchanges, doubles or drops a word or a line."""
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(draw.choice((1, 1, 2, 4))):
        lines = text.split("\n")
        at = draw.randrange(len(lines))
        how = draw.randrange(8)
        words = lines[at].replace(",", " , ").replace("/", " / ").split(" ")
        if how == 0:
            del lines[at]
        elif how == 1:
            lines.insert(draw.randrange(len(lines) + 1), lines[at])
        elif how < 7:
            i = draw.randrange(len(words))
            words[i] = str(value(draw)) if how < 5 else draw.choice(draw.choice(lines).split(" ") or [""])
            lines[at] = " ".join(words).replace(" , ", ",").replace(" / ", "/")
        else:
            lines[at] += draw.choice((" ", ",", "\t", '"', "#", "\r")) + str(value(draw))
        text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass") if draw.random() < 0.5 else text.encode("utf-8", "replace")


def damage_json(draw, data):
    return dumped(damage_tree(draw, json.loads(data))).encode()


def damage_tensors(draw, data):
    """The header's JSON with its length set right, or a number that is none."""
    length = int.from_bytes(data[:8], "little")
    if draw.random() < 0.2:
        body = bytearray(data)
        at = 8 + length + 4 * draw.randrange(max(1, (len(data) - 8 - length) // 4))
        body[at : at + 4] = np.float32(draw.choice((np.nan, np.inf, -np.inf, 3e38, 1e-45))).tobytes()
        return bytes(body)
    text = damage_json(draw, data[8 : 8 + length])
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def damage_database(draw, path):
    """One cell, row or table of an SQLite file, by SQL."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if not tables:
            return
        table = draw.choice(tables if draw.random() < 0.5 else [t for t in tables if t == "meta"] or tables)
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        how = draw.random()
        if how < 0.05:
            db.execute(f"DROP TABLE {table}")
        elif how < 0.08:
            db.execute(f"PRAGMA {draw.choice(('user_version', 'application_id'))} = {draw.choice((0, 7, 2**31 - 1))}")
        elif rows:
            row, column = draw.choice(rows), draw.choice(columns)
            if column == columns[0] and len(columns) > 1 and draw.random() < 0.7:
                column = draw.choice(columns[1:])
            where, old = (columns[0], row[0]), row[columns.index(column)]
            new = value(draw)
            if isinstance(old, str) and old[:1] in ("{", "[") and draw.random() < 0.9:
                new = dumped(damage_tree(draw, json.loads(old)))
            elif isinstance(old, bytes):
                new = damage_bytes(draw, old)
            elif isinstance(new, (list, dict, bool)) or new is not None and isinstance(new, int) and abs(new) >= 2**63:
                new = dumped(new)
            if isinstance(new, str):
                new = new.encode("utf-8", "replace").decode()
            with contextlib.suppress(sqlite3.IntegrityError):
                if how < 0.15:
                    db.execute(f"DELETE FROM {table} WHERE {where[0]} = ?", where[1:])
                else:
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE {where[0]} = ?", (new, where[1]))


def damage(draw, path):
    """Damages a file in place, in a way that its kind calls for or in any."""
    ending, data = path.suffix, path.read_bytes()
    if draw.random() < 0.35 or not data:
        path.write_bytes(damage_bytes(draw, data))
    elif ending in (".json", ".jsonl") and draw.random() < 0.85:
        lines = data.split(b"\n") if ending == ".jsonl" else [data]
        at = draw.randrange(max(1, len(lines) - 1))
        with contextlib.suppress(ValueError, RecursionError):
            lines[at] = damage_json(draw, lines[at])
        path.write_bytes(b"\n".join(lines))
    elif ending == ".safetensors":
        with contextlib.suppress(ValueError, RecursionError):
            path.write_bytes(damage_tensors(draw, data))
    elif ending == ".sqlite":
        with contextlib.suppress(sqlite3.DatabaseError, ValueError, RecursionError):
            damage_database(draw, path)
    elif ending in (".npy", ".dat", ".mat"):
        path.write_bytes(damage_bytes(draw, data))
    else:
        path.write_bytes(damage_text(draw, data))


# ---- the kinds of files ----------------------------------------------------------------------------------------

KINDS = {}


def kind(weight, *patterns):
    """Registers how a kind is opened: files of its folder that match a pattern are damaged, more often with more
    weight."""

    def register(call):
        KINDS[call.__name__] = (call, patterns, weight)
        return call

    return register


SIGNAL = (np.sin(np.arange(200) / 7)[None] * np.array([[1], [0.5]])).astype(np.float32)


def answered(p, shape):
    assert p.shape == shape and np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all(), p


@kind(6, "*.safetensors")
def checkpoint(folder):
    model = kmerl.load_model(folder / "model.safetensors")
    info.describe(folder / "model.safetensors")
    answered(model.predict_proba(SIGNAL, CLASSES, leads=["I", "II"], fs=500), (2,))
    assert np.isfinite(model.encode(SIGNAL, ["I", "II"], 500)).all()


@kind(1, "*.safetensors")
def head(folder):
    found = Classifier.load(folder / "head.safetensors")
    answered(found.predict_proba(SIGNAL, ["I", "II"], 500), (len(found.classes),))


@kind(2, "last.safetensors", "log.jsonl", "config.json")
def run(folder):
    info.describe(folder / "run")
    model = kmerl.KMERL(**MODEL)
    model.fit(kmerl.Store.open(folder / "store"), out=folder / "run", max_steps=2, progress=False)
    assert all(np.isfinite(x).all() for x in model.parameters().values())


@kind(10, "*")
def store(folder):
    with kmerl.Store.open(folder / "store") as found:
        str(found.describe()), found.split, found.skipped, found.patients, found.reports, found.fingerprint()
        assert len(found.labels) == len(found), found.labels.shape
        assert np.isin(found.labels, (0, 1)).all()
        found.verify(progress=False)
        for record in found:
            assert record.signal.ndim == 2 and len(record.leads) == len(record.signal)
        found.vocabulary, found.entities, str(found.prevalence()), found.cooccurrence()
        corpus = found.corpus()
        assert np.isfinite(corpus["embeddings"]).all() and np.isfinite(corpus["entities"]).all()
        kmerl.sample_batch(found, range(len(found)))
        info.describe(folder / "store")


@kind(2, "*")
def relabelled(folder):
    found = kmerl.Store.open(folder / "store")
    found.label(kmerl.Vocabulary(map(kmerl.Entity, CLASSES)), progress=False)
    found.embed(HashEncoder(), progress=False)
    assert np.isin(found.labels, (0, 1)).all() and np.isfinite(found.corpus()["embeddings"]).all()


@kind(3, "*")
def unfinished(folder):
    assert len(made_store(folder / "store", executor=Here())) == 6


@kind(1, "*")
def embedding(folder):
    found = kmerl.Store.open(folder / "store").embed(HashEncoder(), progress=False)
    assert np.isfinite(found.corpus()["embeddings"]).all()


@kind(3, "*.json")
def configuration(folder):
    config = kmerl.Config.from_json((folder / "config.json").read_text())
    assert kmerl.Config.from_json(config.to_json()) == config


@kind(5, "*.json")
def vocabulary(folder):
    found = kmerl.Vocabulary.load(folder / "vocabulary.json")
    kmerl.extract(["Sinus rhythm. No AV block. Possible infarct, old.", ""], vocabulary=found, details=True)
    assert kmerl.Vocabulary.from_json(found.to_json()) == found


@kind(3, "*.json")
def phrases(folder):
    found = kmerl.Phrases.load(folder / "phrases.json")
    read = kmerl.Vocabulary([kmerl.Entity("sinus rhythm")]).with_phrases(found)
    kmerl.extract(["No sinus rhythm. Possible sinus rhythm"], vocabulary=read, details=True)


@kind(1, "*")
def names(folder):
    found = read_names(folder / "names.txt")
    kmerl.apply_review(found, folder / "review.csv")


@kind(4, "*.json")
def evaluation(folder):
    found = report.load(folder / "report.json")
    str(found), found.to_markdown(), found.to_html(), found.to_csv(), found.to_dict(scores=True)
    found.compare(found, resamples=10)


@kind(3, "*.json")
def ablation(folder):
    found = load_table(folder / "table.json")
    assert found.rows and found.columns


@kind(3, "*.sqlite")
def cache(folder):
    found = AnswerCache(folder / "llm.sqlite")
    with contextlib.closing(found):
        answer = found.get("model", "p", "00ff")
        assert answer is None or isinstance(answer, (str, bytes, int, float)), answer
        found.about("model", ["p", "q"])
        found.put("extract", "model", "p", "00fe", "{}", "model-1", (3, 4))


@kind(6, "*.hea", "*.dat", "*.mat")
def recording(folder):
    for name in ("a", "b"):
        for verify in (True, False):
            with contextlib.suppress(*DOCUMENTED):
                found = kmerl.read_record(folder / name, verify=verify)
                assert found.signal.shape[0] == len(found.leads) > 0 and found.fs > 0
    records = [folder / "a", folder / "b"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*were skipped")
        kmerl.Store.create(folder / "made", records, seconds=0.4, progress=False)
    info.describe(folder / "a.hea")


@kind(4, "*.safetensors", "*.json", "*.txt")
def text_encoder(folder):
    found = kmerl.TextEncoder.load(folder / "bert")
    x = found.embed(["sinus rhythm", "", "ST-Hebung"], threads=1)
    assert x.shape == (3, found.width) and np.isfinite(x).all()


@kind(2, "*.safetensors")
def embeddings(folder):
    found = kmerl.TextEmbeddings.load(folder / "embeddings.safetensors")
    x = found.embed(found.texts[:2], found.poolings[0])
    assert x.shape == (min(2, len(found)), found.width) and np.isfinite(x).all()


@kind(2, "*.csv", "*.hea")
def dataset(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = kmerl.datasets.folder(folder)
    assert np.isin(found.labels, (0, 1)).all() and found.labels.shape == (len(found), len(found.classes))
    found[0]


@kind(2, "*.csv")
def mimic(folder):
    found = kmerl.datasets.mimic_iv_ecg(folder, min_words=1)
    assert len(found) and found[0].report


@kind(3, "*.safetensors")
def fine_tuning(folder):
    report = tuned(folder / "tuned")
    answered(report.scores, (2, 2))
    answered(report.classifier.predict_proba(SIGNAL, ["I", "II"], 500), (2,))


@kind(4, "ablation.json", "extraction.json", "linear_probe*.json", "zero_shot*.json")
def workspace(folder):
    gold = ["sinus rhythm"], np.zeros((1, len(kmerl.Vocabulary.default())), np.uint8)
    found = measured(folder, gold=gold)
    str(found), found.to_markdown(), found.to_html(), found.to_json()
    for row in found.rows:
        for column in row["columns"].values():
            assert not np.isinf(column["average"]["estimate"])


class Few(kmerl.datasets.Dataset):
    """Six recordings of two leads, two of them in each part."""

    def __init__(self):
        parts = {"train": np.arange(2), "validation": np.arange(2, 4), "test": np.arange(4, 6)}
        labels = np.array([[1, 0], [0, 1]] * 3, np.uint8)
        super().__init__("few", [f"r{i}" for i in range(6)], labels, CLASSES, [f"p{i}" for i in range(6)], parts)

    def __getitem__(self, index):
        return made_records()[index]


def tuned(folder):
    """A fine-tuning of three epochs that goes on in the folder."""
    return kmerl.evaluate.fine_tune(kmerl.KMERL(**MODEL).initialize(24), Few(), leads=["I", "II"], epochs=3, batch_size=2,
                                    out=folder, resamples=2, progress=False)


def measured(folder, **options):
    """A table in an ablation's folder: trained, measured and read where it is not there yet."""
    given = {name: value for name, value in MODEL.items() if name != "seed"}
    return kmerl.ablate(folder / "table.json", folder / "store", Few(), folder / "out", resamples=2,
                        probe={"epochs": 2}, progress=False, **{**given, "epochs": 1, **options})


class Here:
    """An executor that works at once: no child processes under the limit."""

    class Done:
        def __init__(self, result):
            self.result = lambda: result

    def submit(self, function, task):
        return self.Done(function(task))


def made_records(count=6):
    return [kmerl.Record(np.round(SIGNAL * (1 + i / 9), 3) + np.float32(i % 2) / 1000, 500, ["I", "II"], name=f"r{i}",
                         report=f"{'Sinus rhythm' if i % 2 else 'Atrial fibrillation'}, tracing {i // 2}.", patient=f"p{i // 2}")
            for i in range(count)]


def made_store(folder, records=None, **options):
    return kmerl.Store.create(folder, records or made_records(), seconds=0.4, validation=0.3, progress=False, **options)


def pristine(top):
    """A folder a kind, with right files in it."""
    from test_report import example
    from test_text import make_folder

    for name in KINDS:
        (top / name).mkdir()
    entities = [entity for entity in kmerl.Vocabulary.default().entities if entity.name in CLASSES]
    small = kmerl.Vocabulary([kmerl.Entity(e.name, e.synonyms[:3], (), {}, {"en": e.synonyms[:3]}) for e in entities]
                             + [kmerl.Entity("rhythm", patterns=("cardiac|heart [sinus]~rhythm",))], name="small")
    made = made_store(top / "store" / "store").label(small, progress=False).embed(HashEncoder(), progress=False)
    model = kmerl.KMERL(**MODEL)
    model.fit(made, out=top / "run" / "run", max_steps=1, progress=False)
    model.save(top / "checkpoint" / "model.safetensors")
    head = kmerl.checkpoint.Head(CLASSES, ["I", "II"], np.ones((2, 64), np.float32) / 64, np.zeros(2, np.float32))
    Classifier(model, head).save(top / "head" / "head.safetensors")
    for name in ("run", "relabelled", "embedding", "workspace"):
        shutil.copytree(top / "store" / "store", top / name / "store")
    broken_off(top)
    (top / "workspace" / "table.json").write_text(json.dumps({
        "table": "mine", "title": "Mine", "rows": [{"name": "plain"}], "columns": [
            {"name": "2 leads", "evaluation": "zero_shot", "leads": 2},
            {"name": "known", "evaluation": "zero_shot", "leads": 2, "metric": "f1", "classes": "seen"},
            {"name": "probe", "evaluation": "linear_probe", "leads": 2, "fraction": 1.0},
            {"name": "texts", "evaluation": "extraction"}]}))
    measured(top / "workspace")
    (done,) = (top / "workspace" / "out" / "runs").iterdir()
    (done / "extraction.json").write_text('{"accuracy": 0.9, "precision": 0.8, "recall": null, "reports": 1}')
    (top / "configuration" / "config.json").write_text(kmerl.Config().to_json())
    full = kmerl.Vocabulary([kmerl.Entity("conduction"), *(kmerl.Entity(
        e.name, e.synonyms[:4], ("conduction",), e.codes, {"en": e.synonyms[:4]}, ("[{side}] a~b|c <d>",)) for e in entities)],
        words={"side": ["left", "right"]}, name="full", aside=[kmerl.Entity("pacemaker")])
    full.save(top / "vocabulary" / "vocabulary.json")
    data = json.loads(kmerl.Phrases.default().to_json())
    short = {key: {k: v[:6] for k, v in part.items()} if isinstance(part, dict) else part[:6] if isinstance(part, list)
             else part for key, part in data.items() if key != "words"} | {"words": data["words"]}
    (top / "phrases" / "phrases.json").write_text(json.dumps(short))
    (top / "names" / "names.txt").write_text("sinus rhythm\natrial fibrillation\nflutter\n")
    (top / "names" / "review.csv").write_text("keep,merge,decision\natrial fibrillation,flutter,merge\n")
    example(n=8, resamples=10).to_json(top / "evaluation" / "report.json", scores=True)
    shutil.copy(Path(kmerl.__file__).parent / "ablations" / "2c.json", top / "ablation" / "table.json")
    answers = AnswerCache(top / "cache" / "llm.sqlite")
    for i in range(3):
        answers.put("extract", "model", "p", f"00{253 + i:02x}", '{"entities": ["x"]}', "model-1", (3, 4))
    answers.close()
    record = made_records(1)[0]
    for folder, name in (("recording", "a"), ("dataset", "r1"), ("dataset", "r2")):
        write_record(top / folder / name, record)
    matlab = np.array([30, 2, 200, 0, 4], "<u4").tobytes() + b"val\0"
    (top / "recording" / "b.mat").write_bytes(matlab + np.rint(SIGNAL * 1000).astype("<i2").T.tobytes())
    (top / "recording" / "b.hea").write_text("b 2 500 200 12-Apr-2019 12:00:00\nb.mat 16+24 1000/mV 16 0 0 0 0 I\n"
                                             "b.mat 16+24 1000(0)/mV 16 0 0 0 0 II\n#Age: 40\n#Dx: 426783006\n")
    (top / "dataset" / "labels.csv").write_text("record,patient,split,sinus rhythm\nr1,p1,test,1\nr2,p2,train,0\n")
    with contextlib.suppress(ImportError):
        import tokenizers  # noqa: F401

        make_folder(top / "text_encoder" / "bert", do_lower_case=True)
    texts = ["sinus rhythm", "atrial fibrillation", "x"]
    kmerl.TextEmbeddings(texts, {p: HashEncoder().embed(texts, p) for p in ("mean", "cls")}, id="hash-24").save(
        top / "embeddings" / "embeddings.safetensors")
    write_record(top / "mimic" / "s1", record)
    columns = ",".join(f"report_{k}" for k in range(18))
    (top / "mimic" / "record_list.csv").write_text("subject_id,study_id,file_name,ecg_time,path\n7,11,s1,x,s1\n8,12,s2,x,s2\n")
    (top / "mimic" / "machine_measurements.csv").write_text(
        f"subject_id,study_id,{columns}\n7,11,Sinus rhythm{',' * 17}\n8,12,Atrial fibrillation{',' * 17}\n")


def broken_off(top):
    """A store that is being built, one that is being embedded, and a fine-tuning after its first of three epochs."""
    validated = kmerl.fine_tuning._Training._validate

    def validate(training):
        if training.scores:
            raise KeyboardInterrupt
        validated(training)

    def some(count):
        yield from made_records()[:count]
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        made_store(top / "unfinished" / "store", some(3))
    store_text.CHUNK, calls = 1, []

    class Stops(HashEncoder):
        def embed(self, texts, pooling="mean"):
            calls.append(texts)
            if len(calls) > 4:
                raise KeyboardInterrupt
            return super().embed(texts, pooling)

    with contextlib.suppress(KeyboardInterrupt), mock.patch.object(
            kmerl.fine_tuning._Training, "_validate", autospec=True, side_effect=validate):
        tuned(top / "fine_tuning" / "tuned")
    found = kmerl.Store.open(top / "embedding" / "store").label(progress=False)
    with contextlib.suppress(KeyboardInterrupt):
        found.embed(Stops(), progress=False)


# ---- cases -----------------------------------------------------------------------------------------------------


def files_of(folder, patterns):
    return sorted({path for pattern in patterns for path in folder.rglob(pattern)
                   if path.is_file() and path.name != "lock" and not path.name.endswith("-journal")})


def case(seed, number, sources, work, kinds=None):
    """Does one case, of `kinds` where they are given; (kind, file, outcome), or raises what is no documented outcome."""
    draw = random.Random(f"{seed}:{number}")
    names = [name for name in kinds or KINDS if files_of(sources / name, KINDS[name][1])]
    name = draw.choices(names, [KINDS[name][2] for name in names])[0]
    call, patterns, _ = KINDS[name]
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(sources / name, work)
    chosen = draw.choice(files_of(work, patterns))
    for _ in range(draw.choice((1, 1, 2, 3))):
        damage(draw, chosen)
    note = f"{name}: {chosen.relative_to(work)}"
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", metrics.UndefinedMetricWarning)
            warnings.simplefilter("ignore", ResourceWarning)
            warnings.filterwarnings("ignore", message=".*steps were no update")     # of a run that says it had such
            call(work)
    except DOCUMENTED as error:
        assert str(error).strip(), f"{note}: {type(error).__name__} without a word"
        return note, type(error).__name__
    except BaseException as error:
        error.args = (f"{note}: {error.args[0] if error.args else ''}", *error.args[1:])
        raise
    return note, "taken"


def child(seed, numbers, top, say, kinds=None):
    """Does cases under limits; tells each before and after."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    for number in numbers:
        say(f"begin {number}")
        signal.setitimer(signal.ITIMER_PROF, CPU)
        note, outcome = case(seed, number, top / "pristine", top / "work", kinds)
        signal.setitimer(signal.ITIMER_PROF, 0)
        say(f"end {outcome} {note}")


def campaign(count, seed, say=print, only=None, kinds=None):
    """{kind: {outcome: how often}}; AssertionError that names every case with another outcome."""
    faults, outcomes, number = [], {}, 0 if only is None else only
    last = count if only is None else only + 1
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        top = Path(folder)
        (top / "pristine").mkdir()
        pristine(top / "pristine")
        for name, (call, patterns, _) in KINDS.items():     # undamaged all of them are taken
            if files_of(top / "pristine" / name, patterns):
                shutil.copytree(top / "pristine" / name, top / "work")
                call(top / "work")
                shutil.rmtree(top / "work")
        while number < last:
            command = [sys.executable, __file__, "--child", folder, "--seed", str(seed), "--from", str(number),
                       "--count", str(last), *(["--kinds", *kinds] if kinds else [])]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
                lines, how = watched(process)
            for line in lines:
                what, _, rest = line.partition(" ")
                if what == "end":
                    outcome, _, note = rest.partition(" ")
                    told = outcomes.setdefault(note.partition(":")[0], {})
                    told[outcome] = told.get(outcome, 0) + 1
                    number += 1
            if number < last:
                if not lines:
                    raise AssertionError(f"the child did not begin: {how}")
                faults.append(f"--seed {seed} --only {number}: {how}")
                say(faults[-1])
                number += 1
    if faults:
        raise AssertionError(f"{len(faults)} of {count} cases:\n" + "\n".join(faults))
    taken = sum(told.get("taken", 0) for told in outcomes.values())
    done = sum(sum(told.values()) for told in outcomes.values())
    say(f"{done} damaged files of {len(outcomes)} kinds, seed {seed}: {taken} taken, {done - taken} refused")
    return outcomes


def watched(process):
    """The child's lines, and how it ended, in words."""
    errors = tempfile.TemporaryFile()
    buffer, ends, since = b"", {process.stdout, process.stderr}, time.monotonic()
    hung = False
    while ends:
        ready, _, _ = select.select(list(ends), [], [], 5)
        for end in ready:
            data = os.read(end.fileno(), 65536)
            if not data:
                ends.discard(end)
            elif end is process.stdout:
                buffer, since = buffer + data, time.monotonic()
            else:
                errors.write(data)
        if time.monotonic() - since > WALL:
            process.kill()
            hung = True
            break
    code = process.wait()
    errors.seek(0)
    told = errors.read().decode("utf-8", "replace").strip().splitlines()
    names = {-signal.SIGPROF: f"no end after {CPU} s of processor time"}
    how = f"no end after {WALL} s" if hung else names.get(code, f"signal {-code}" if code < 0 else f"exit status {code}")
    return buffer.decode().splitlines(), how + (": " + " | ".join(told[-3:]) if told else "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, metavar="KIND", help=f"these alone: {', '.join(KINDS)}")
    parser.add_argument("--only", type=int, help="this case alone")
    parser.add_argument("--here", action="store_true", help="in this process, with a traceback (with --only)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--from", dest="first", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.seed, range(arguments.first, arguments.count), Path(arguments.child),
              lambda line: os.write(1, (line + "\n").encode()), arguments.kinds)
    elif arguments.here:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "pristine").mkdir()
            pristine(Path(folder) / "pristine")
            print(case(arguments.seed, arguments.only, Path(folder) / "pristine", Path(folder) / "work", arguments.kinds))
    else:
        print(f"seed {arguments.seed}", flush=True)
        campaign(arguments.count, arguments.seed, only=arguments.only, kinds=arguments.kinds)
