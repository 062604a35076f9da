"""From texts to findings: traps of real reports, exact spans, and bytes that are no report."""

import random
from pathlib import Path

import numpy as np
import pytest

import kmerl
from kmerl.extraction import label_matrix


def statuses(text):
    return {f.entity: f.status for f in kmerl.extract([text])[0]}


GOLD = [Path(__file__).parent / "data" / name for name in ("gold_statements.txt", "gold_rounds.txt")]
SIGNS = {"a": "asserted", "n": "negated", "h": "hedged", "-": "absent"}


def gold():
    """Judgements made by reading: (text, entity or None, expected status or kind)."""
    for line in (line for path in GOLD for line in path.read_text(encoding="utf-8").splitlines()):
        if not line or line.startswith("#"):
            continue
        text, _, judgements = line.rpartition(" => ")
        for judgement in judgements.split("; "):
            sign, colon, names = judgement.partition(": ")
            if not colon:
                yield text, None, judgement
            for name in names.split(", ") if colon else ():
                yield text, name, SIGNS[sign]


def verdict(reading, entity):
    """Status of an entity in a reading, asserted before hedged before negated; its kind without an entity."""
    if entity is None:
        kinds = {statement.kind for statement in reading.statements}
        return next((kind for kind in ("clinical", "unmatched", "technical") if kind in kinds), "technical")
    found = {finding.status for finding in reading.findings if finding.entity == entity}
    return next((status for status in ("asserted", "hedged", "negated") if status in found), "absent")


def test_gold_statements():
    vocabulary = kmerl.Vocabulary.default()
    judged = list(gold())
    assert len({text for text, _, _ in judged}) >= 1600 and len(judged) >= 2400
    texts = [text for text, _, _ in judged]
    wrong = []
    for reading, (text, name, expected) in zip(kmerl.extract(texts, details=True), judged, strict=True):
        got = verdict(reading, name and vocabulary[name].name)
        if got != expected:
            wrong.append(f"{text!r}: {name or 'kind'} is {got}, read as {expected}")
    assert len(wrong) <= 0.01 * len(judged), "\n".join(wrong)
    assert not [line for line in wrong if line.endswith("read as negated")], "\n".join(wrong)


CASES = [
    ("no ST elevation or T wave inversion", {"ST elevation": "negated", "T wave inversion": "negated"}),
    ("kein Hinweis auf Ischämie", {"myocardial ischemia": "negated"}),
    ("inferiorer infarkt     wahrscheinlich alt", {"inferior myocardial infarction": "asserted"}),
    ("inferiorer infarkt mÖglich", {"inferior myocardial infarction": "hedged"}),
    ("Anterior infarct, possibly acute", {"anterior myocardial infarction": "asserted"}),
    ("myokardschaden nicht auszuschliessen", {"myocardial injury": "hedged"}),
    ("suggest exclude hypokalaemia", {"hypokalemia": "hedged"}),
    (
        "Possible atrial flutter with PVCs",
        {"atrial flutter": "hedged", "ventricular premature complex": "asserted"},
    ),
    ("BIVENTRICULAR HYPERTROPHY", {"biventricular hypertrophy": "asserted"}),
    ("Linkshypertrophie? Sinusrhythmus", {"left ventricular hypertrophy": "hedged", "sinus rhythm": "asserted"}),
    ("keine Perikarditiszeichen", {"pericarditis": "negated"}),
    ("A.F. with L.B.B.B.", {"atrial fibrillation": "asserted", "left bundle branch block": "asserted"}),
    (
        "No acute infarct, old anterior infarct",
        {"acute myocardial infarction": "negated", "old myocardial infarction": "asserted"},
    ),
    (
        "Consider ischemia, injury, hypokalemia. Sinus rhythm",
        {
            "myocardial ischemia": "hedged",
            "myocardial injury": "hedged",
            "hypokalemia": "hedged",
            "sinus rhythm": "asserted",
        },
    ),
    ("possible LVH, sinus tachycardia", {"left ventricular hypertrophy": "hedged", "sinus tachycardia": "asserted"}),
    ("kan ej utesluta ischemi", {"myocardial ischemia": "hedged"}),
    ("ST isoelektrisch, T positiv", {"low amplitude T wave": "absent"}),
    ("ST flat, T inverted", {"low amplitude T wave": "absent", "T wave inversion": "asserted"}),
    ("Multiple premature complexes, vent & supraven", {"ventricular premature complex": "asserted"}),
    (
        "Inferior ST changes - possible anterior injury",
        {"inferior ST change": "asserted", "anterior injury": "hedged", "inferior injury": "absent"},
    ),
    ("Inferior ST depression and T wave inversion", {"inferior T wave inversion": "asserted"}),
    (
        "Inferior ST-T changes - possible anterior injury",
        {"inferior ST-T change": "asserted", "anterior injury": "hedged", "myocardial injury": "hedged"},
    ),
]


@pytest.mark.parametrize("text, expected", CASES, ids=[text for text, _ in CASES])
def test_statuses(text, expected):
    found = statuses(text)
    assert {name: found.get(name, "absent") for name in expected} == expected


@pytest.mark.parametrize(
    "text, present, absent",
    [
        ("lagetyp normal", "normal axis", "normal ECG"),
        ("supraventrikulÄre extrasystole", "atrial premature complex", "ventricular premature complex"),
        ("A-V sequential pacemaker", "dual chamber paced rhythm", "AV block"),
        ("2nd degree (Mobitz II) SA block", "sinoatrial block", "AV block"),
    ],
)
def test_longer_names_displace_what_they_contain(text, present, absent):
    found = statuses(text)
    assert found.get(present) == "asserted" and absent not in found


