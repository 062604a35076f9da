"""A store's labels and text embeddings: made once for each distinct report, exchanged as a whole when
complete."""

import contextlib
import hashlib
import json
import os

import numpy as np

from . import durable, store_build
from . import store_format as fmt
from .phrases import Phrases
from .progress import Progress

CHUNK = 1024  # reports between two times of keeping what was done
NEW_LABELS = "labels.npy"  # until the hash in their name is known
PROGRESS_FILE = "embedding.json"  # of an unfinished embedding: its key, and how many reports are done


# ---- labels ------------------------------------------------------------------------------------------------


def label(
    store, vocabulary, *, extractor, hedged, superclasses, merge_synonyms, hold_out, phrases, progress
):
    from .labelling import Labelling
    from .vocabulary import Vocabulary

    if vocabulary is not None and not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"vocabulary is a {type(vocabulary).__name__}, expected a kmerl.Vocabulary")
    if hedged not in ("drop", "keep"):
        raise ValueError(f"hedged is {hedged!r}, expected 'drop' or 'keep'")
    for name, switch in (("superclasses", superclasses), ("merge_synonyms", merge_synonyms)):
        if not isinstance(switch, (bool, np.bool_)):
            raise TypeError(f"{name} is {switch!r}, expected True or False")
    if isinstance(hold_out, str):
        raise TypeError(f"hold_out must be a list of names, got the single text {hold_out!r}")
    hold_out = list(hold_out)
    if phrases is not None and extractor != "lexicon":
        raise ValueError('phrases go with extractor="lexicon"; another reads texts in its own way')
    if phrases is not None and not isinstance(phrases, Phrases):
        phrases = Phrases.load(phrases)
    if store._empty_reports() == len(store):
        raise ValueError(
            f"store {store.path!r}: none of its {len(store):,} recordings has a report, so there is nothing "
            "to learn; make the store with reports"
        )
    reports = store._reports
    per_report = np.bincount(store._index["report"], minlength=reports)

    with durable.FolderLock(store.path, "store"):
        if hasattr(extractor, "in_folder"):  # a language model's answers are kept in the store
            extractor = extractor.in_folder(store.path)
        if vocabulary is None and hasattr(extractor, "mine_vocabulary"):
            vocabulary = extractor.mine_vocabulary(store.reports, hedged=hedged, progress=progress)
        elif vocabulary is None:
            vocabulary = Vocabulary.default()
        if phrases is not None:
            vocabulary = vocabulary.with_phrases(phrases)
        held_out = list(dict.fromkeys(vocabulary[name].name for name in hold_out))
        if held_out:
            vocabulary = vocabulary.without(held_out)

        def chunks():
            with Progress(reports, "survey", "reports", show=progress) as bar:
                for start in range(0, reports, CHUNK):
                    texts = chunk(store, start)
                    yield texts
                    bar.update(len(texts))

        if hasattr(extractor, "prepare"):
            reading = vocabulary if superclasses and merge_synonyms else vocabulary.unlinked()
            extractor.prepare(store.reports, reading, progress)
        labelling = Labelling(vocabulary, extractor, hedged, bool(superclasses), bool(merge_synonyms), chunks)
        vocabulary = labelling.vocabulary
        names = list(vocabulary)
        text = vocabulary.to_json()
        positive = np.zeros((2, len(names)), np.int64)  # reports, recordings
        sha = hashlib.sha256(text.encode())
        with durable.writing(os.path.join(store.path, NEW_LABELS)) as file:
            file.write(fmt.npy_header("u1", (reports, len(names))))
            with Progress(reports, "label", "reports", show=progress) as bar:
                for start in range(0, reports, CHUNK):
                    texts = chunk(store, start)
                    rows = labelling.rows(texts)
                    file.write(rows)
                    sha.update(rows)
                    positive[0] += rows.sum(axis=0, dtype=np.int64)
                    positive[1] += per_report[start : start + len(texts)] @ rows.astype(np.int64)
                    bar.update(len(texts))
        file_name = f"labels-{sha.hexdigest()[:12]}.npy"
        os.replace(os.path.join(store.path, NEW_LABELS), os.path.join(store.path, file_name))
        about = {
            "file": file_name,
            "entities": len(names),
            "extractor": extractor if isinstance(extractor, str) else extractor_name(extractor),
            "hedged": hedged,
            "vocabulary_name": vocabulary.name,
            "vocabulary_sha256": vocabulary.hash,
            "superclasses": bool(superclasses),
            "merge_synonyms": bool(merge_synonyms),
            "hold_out": held_out,
            "phrases_name": vocabulary.phrases.name,
            "phrases_sha256": vocabulary.phrases.hash,
            "sha256": sha.hexdigest(),
        }
        if hasattr(extractor, "provenance"):
            about["provenance"] = extractor.provenance()

        def change(db):
            db.execute("DELETE FROM entities")
            rows = ((i, name, int(positive[0, i]), int(positive[1, i])) for i, name in enumerate(names))
            db.executemany("INSERT INTO entities VALUES (?, ?, ?, ?)", rows)
            put(db, labels=about, vocabulary=text)

        exchange(store, change)


