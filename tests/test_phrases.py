"""Negations, hedges and remarks of one's own: what they change, where they are kept, every fault of their file."""

import json

import numpy as np
import pytest
from stores import create, ecg, no_waiting_for_the_disk  # noqa: F401

import kmerl
from kmerl.extraction import label_matrix
from kmerl.patterns import VocabularyError
from kmerl.phrases import GROUPS, LISTS

SMALL = kmerl.Vocabulary([kmerl.Entity("afib"), kmerl.Entity("lbbb")], name="small")


def content(**change):
    """The shipped file with some keys changed; None takes one out."""
    data = json.loads(kmerl.Phrases.default().to_json())
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            data[key] = {**data[key], **value}
        else:
            data[key] = value
    return {key: value for key, value in data.items() if value is not None}


@pytest.fixture
def mine(tmp_path):
    """A file with Polish negation and hedge in place of the shipped ones."""
    path = tmp_path / "polish.json"
    change = {
        "name": None,
        "negation": {"right": ["brak"], "left": [], "either": []},
        "hedge": {"right": ["podejrzenie"], "left": ["niewykluczone"], "either": []},
    }
    path.write_text(json.dumps(content(**change), ensure_ascii=False), encoding="utf-8")
    return path


def statuses(text, vocabulary=SMALL, **more):
    return {f.entity: f.status for f in kmerl.extract([text], vocabulary, **more)[0]}


def test_phrases_of_ones_own(mine):
    assert statuses("brak afib. podejrzenie lbbb") == {"afib": "asserted", "lbbb": "asserted"}
    assert statuses("brak afib. podejrzenie lbbb", phrases=mine) == {"afib": "negated", "lbbb": "hedged"}
    assert statuses("no afib", phrases=mine) == {"afib": "asserted"}
    assert label_matrix(["brak afib", "no lbbb"], SMALL, phrases=mine).tolist() == [[0, 0], [0, 1]]
    assert statuses("lbbb niewykluczone", SMALL.with_phrases(mine)) == {"lbbb": "hedged"}


def test_they_are_part_of_the_vocabulary(mine, tmp_path):
    vocabulary = SMALL.with_phrases(mine)
    assert vocabulary != SMALL and vocabulary.hash != SMALL.hash
    assert vocabulary.name == "small, phrases polish" and vocabulary.phrases.name == "polish"
    vocabulary.save(tmp_path / "v.json")
    again = kmerl.Vocabulary.load(tmp_path / "v.json")
    assert again == vocabulary and again.phrases == vocabulary.phrases
    assert statuses("brak afib", again) == {"afib": "negated"}
    assert again.without(["lbbb"]).phrases == vocabulary.phrases
    assert kmerl.Vocabulary.load(tmp_path / "v.json", phrases=mine) == vocabulary
    assert again.with_phrases(kmerl.Phrases.default()).phrases.shipped


def test_the_shipped_ones_change_nothing(tmp_path):
    shipped = kmerl.Phrases.default()
    (tmp_path / "same.json").write_text(shipped.to_json(), encoding="utf-8")
    same = kmerl.Phrases.load(tmp_path / "same.json")
    assert same == shipped and same.shipped and same.hash == shipped.hash
    assert SMALL.with_phrases(same) == SMALL and SMALL.phrases == shipped


def test_a_store_knows_its_phrases(mine, tmp_path):
    texts = ["brak afib", "no lbbb"]
    store = create(tmp_path / "s", [ecg(i, report=text, samples=100) for i, text in enumerate(texts)])
    store.label(SMALL, progress=False)
    assert store.labels.tolist() == [[1, 0], [0, 0]]
    first = store.fingerprint()
    store.label(SMALL, phrases=mine, progress=False)
    assert store.labels.tolist() == [[0, 0], [0, 1]]
    assert store.fingerprint() != first
    reopened = kmerl.Store.open(store.path)
    assert reopened.vocabulary == SMALL.with_phrases(mine) and reopened.vocabulary.phrases.name == "polish"
    assert np.array_equal(label_matrix(reopened.reports, reopened.vocabulary), reopened.report_labels)
    assert reopened.describe()["phrases"].startswith("polish (")
    with pytest.raises(ValueError, match="vocabulary 'small, phrases polish' .* is not the 'small' "):
        kmerl.compare_extractors(texts, store, "lexicon", SMALL)