def test_spans_are_characters_of_the_text_as_given():
    text = "sinusrytm \U0001f600 hÖgersidigt skÄnkelblock, fo\u0308rmaksflimmer Vorhof\u00adflimmern"
    found = [(f.entity, text[slice(*f.span)]) for f in kmerl.extract([text])[0]]
    assert ("right bundle branch block", "hÖgersidigt skÄnkelblock") in found
    assert ("atrial fibrillation", "fo\u0308rmaksflimmer") in found
    assert ("atrial fibrillation", "Vorhof\u00adflimmern") in found


@pytest.mark.parametrize(
    "text",
    [
        "mÄssige amplitudenkriterien f#r linkshypertrophie",
        "mässige amplitudenkriterien für linkshypertrophie",
        "maessige amplitudenkriterien fuer linkshypertrophie",
        "mÃ¤ssige amplitudenkriterien fÃ¼r linkshypertrophie",
        "massige amplitudenkriterien fur linkshyperthrophie",
        "ma\u0308ssige Amplituden-Kriterien fu\u0308r Links-Hypertrophie",
    ],
)
def test_one_reading_of_all_spellings(text):
    assert statuses(text) == {"voltage criteria for left ventricular hypertrophy": "asserted"}


def test_statements():
    text = "Sinus rhythm. Baseline wander in lead(s) V1. Zzz qqq www. Edit: LMI 15, (NORM 50)"
    reading = kmerl.extract([text], details=True)[0]
    assert [(text[slice(*s.span)], s.kind) for s in reading.statements] == [
        ("Sinus rhythm", "clinical"),
        ("Baseline wander in lead(s) V1", "technical"),
        ("Zzz qqq www", "unmatched"),
        ("Edit: LMI 15, (NORM 50", "technical"),
    ]
    assert [f.entity for f in reading.findings] == ["sinus rhythm"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x01\xff",
        "\ud800",
        "\udfff sinus rhythm \ud83d",
        "?" * 1000,
        "." * 1000,
        "(s)(n)((((",
        "a" * 10000,
        "t " * 5000,
        "no " * 3000,
        "##",
        "#\ufffd",
        "v1,v2" * 500,
    ],
)
def test_any_text_is_safe(text):
    for finding in kmerl.extract([text])[0]:
        assert 0 <= finding.span[0] < finding.span[1] <= len(text)


def test_random_bytes_and_a_huge_report():
    rng = random.Random(0)
    words = [f.name for f in kmerl.Vocabulary.default().entities] + [
        "no",
        "möglich",
        "with",
        ".",
        "\x00",
        "(",
        "#",
    ]
    for _ in range(200):
        text = bytes(rng.randrange(256) for _ in range(200)).decode("latin-1")
        text += " ".join(rng.choice(words) for _ in range(30))
        for finding in kmerl.extract([text])[0]:
            assert 0 <= finding.span[0] < finding.span[1] <= len(text)
    huge = "sinus rhythm with no st elevation or " * 270000
    assert len(huge) > 9_900_000
    row = label_matrix([huge])[0]
    assert row[kmerl.Vocabulary.default().index("sinus rhythm")] == 1


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="single str"):
        kmerl.extract("sinus rhythm")
    with pytest.raises(TypeError, match=r"texts\[1\] must be a text, got NoneType"):
        kmerl.extract(["sinus rhythm", None])
    with pytest.raises(ValueError, match="extractor is 'magic'"):
        kmerl.extract([], extractor="magic")
    with pytest.raises(TypeError, match="vocabulary must be a kmerl.Vocabulary, got dict"):
        kmerl.extract([], {})
    with pytest.raises(ValueError, match="hedged is 'maybe'"):
        label_matrix([], hedged="maybe")


def test_label_matrix_has_the_superclasses():
    vocabulary = kmerl.Vocabulary.default()
    texts = ["Anteroseptal infarct, old", "possible LVH", "no LVH", ""]
    drop, keep = label_matrix(texts), label_matrix(texts, hedged="keep")
    assert drop.dtype == np.uint8 and drop.shape == (4, len(vocabulary))
    names = np.array(list(vocabulary))
    assert set(names[drop[0] == 1]) == set(
        vocabulary.closure(["anteroseptal myocardial infarction", "old myocardial infarction"])
    )
    assert not drop[1:].any() and not keep[2:].any()
    assert set(names[keep[1] == 1]) == set(vocabulary.closure(["LVH"]))


def test_an_extractor_of_ones_own():
    class Mine:
        def extract(self, texts, vocabulary, details):
            return [[] for _ in texts]

    assert kmerl.extract(["a", "b"], extractor=Mine()) == [[], []]


@pytest.mark.parametrize("text, shown, absent", [
    ("Atrial flutter with 4:1 conduction", "atrial flutter", "atrial flutter with variable block"),
    ("Vorhofflattern mit 3:1 Überleitung", "atrial flutter", "atrial flutter with variable block"),
    ("Atrial flutter with 4:1 AV block", "atrial flutter", "high degree AV block"),
    ("Atrial flutter with 2:1 block", "atrial flutter with 2:1 block", "atrial flutter with variable block"),
    ("Atrial flutter with variable block", "atrial flutter with variable block", "high degree AV block"),
    ("4:1 AV block", "high degree AV block", "atrial flutter"),
    ("Torsades", "ventricular tachycardia", "ventricular fibrillation"),
    ("torsade de pointes", "ventricular tachycardia", "ventricular fibrillation"),
])
def test_ratios_of_flutter(text, shown, absent):
    found = {f.entity for f in kmerl.extract([text])[0] if f.status == "asserted"}
    assert shown in found and absent not in found