def extractor_name(extractor):
    return str(getattr(extractor, "id", None) or type(extractor).__name__)


def chunk(store, start):
    """The texts of CHUNK reports from `start`."""
    return store._texts("reports", min(CHUNK, store._reports - start), start=start)


def sha256(*texts):
    h = hashlib.sha256()
    for text in texts:
        data = text.encode()
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()


def put(db, **values):
    for key, value in values.items():
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))


def exchange(store, change):
    """Writes the database with a change, and removes the files that it does not name any more."""
    name = os.path.join(store.path, fmt.DATABASE)
    with fmt.database_errors(name):
        with contextlib.closing(fmt.connect(name, write=False)) as db:
            store_build.replace_database(db, store.path, change)
        with contextlib.closing(fmt.connect(name, write=False)) as db:
            meta = {k: json.loads(v) for k, v in db.execute("SELECT key, value FROM meta")}
    used = {meta.get("labels", {}).get("file")}
    used |= {meta.get("embeddings", {}).get(key) for key in ("reports", "texts")}
    for entry in os.listdir(store.path):
        if entry.startswith(("labels", "reports-", "texts-")) and entry not in used:
            os.unlink(os.path.join(store.path, entry))


# ---- embeddings --------------------------------------------------------------------------------------------


def check_encoder(encoder, report_pooling, query_pooling):
    """Refuses what cannot embed with these poolings."""
    for name in ("embed", "id", "width"):
        if not hasattr(encoder, name):
            raise TypeError(
                f"encoder is a {type(encoder).__name__} without .{name}, expected a kmerl.TextEncoder"
            )
    for name, pooling in (("report_pooling", report_pooling), ("query_pooling", query_pooling)):
        known = getattr(encoder, "poolings", None)
        if not isinstance(pooling, str) or (known is not None and pooling not in known):
            expected = (
                "a text" if known is None else f"one of {', '.join(map(repr, known))} (what {encoder.id} has)"
            )
            raise ValueError(f"{name} is {pooling!r}, expected {expected}")


def embed(store, encoder, *, report_pooling, query_pooling, progress):
    check_encoder(encoder, report_pooling, query_pooling)
    texts = names_to_embed(store.vocabulary, encoder)
    identity = json.dumps([str(encoder.id), report_pooling, query_pooling, store._meta["fingerprint"]])
    key = sha256(identity, *texts)[:12]
    reports_name, texts_name = f"reports-{key}.npy", f"texts-{key}.npy"
    width = int(encoder.width)

    with durable.FolderLock(store.path, "store"):
        names = np.stack([vectors(encoder, texts, pooling) for pooling in (query_pooling, report_pooling)])
        with durable.writing(os.path.join(store.path, texts_name)) as file:
            file.write(fmt.npy_header("<f4", names.shape))
            file.write(names)
        embed_reports(store, encoder, report_pooling, key, reports_name, progress)
        sha = hashlib.sha256(names)
        with open(os.path.join(store.path, reports_name), "rb") as file:
            while data := file.read(1 << 20):
                sha.update(data)
        about = {
            "encoder": str(encoder.id),
            "width": width,
            "report_pooling": report_pooling,
            "query_pooling": query_pooling,
            "reports": reports_name,
            "texts": texts_name,
            "sha256": sha.hexdigest(),
            "vocabulary_name": store.vocabulary.name,
        }

        def change(db):
            db.execute("DELETE FROM texts")
            db.executemany("INSERT INTO texts VALUES (?, ?)", enumerate(texts))
            put(db, embeddings=about)

        exchange(store, change)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(store.path, PROGRESS_FILE))


