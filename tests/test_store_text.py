"""A store's labels and text embeddings, and the corpus that a sampler reads."""

import itertools
import shutil
import signal

import numpy as np
import pytest
from stores import LEADS, contents, create, die_at, ecg, ecgs, in_child, no_waiting_for_the_disk  # noqa: F401

import kmerl
from kmerl import store_build, store_text

# ---- labels ------------------------------------------------------------------------------------------------


def vocabulary(**more):
    entities = [
        kmerl.Entity("arrhythmia"),
        kmerl.Entity("supraventricular arrhythmia", superclasses=("arrhythmia",)),
        kmerl.Entity("atrial fibrillation", superclasses=("supraventricular arrhythmia",), **more),
        kmerl.Entity("left bundle branch block", ("lbbb",), languages={"abbreviations": ("lbbb",)}),
    ]
    return kmerl.Vocabulary(entities, name="four")


TEXTS = [
    "atrial fibrillation.",
    "no atrial fibrillation. lbbb.",
    "",
    "possible left bundle branch block.",
    "unclear",
]


def labelled(path, **more):
    records = [ecg(i, report=TEXTS[i % 5], samples=100) for i in range(8)]
    return create(path, records).label(vocabulary(), progress=False, **more)


def test_labels_are_those_of_the_reports_with_superclasses(tmp_path):
    store = labelled(tmp_path / "s")
    assert store.vocabulary == vocabulary() and store.entities == list(vocabulary())
    expected = {0: [1, 1, 1, 0], 1: [0, 0, 0, 1], 2: [0] * 4, 3: [0] * 4, 4: [0] * 4}
    assert store.labels.dtype == np.uint8 and store.report_labels.shape == (5, 4)
    for i in range(8):
        assert store.labels[i].tolist() == expected[i % 5] == store[i].labels.tolist()
    about = store.describe()
    assert (
        about["entities"]["atrial fibrillation"] == 2 and about["entities"]["left bundle branch block"] == 2
    )
    reopened = kmerl.Store.open(tmp_path / "s")
    assert np.array_equal(reopened.labels, store.labels) and reopened.vocabulary == vocabulary()


def test_hedged_findings_are_kept_on_demand(tmp_path):
    store = labelled(tmp_path / "s", hedged="keep")
    assert store.labels[3].tolist() == [0, 0, 0, 1]
    store.label(vocabulary(), progress=False)
    assert store.labels[3].tolist() == [0, 0, 0, 0]
    assert len(list((tmp_path / "s").glob("labels-*"))) == 1


def test_labels_agree_with_extract(tmp_path):
    records = kmerl.sample_records("heldout")
    store = create(tmp_path / "s", records).label(progress=False)
    default = kmerl.Vocabulary.default()
    for i in (0, 7, 20):
        findings = kmerl.extract([records[i].report], default)[0]
        asserted = default.closure(f.entity for f in findings if f.status == "asserted")
        assert [name for name, one in zip(default, store[i].labels, strict=True) if one] == list(asserted)
    assert store.labels.any(axis=1).mean() > 0.8


def test_wrong_arguments_of_label(tmp_path):
    store = create(tmp_path / "s", ecgs(2))
    with pytest.raises(TypeError, match="vocabulary is a list, expected a kmerl.Vocabulary"):
        store.label(["atrial fibrillation"])
    with pytest.raises(ValueError, match="hedged is 'maybe', expected 'drop' or 'keep'"):
        store.label(vocabulary(), hedged="maybe")
    with pytest.raises(ValueError, match="extractor"):
        store.label(vocabulary(), extractor="magic")
    for ask in (lambda: store.vocabulary, lambda: store.labels, lambda: store.entities):
        with pytest.raises(
            RuntimeError, match=r"has no labels yet: run store.label\(kmerl.Vocabulary.default\(\)\)"
        ):
            ask()
    assert set(contents(tmp_path / "s")) == {"store.sqlite", "recordings.npy", "signals-00000.npy"}


# ---- embeddings --------------------------------------------------------------------------------------------


