"""The vocabulary: the shipped one, the file format, and every fault it can have."""

import json

import pytest

import kmerl
from kmerl.patterns import VocabularyError, expand


@pytest.fixture(scope="module")
def vocabulary():
    return kmerl.Vocabulary.default()


def file(*entities, **more):
    return json.dumps({"format": "kmerl vocabulary 1", "entities": list(entities), **more}, indent=2)


def test_a_name_or_synonym_in_any_case(vocabulary):
    entity = vocabulary["Left Bundle Branch Block"]
    assert entity is vocabulary["lbbb"] is vocabulary["LINKSSCHENKELBLOCK"]
    assert "bundle branch block" in entity.superclasses
    assert "164909002" in entity.codes["snomed"] and "LBBB" in entity.codes["merl"]
    assert "lsb" in vocabulary and "no such thing" not in vocabulary and 3 not in vocabulary
    with pytest.raises(KeyError, match="atrial fibrilation.*did you mean.*atrial fibrillation"):
        vocabulary["atrial fibrilation"]
    with pytest.raises(KeyError, match="looked up by its name"):
        vocabulary[0]


def test_iterating_gives_canonical_names(vocabulary):
    names = list(vocabulary)
    assert len(names) == len(vocabulary) == len(set(names)) >= 270
    assert all(vocabulary[name].name == name for name in names)
    assert [vocabulary.index(name) for name in names] == list(range(len(names)))


def test_every_class_name_is_known(vocabulary):
    table = kmerl.class_names()
    assert {task: len(names) for task, names in table.items()} == {
        "ptbxl-super": 5,
        "ptbxl-sub": 23,
        "ptbxl-form": 19,
        "ptbxl-rhythm": 12,
        "cpsc2018": 9,
        "csn": 38,
    }
    assert len({code for names in table.values() for code in names}) == 86
    for task, names in table.items():
        for code, name in names.items():
            assert name == name.lower() and name in vocabulary, (task, code, name)
    assert kmerl.class_names("PTBXL_super")["NORM"] == "normal"
    with pytest.raises(KeyError, match="task is 'mitbih', must be one of ptbxl-super"):
        kmerl.class_names("mitbih")


@pytest.mark.parametrize(
    "name",
    [
        "st/t change",
        "st-t change",
        "conduction disturbance",
        "hypertrophy",
        "normal ecg",
        "normal sinus rhythm",
        "t wave inversion",
        "incomplete right bundle branch block",
        "myocardial ischemia",
        "poor R wave Progression",
        "1st degree av block",
        "nonspecific intraventricular conduction disorder",
        "qwave abnormal",
        "low qrs voltages",
        "left axis deviation",
        "pacing rhythm",
        "supraventricular premature beats",
        "sinus atrium to atrial wandering rhythm",
    ],
)
def test_challenge_names(vocabulary, name):
    assert name in vocabulary


def test_superclasses(vocabulary):
    assert vocabulary.above("anteroseptal myocardial infarction")[-2:] == (
        "myocardial infarction",
        "anterior myocardial infarction",
    )
    assert set(vocabulary.closure(["IRBBB"])) == {
        "incomplete right bundle branch block",
        "bundle branch block",
        "conduction disturbance",
    }
    assert vocabulary.closure([]) == ()
    with pytest.raises(TypeError, match="single text"):
        vocabulary.closure("IRBBB")
    assert {"myocardial infarction", "conduction disturbance", "hypertrophy"} <= set(
        vocabulary.superclass_names()
    )


def test_saved_and_loaded(vocabulary, tmp_path):
    path = tmp_path / "mine.json"
    vocabulary.save(path)
    again = kmerl.Vocabulary.load(path)
    assert again == vocabulary and again.hash == vocabulary.hash and list(again) == list(vocabulary)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.json"]
    assert kmerl.Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    with pytest.raises(OSError):
        vocabulary.save(tmp_path / "missing" / "mine.json")


def test_without_holds_out(vocabulary):
    less = vocabulary.without(["afib", "bundle branch block"])
    assert "atrial fibrillation" not in less and "vorhofflimmern" not in less
    assert less["LBBB"].superclasses == () and len(less) == len(vocabulary) - 2
    assert less != vocabulary


def faults(text):
    with pytest.raises(ValueError) as caught:
        kmerl.Vocabulary.from_json(text, "mine.json")
    assert isinstance(caught.value, VocabularyError)
    assert str(caught.value).startswith("mine.json: ")
    return "\n".join(caught.value.faults)


def test_every_fault_is_named_with_its_place():
    text = file(
        {"name": "a", "synonyms": {"en": ["x", " "], "fr": ["y"]}, "superclasses": ["nowhere"]},
        {"name": "b", "synonyms": {"en": ["X"]}, "superclasses": ["c"], "colour": 1},
        {"name": "c", "superclasses": ["b"], "codes": {"icd": ["1"]}, "patterns": ["{none} a", "a [b", "<a"]},
        {"name": "A"},
        {"name": 5},
        [],
        {"name": "d", "patterns": "text", "codes": []},
    )
    found = faults(text)
    for part in (
        'line 5 ("a"): "synonyms", "en" must be a list of texts',
        'line 5 ("a"): "synonyms" has unknown group "fr"',
        'superclass "nowhere" is no entity',
        'unknown key "colour"',
        "cycle of superclasses: ",
        '"codes" has unknown group "icd"',
        'name "A" is also the name at line 5 ("a")',
        '"name" must be a text, is a number',
        "an entity must be an object, is a list",
        '"patterns" must be a list of texts',
        '"codes" must be an object, is a list',
    ):
        assert part in found, (part, found)