def names_to_embed(vocabulary, encoder):
    """Distinct texts: canonical names first, then synonyms, names set aside (held out: asked as unseen texts)
    and class names; of an encoder with a fixed list of texts only those of the latter that it has."""
    from .classes import class_names

    names = list(vocabulary)
    more = [synonym for name in names for synonym in vocabulary[name].synonyms]
    more += [name for entity in vocabulary.aside for name in (entity.name, *entity.synonyms)]
    more += [name for task in class_names().values() for name in task.values()]
    if hasattr(encoder, "__contains__"):
        more = [text for text in more if text in encoder]
    return list(dict.fromkeys(names + more))


def vectors(encoder, texts, pooling, first_report=None):
    """(n, width) float32, checked.

    With `first_report`, the number of the first in `Store.reports`, the texts are reports: an error gives a
    number, since a report is a patient's."""

    def told(i):
        return repr(texts[i])[:80] if first_report is None else f"reports[{first_report + i}]"

    if first_report is not None and hasattr(encoder, "__contains__"):
        missing = [i for i, text in enumerate(texts) if text not in encoder]
        if missing:
            raise KeyError(
                f"encoder {encoder.id} has no embedding of {told(missing[0])} (and {len(missing) - 1} more of these "
                f"{len(texts)} reports): use a text encoder, kmerl.TextEncoder.load"
            )
    x = np.ascontiguousarray(encoder.embed(texts, pooling), dtype="<f4")
    if x.shape != (len(texts), encoder.width):
        raise ValueError(
            f"encoder {encoder.id} gave embeddings of shape {x.shape} for {len(texts)} texts, "
            f"expected ({len(texts)}, {encoder.width})"
        )
    if not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise ValueError(f"encoder {encoder.id} gave an embedding with NaN or Inf for {told(bad)}")
    return x


def embed_reports(store, encoder, pooling, key, name, progress):
    """Writes the reports' matrix, a chunk at a time; goes on behind the chunks that are done. One that has its name
    already, but is not named in the database yet, is done."""
    path = os.path.join(store.path, name)
    part = path + durable.PART
    state = os.path.join(store.path, PROGRESS_FILE)
    head = fmt.npy_header("<f4", (store._reports, encoder.width))
    row = 4 * encoder.width
    done = 0
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        with open(state, encoding="utf-8") as file:
            last = json.load(file)
        count = last["done"]
        if last["key"] == key and fmt.is_count(count) and count <= store._reports and not os.path.islink(part):
            size = len(head) + count * row
            whole = count == store._reports and not os.path.exists(part) and not os.path.islink(path)
            if whole and os.path.getsize(path) == size:
                return
            done = count if os.path.getsize(part) >= size else 0
    with open(part, "r+b") if done else durable.created(part) as file:
        file.write(head)
        file.seek(len(head) + done * row)
        file.truncate()
        with Progress(store._reports, "embed", "reports", show=progress, initial=done) as bar:
            while done < store._reports:
                texts = chunk(store, done)
                file.write(vectors(encoder, texts, pooling, first_report=done))
                file.flush()
                os.fsync(file.fileno())
                done += len(texts)
                with durable.writing(state) as note:
                    note.write(json.dumps({"key": key, "done": done}).encode())
                bar.update(len(texts))
    os.replace(part, path)
    durable.sync_folder(store.path)