class Encoder:
    """An embedding is a function of the text and the pooling."""

    id = "made up"
    width = 6

    def __init__(self, fail_after=None):
        self.calls = []
        self.fail_after = fail_after

    def embed(self, texts, pooling):
        if self.fail_after is not None and len(self.calls) >= self.fail_after:
            raise KeyboardInterrupt
        self.calls.append((list(texts), pooling))
        return np.array([self.one(text, pooling) for text in texts], np.float32)

    def one(self, text, pooling):
        seed = int.from_bytes(store_build.digest(text.encode(), pooling.encode())[:4], "little")
        return np.random.default_rng(seed).normal(size=self.width).astype(np.float32)


def test_embeddings_and_corpus(tmp_path):
    store = labelled(tmp_path / "s")
    encoder = Encoder()
    store.embed(encoder, progress=False)
    one = encoder.one
    got = store.embeddings
    assert (got.encoder, got.width, got.report_pooling, got.query_pooling) == ("made up", 6, "mean", "cls")
    assert np.array_equal(got.reports, [one(text, "mean") for text in store.reports])
    assert got.texts[:4] == list(vocabulary()) and "lbbb" in got.texts
    assert {"myocardial infarction", "sinus tachycardia"} <= set(got.texts) and len(set(got.texts)) == len(
        got.texts
    )
    assert np.array_equal(got.queries, [one(text, "cls") for text in got.texts])
    assert np.array_equal(got.contrast, [one(text, "mean") for text in got.texts])
    embedded = [(text, pooling) for texts, pooling in encoder.calls for text in texts]
    assert len(set(embedded)) == len(embedded)

    corpus = store.corpus()
    types = {
        "shard": np.int32,
        "start": np.int64,
        "leads": np.uint16,
        "samples": np.int32,
        "report": np.int32,
        "embeddings": np.float32,
        "labels": np.uint8,
        "entities": np.float32,
    }
    assert {name: corpus[name].dtype for name in types} == types
    assert all(corpus[name].flags.c_contiguous for name in types)
    assert np.array_equal(corpus["entities"], [one(text, "cls") for text in vocabulary()])
    assert corpus["labels"].shape == (5, 4) and corpus["embeddings"].shape == (5, 6)
    for i, record in enumerate(store):
        row, shard = corpus["report"][i], corpus["shards"][corpus["shard"][i]]
        start, size = corpus["start"][i], corpus["samples"][i] * corpus["leads"][i].astype(int).bit_count()
        signal = shard[start : start + size].reshape(len(record.leads), -1)
        assert np.array_equal(signal.astype(np.float32) / np.float32(1000), record.signal)
        assert (
            store.reports[row] == record.report and corpus["labels"][row].tolist() == record.labels.tolist()
        )
    assert [LEADS[b] for b in range(12) if corpus["leads"][0] >> b & 1] == ["II", "V1"]

    batch = kmerl.sample_batch(store, [0, 3], config=kmerl.Config(masked_leads=[10], mask_ratio=0))
    assert np.array_equal(batch.report, corpus["embeddings"][corpus["report"][[0, 3]]])
    assert np.array_equal(batch.labels, store.labels[[0, 3]])


def test_embedding_goes_on_where_it_was_broken_off(tmp_path, monkeypatch):
    from kmerl import store_text

    monkeypatch.setattr(store_text, "CHUNK", 2)
    whole = labelled(tmp_path / "whole").embed(Encoder(), progress=False)
    store = labelled(tmp_path / "s")
    with pytest.raises(KeyboardInterrupt):
        store.embed(Encoder(fail_after=4), progress=False)  # names twice, two of three chunks
    with pytest.raises(RuntimeError, match="has no text embeddings yet"):
        store.corpus()
    encoder = Encoder()
    store.embed(encoder, progress=False)
    assert [len(texts) for texts, _ in encoder.calls[2:]] == [1]
    assert np.array_equal(store.embeddings.reports, whole.embeddings.reports)
    assert store.fingerprint() == whole.fingerprint()
    assert set(contents(tmp_path / "s")) == set(contents(tmp_path / "whole"))