def test_phrases_go_with_the_lexicon(mine, tmp_path):
    class Mine:
        def extract(self, texts, vocabulary, details):
            return [[] for _ in texts]

    with pytest.raises(ValueError, match='phrases go with extractor="lexicon"'):
        kmerl.extract(["afib"], SMALL, Mine(), phrases=mine)
    store = create(tmp_path / "s", [ecg(0, report="afib")])
    with pytest.raises(ValueError, match='phrases go with extractor="lexicon"'):
        store.label(SMALL, extractor=Mine(), phrases=mine)
    with pytest.raises(TypeError, match="phrases must be a kmerl.Phrases or a path, got dict"):
        kmerl.extract(["afib"], SMALL, phrases={})
    with pytest.raises(FileNotFoundError):
        kmerl.extract(["afib"], SMALL, phrases=tmp_path / "none.json")


# ---- faults ----


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "x"}, '"format" is \'x\', must be "kmerl phrases 1"'),
        ({"name": 3}, '"name" must be a text, is a number'),
        ({"colour": []}, 'unknown key "colour"'),
        *(({key: None}, f'"{key}" is missing') for key in (*LISTS, *GROUPS)),
        *(({key: "no"}, f'"{key}" must be a list of texts') for key in LISTS),
        *(({key: ["no"]}, f'"{key}" must be an object, is a list') for key in GROUPS),
        ({"negation": {"above": []}}, '"negation" has unknown group "above", known are right, left, either'),
        ({"remarks": {"jokes": []}}, '"remarks" has unknown group "jokes"'),
        ({"hedge": {"left": [1]}}, '"hedge", "left" must be a list of texts'),
        ({"hedge": {"left": [" "]}}, '"hedge", "left" must be a list of texts'),
        ({"words": {"age": "old"}}, '"words", "age" must be a list of texts'),
        ({"hedge": {"left": ["{none} a"]}}, '"hedge", "left": \'{none} a\': there is no word list {none}'),
        ({"decoys": ["a [b"]}, "\"decoys\": 'a [b': ']' is missing"),
        ({"words": {"own": ["{own}"]}}, '"words", "own": \'{own}\': word list {own} contains itself'),
        ({"decoys": ["\ud800"]}, "\"decoys\" has a lone surrogate: '\\ud800'"),
        ({"tails": ["a " * 17]}, "phrase"),
    ],
)
def test_every_fault_is_named(change, message, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content(**change)))
    with pytest.raises(VocabularyError) as caught:
        kmerl.Phrases.load(path)
    assert message in "\n".join(caught.value.faults), caught.value
    assert "in the phrases" in str(caught.value) and "mine.json" in str(caught.value)


def test_all_faults_at_once():
    with pytest.raises(VocabularyError) as caught:
        kmerl.Phrases.from_json(json.dumps(content(tails=None, decoys=["<a"], colour=1)))
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    "data, message",
    [(b"", "not JSON"), (b"[]", "must hold one object"), (b"{\n\xff", "line 2: not UTF-8"),
     (b'{"words": {}, "words": {}}', 'key "words" stands twice'), (b"[" * 100_000, "nested too deeply")],
)  # fmt: skip
def test_files_that_are_no_phrases(data, message, tmp_path):
    (tmp_path / "mine.json").write_bytes(data)
    with pytest.raises(VocabularyError, match="1 fault|faults") as caught:
        kmerl.Phrases.load(tmp_path / "mine.json")
    assert message in str(caught.value)


def test_faults_of_phrases_within_a_vocabulary(mine):
    text = SMALL.with_phrases(mine).to_json().replace('"brak"', '"[brak"')
    with pytest.raises(VocabularyError) as caught:
        kmerl.Vocabulary.from_json(text, "mine.json")
    assert "\"phrases\": \"negation\", \"right\": '[brak': ']' is missing" in caught.value.faults