def test_duplicate_synonym_names_both_places():
    found = faults(
        file({"name": "a", "synonyms": {"en": ["x  y"]}}, {"name": "b", "synonyms": {"de": ["X Y"]}})
    )
    assert found == 'line 13 ("b"): synonym "X Y" also stands at line 5 ("a")'


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("{none} a", "no word list {none}"),
        ("a [b", "']' is missing"),
        ("<a", "'>' is missing"),
        ("a]", "without its opening"),
        ("[a]", None),
        ("a||b", "a word was expected"),
        ("{a", "'}' is missing"),
    ],
)
def test_patterns_that_cannot_be_read(pattern, message):
    if message is None:
        assert expand(pattern, {}) == ["a"]
        return
    with pytest.raises(ValueError) as caught:
        expand(pattern, {})
    assert message in str(caught.value)
    assert message in faults(file({"name": "a", "patterns": [pattern]}))


def test_patterns_stand_for_phrases():
    words = {"block": ["block", "blockade"], "own": ["{own}"]}
    assert expand("av~block", {}) == ["av block", "avblock"]
    assert expand("a [b c] d", {}) == ["a b c d", "a d"]
    assert expand("a|b c", {}) == ["a c", "b c"]
    assert expand("{block} x", words) == ["{block} x"]
    assert expand("av~{block}", words) == ["av block", "av blockade", "avblock", "avblockade"]
    assert expand("<a b> + c", {}) == ["<a> <b> + c"]
    with pytest.raises(ValueError, match="contains itself"):
        expand("a~{own}", words)
    with pytest.raises(ValueError, match="more than"):
        expand(" ".join(["a|b|c|d"] * 10), {})


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1, column 1: not JSON"),
        ('{\n  "format": 1,\n}', "line 3"),
        ("[]", "must hold one object"),
        ('{"entities": []}', '"format" is None'),
        ('{"format": "kmerl vocabulary 1", "entities": []}', "there is no entity"),
        ('{"format": "kmerl vocabulary 1", "entities": 3}', '"entities" must be a list, is a number'),
        (
            '{"format": "kmerl vocabulary 1", "words": {"a": [1]}, "entities": [{"name": "a"}]}',
            'word list "a"',
        ),
        ('{"format": "kmerl vocabulary 1", "more": 1, "entities": [{"name": "a"}]}', 'unknown key "more"'),
        (
            '{"format": "kmerl vocabulary 1", "entities": [{"name": "a", "name": "b"}]}',
            'key "name" stands twice',
        ),
        ("[" * 100000, "nested too deeply"),
    ],
)
def test_files_that_are_no_vocabulary(text, message):
    assert message in faults(text)


@pytest.mark.parametrize(
    "entity, message",
    [
        ({"name": "a\ud800"}, "a name has a lone surrogate: 'a\\ud800'"),
        ({"name": "a", "synonyms": {"en": ["\udfff"]}}, "has a lone surrogate"),
        ({"name": "a", "patterns": ["\ud800"]}, "has a lone surrogate"),
        ({"name": "a", "patterns": [" ".join("abcdefghijklmnopq")]}, "17 words, at most 16 are possible"),
        ({"name": "a", "patterns": ["+ b"]}, "'+' cannot be the first word"),
        ({"name": "a", "patterns": ["<b>"]}, "no word is part of the finding"),
        ({"name": "a", "superclasses": ["a"]}, "cycle of superclasses: a > a"),
    ],
)
def test_entities_with_faults(entity, message):
    assert message in faults(file(entity, {"name": "b"}))


@pytest.mark.parametrize("aside, message", [
    (3, '"aside" must be a list, is a number'),
    ([{"patterns": []}], 'aside 1: "name" must be a text, is null'),
    ([{"name": "x", "patterns": ["{none}"]}], "aside (\"x\"): pattern '{none}': there is no word list {none}"),
])  # fmt: skip
def test_faults_in_what_was_taken_out(aside, message):
    assert message in faults(file({"name": "a"}, aside=aside))


def test_what_was_taken_out_is_kept_in_the_file(vocabulary):
    less = vocabulary.without(["afib"]).without(["sinus rhythm"])
    again = kmerl.Vocabulary.from_json(less.to_json())
    assert again == less and [one.name for one in again.aside] == ["atrial fibrillation", "sinus rhythm"]


def test_binary_and_missing_files(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(b"{\n\xff\xfe")
    with pytest.raises(ValueError, match="line 2: not UTF-8"):
        kmerl.Vocabulary.load(path)
    with pytest.raises(FileNotFoundError):
        kmerl.Vocabulary.load(tmp_path / "none.json")