def test_reports_that_have_their_file_are_not_embedded_again(tmp_path, monkeypatch):
    """Broken off when the matrix has its name and the database does not know it yet: nothing done is lost."""
    whole = labelled(tmp_path / "whole").embed(Encoder(), progress=False)
    store = labelled(tmp_path / "s")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(store_text, "exchange", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        store.embed(Encoder(), progress=False)
    encoder = Encoder()
    store.embed(encoder, progress=False)
    assert len(encoder.calls) == 2      # the names, twice
    assert np.array_equal(store.embeddings.reports, whole.embeddings.reports)
    assert set(contents(tmp_path / "s")) == set(contents(tmp_path / "whole"))


def test_killed_while_labelling_and_embedding(tmp_path):
    whole = labelled(tmp_path / "whole").embed(Encoder(), progress=False)
    create(tmp_path / "plain", [ecg(i, report=TEXTS[i % 5], samples=100) for i in range(8)])
    for count in itertools.count(1):
        path = tmp_path / f"killed{count}"
        shutil.copytree(tmp_path / "plain", path)

        def run(path=path, count=count):
            store = kmerl.Store.open(path)
            die_at(count)
            store.label(vocabulary(), progress=False).embed(Encoder(), progress=False)

        status = in_child(run)
        assert status in (0, -signal.SIGKILL)
        store = kmerl.Store.open(path)  # whatever the moment: a store
        store.label(vocabulary(), progress=False).embed(Encoder(), progress=False)
        assert store.fingerprint() == whole.fingerprint()
        assert set(contents(path)) == set(contents(tmp_path / "whole"))
        if status == 0:
            break
    assert count > 15


def test_fingerprint_covers_labels_and_embeddings(tmp_path):
    store = create(tmp_path / "s", [ecg(i, report=TEXTS[i]) for i in range(5)])
    prints = [store.fingerprint()]
    prints.append(store.label(vocabulary(), progress=False).fingerprint())
    prints.append(store.embed(Encoder(), progress=False).fingerprint())
    prints.append(store.embed(Encoder(), query_pooling="mean", progress=False).fingerprint())
    prints.append(store.label(vocabulary(), hedged="keep", progress=False).fingerprint())
    assert len(set(prints)) == 5


def test_what_embed_refuses(tmp_path):
    store = create(tmp_path / "s", [ecg(i, report=TEXTS[i]) for i in range(5)])
    with pytest.raises(RuntimeError, match="has no labels yet"):
        store.embed(Encoder())
    store.label(vocabulary(), progress=False)
    with pytest.raises(TypeError, match="encoder is a str without .embed"):
        store.embed("minilm")
    strange = Encoder()
    strange.embed = lambda texts, pooling: np.zeros((len(texts), 5), np.float32)
    with pytest.raises(
        ValueError, match=r"encoder made up gave embeddings of shape \(\d+, 5\) for \d+ texts"
    ):
        store.embed(strange, progress=False)
    strange.embed = lambda texts, pooling: np.full((len(texts), 6), np.nan, np.float32)
    with pytest.raises(ValueError, match="embedding with NaN or Inf for 'arrhythmia'"):
        store.embed(strange, progress=False)
    ready = kmerl.TextEmbeddings(["a"], {"mean": np.ones((1, 3))}, id="ready")
    with pytest.raises(ValueError, match="query_pooling is 'cls', expected one of 'mean'"):
        store.embed(ready, progress=False)
    with pytest.raises(KeyError, match="arrhythmia"):
        store.embed(ready, query_pooling="mean", progress=False)


CANARY = "canaryword sinus rhythm"


def test_errors_hold_no_report(tmp_path, capfd):
    """Reports are patients': an error says which, not what it reads."""
    for report in (CANARY.encode(), [CANARY], CANARY + "\ud800"):
        with pytest.raises((TypeError, ValueError)) as error:
            create(tmp_path / "bad", [ecg(0, report=report)])
        assert "report" in str(error.value) and "canary" not in repr(error.value)
    store = create(tmp_path / "s", [ecg(i, report=CANARY) for i in range(2)]).label(vocabulary(), progress=True)
    strange = Encoder()
    embed = strange.embed
    strange.embed = lambda texts, pooling: embed(texts, pooling) * np.where(CANARY in texts, np.nan, 1)
    with pytest.raises(ValueError, match=r"NaN or Inf for reports\[0\]") as error:
        store.embed(strange, progress=True)
    assert "canary" not in repr(error.value)
    names = store_text.names_to_embed(store.vocabulary, strange)
    ready = kmerl.TextEmbeddings(names, {p: np.ones((len(names), 3)) for p in ("mean", "cls")}, id="ready")
    with pytest.raises(KeyError, match=r"no embedding of reports\[0\] \(and 0 more") as error:
        store.embed(ready, progress=True)
    assert "canary" not in repr(error.value)
    written = capfd.readouterr()
    assert "canary" not in written.out + written.err


def test_comparison_and_extraction_hold_no_report(tmp_path, capfd, caplog):
    caplog.set_level("INFO")
    texts = [CANARY, CANARY + ". Old infarct."]
    store = create(tmp_path / "s", [ecg(i, report="Sinus rhythm.") for i in range(2)]).label(vocabulary(), progress=True)

    class Broken:
        id = "broken"

        def extract(self, texts, vocabulary):
            return [[("not a finding",)] for _ in texts]

    class Short(Broken):
        def extract(self, texts, vocabulary):
            return []

    calls = [
        lambda: kmerl.compare_extractors(texts, store, "lexicon"),
        lambda: kmerl.compare_extractors(texts, "lexicon", np.zeros((2, 3))),
        lambda: kmerl.compare_extractors([*texts, 3], "lexicon", "lexicon"),
        lambda: kmerl.compare_extractors(CANARY, "lexicon", "lexicon"),
        lambda: kmerl.compare_extractors(texts, "lexicon", Broken()),
        lambda: kmerl.extract(texts, extractor=Broken()),
        lambda: kmerl.extract(texts, extractor=Short()),
        lambda: kmerl.extract([CANARY.encode()]),
        lambda: kmerl.text._check_texts([CANARY + "\ud800"]),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError, AttributeError)) as error:
            call()
        assert "canary" not in str(error.value), call
    kmerl.compare_extractors(texts, "lexicon", "lexicon")
    written = capfd.readouterr()
    assert "canary" not in written.out + written.err + caplog.text


def test_ready_made_embeddings_need_reports_and_names_only(tmp_path):
    store = create(tmp_path / "s", [ecg(i, report=TEXTS[i]) for i in range(5)]).label(
        vocabulary(), progress=False
    )
    texts = [*TEXTS, *vocabulary()]
    matrix = np.random.default_rng(0).normal(size=(len(texts), 3)).astype(np.float32)
    ready = kmerl.TextEmbeddings(texts, {"mean": matrix}, id="ready")
    store.embed(ready, query_pooling="mean", progress=False)
    assert store.embeddings.texts == list(vocabulary())
    assert np.array_equal(store.corpus()["entities"], matrix[5:])
    assert np.array_equal(store.corpus()["embeddings"], matrix[:5])


def test_labelled_anew_with_other_entities_asks_for_embeddings(tmp_path):
    store = labelled(tmp_path / "s").embed(Encoder(), progress=False)
    other = kmerl.Vocabulary([kmerl.Entity("pacemaker rhythm of the third kind")])
    store.label(other, progress=False)
    with pytest.raises(RuntimeError, match="labelled with another vocabulary after it was embedded"):
        store.corpus()
    store.embed(Encoder(), progress=False)
    assert store.corpus()["entities"].shape == (1, 6)


def test_an_extractor_of_ones_own(tmp_path):
    class Extractor:
        def extract(self, texts, vocabulary, details):
            assert not details
            return [
                [kmerl.Finding("atrial fibrillation", (0, 1), "hedged" if "no" in text else "asserted")]
                if text
                else []
                for text in texts
            ]

    store = labelled(tmp_path / "s", extractor=Extractor())
    assert store.report_labels.tolist() == [[1, 1, 1, 0], [0] * 4, [0] * 4, [1, 1, 1, 0], [1, 1, 1, 0]]
