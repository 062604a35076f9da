"""How labels can be made otherwise: the switches of Table 2b, entities held out (SPEC 8)."""

import numpy as np
import pytest
from stores import create, ecg, no_waiting_for_the_disk  # noqa: F401
from test_store_text import Encoder

import kmerl
from kmerl.extraction import label_matrix

E = kmerl.Entity
TEXTS = [
    "Vorhofflimmern. Linksschenkelblock",
    "atrial fibrillation, possible LBBB",
    "no AF. Anterior infarct",
    "bundle branch block",
    "lagetyp normal",
    "",
]


def vocabulary():
    return kmerl.Vocabulary(
        [
            E("arrhythmia"),
            E("atrial fibrillation", ("vorhofflimmern", "af"), ("arrhythmia",),
              languages={"de": ("vorhofflimmern",), "abbreviations": ("af",)}),
            E("bundle branch block"),
            E("left bundle branch block", ("lbbb", "linksschenkelblock"), ("bundle branch block",),
              languages={"de": ("linksschenkelblock",), "abbreviations": ("lbbb",)}),
            E("infarct"),
            E("anterior infarct", superclasses=("infarct",)),
            E("normal ECG", patterns=("normal",)),
            E("normal axis", ("lagetyp normal",), languages={"de": ("lagetyp normal",)}),
        ],
        name="eight",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return create(tmp_path / "s", [ecg(i, report=text, samples=100) for i, text in enumerate(TEXTS)])


def asserted(store):
    """What each recording is labelled with."""
    names = np.array(store.entities)
    return [set(names[row == 1].tolist()) for row in store.labels]


def test_as_it_is(store):
    store.label(vocabulary(), progress=False)
    assert asserted(store) == [
        {"atrial fibrillation", "arrhythmia", "left bundle branch block", "bundle branch block"},
        {"atrial fibrillation", "arrhythmia"},
        {"anterior infarct", "infarct"},
        {"bundle branch block"},
        {"normal axis"},
        set(),
    ]


def test_without_superclasses(store):
    """Neither the closure, nor columns that only group others; what reports name themselves stays."""
    store.label(vocabulary(), superclasses=False, progress=False)
    assert store.entities == [name for name in vocabulary() if name not in ("arrhythmia", "infarct")]
    assert store.vocabulary.superclass_names() == ()
    assert asserted(store) == [
        {"atrial fibrillation", "left bundle branch block"},
        {"atrial fibrillation"},
        {"anterior infarct"},
        {"bundle branch block"},
        {"normal axis"},
        set(),
    ]
    again = kmerl.Vocabulary.from_json(store.vocabulary.to_json())
    assert np.array_equal(label_matrix(store.reports, again), store.report_labels)


def test_without_merging(store):
    store.label(vocabulary(), merge_synonyms=False, progress=False)
    assert store.entities == [
        "anterior infarct", "atrial fibrillation", "bundle branch block", "lagetyp normal", "linksschenkelblock",
        "vorhofflimmern", "arrhythmia", "infarct",
    ]  # fmt: skip
    assert asserted(store) == [
        {"vorhofflimmern", "arrhythmia", "linksschenkelblock", "bundle branch block"},
        {"atrial fibrillation", "arrhythmia"},
        {"anterior infarct", "infarct"},
        {"bundle branch block"},
        {"lagetyp normal"},
        set(),
    ]
    assert all(not entity.synonyms for entity in store.vocabulary.entities)
    store.label(vocabulary(), merge_synonyms=False, hedged="keep", progress=False)
    assert "lbbb" in store.entities and "lbbb" in asserted(store)[1]


def test_without_both(store):
    store.label(vocabulary(), merge_synonyms=False, superclasses=False, progress=False)
    assert store.entities == [
        "anterior infarct", "atrial fibrillation", "bundle branch block", "lagetyp normal", "linksschenkelblock",
        "vorhofflimmern",
    ]  # fmt: skip
    assert asserted(store)[0] == {"vorhofflimmern", "linksschenkelblock"}


def test_a_superclasss_synonym_is_another_name_below_it():
    words = kmerl.Vocabulary(
        [E("a"), E("block", ("schenkelblock",)), E("left block", superclasses=("block",))], name="v"
    )
    found = words.unmerged({"block": {"block"}, "schenkelblock": {"block"}, "left": {"left block"}})
    assert [(one.name, one.superclasses) for one in found.entities] == [
        ("block", ()), ("left", ("block",)), ("schenkelblock", ("block",)),
    ]  # fmt: skip


def test_nothing_to_name(tmp_path):
    store = create(tmp_path / "s", [ecg(0, report="unclear")])
    with pytest.raises(ValueError, match="merge_synonyms=False: no report asserts an entity"):
        store.label(vocabulary(), merge_synonyms=False, progress=False)
    assert store.label(vocabulary(), superclasses=False, progress=False).labels.sum() == 0


@pytest.mark.parametrize("superclasses", [True, False])
@pytest.mark.parametrize("merge_synonyms", [True, False])
def test_an_extractor_of_ones_own_knows_the_switches(store, superclasses, merge_synonyms):
    class Same:
        def extract(self, texts, vocabulary, details):
            return kmerl.extract(texts, vocabulary)

    switches = {"superclasses": superclasses, "merge_synonyms": merge_synonyms, "progress": False}
    store.label(vocabulary(), **switches)
    names, labels = store.entities, store.labels
    store.label(vocabulary(), extractor=Same(), **switches)
    assert store.entities == names and np.array_equal(store.labels, labels)


def test_switches_on_the_sample(tmp_path):
    """All of the path: what is labelled can be embedded, trained on and kept in a checkpoint."""
    records = kmerl.sample_records("train")[:30]
    store = create(tmp_path / "s", records).label(merge_synonyms=False, progress=False)
    assert len(store.entities) == store.labels.shape[1] and (store.labels.sum(axis=0) > 0).all()
    store.embed(Encoder(), progress=False)
    model = kmerl.KMERL(size="tiny", query_layers=1, batch_size=4, masked_leads=[10])
    model.fit(store, out=tmp_path / "run", max_steps=1, progress=False)
    again = kmerl.load_model(tmp_path / "run" / "last.safetensors")
    assert list(again.vocabulary_) == store.entities
    p = again.predict_proba(records[0], store.entities[:3])
    assert p.shape == (3,) and ((p > 0) & (p < 1)).all()


# ---- entities held out ----


def test_held_out_with_synonyms_and_links(store):
    store.label(vocabulary(), hold_out=["AF", "bundle branch block", "normal axis"], progress=False)
    kept = ["arrhythmia", "left bundle branch block", "infarct", "anterior infarct", "normal ECG"]
    assert store.entities == kept
    for name in ("atrial fibrillation", "vorhofflimmern", "af", "bundle branch block"):
        assert name not in store.vocabulary
    # Neither its superclass nor a shorter name within it ("normal") is found in its place.
    assert asserted(store) == [
        {"left bundle branch block"}, set(), {"anterior infarct", "infarct"}, set(), set(), set(),
    ]  # fmt: skip
    assert store.describe()["held_out"] == "atrial fibrillation, bundle branch block, normal axis"
    assert np.array_equal(label_matrix(store.reports, store.vocabulary), store.report_labels)
    assert {entity.name for entity in store.vocabulary.aside} == {
        "atrial fibrillation", "bundle branch block", "normal axis",
    }  # fmt: skip


def test_held_out_names_still_bound_negations():
    less = vocabulary().without(["atrial fibrillation"])
    found = kmerl.extract(["kein vorhofflimmern linksschenkelblock"], less)[0]
    assert [(f.entity, f.status) for f in found] == [("left bundle branch block", "asserted")]


def test_what_hold_out_refuses(store):
    with pytest.raises(KeyError, match="'frogs' is no name or synonym in vocabulary 'eight'"):
        store.label(vocabulary(), hold_out=["frogs"], progress=False)
    with pytest.raises(TypeError, match="hold_out must be a list of names, got the single text 'af'"):
        store.label(vocabulary(), hold_out="af", progress=False)
    with pytest.raises(ValueError, match="there is no entity"):
        store.label(vocabulary(), hold_out=list(vocabulary()), progress=False)
    with pytest.raises(RuntimeError, match="no labels yet"):
        _ = store.labels


@pytest.mark.parametrize("switch", ["superclasses", "merge_synonyms"])
@pytest.mark.parametrize("value", ["no", None, 0])
def test_switches_are_true_or_false(store, switch, value):
    with pytest.raises(TypeError, match=f"{switch} is {value!r}, expected True or False"):
        store.label(vocabulary(), progress=False, **{switch: value})


def test_held_out_entities_are_answered_as_unseen_texts(tmp_path):
    records = kmerl.sample_records("train")[:20]
    store = create(tmp_path / "s", records)
    store.label(hold_out=["atrial fibrillation", "T wave inversion"], progress=False)
    store.embed(kmerl.sample_embeddings(), progress=False)
    assert "atrial fibrillation" not in store.entities
    corpus = store.corpus()
    assert corpus["entities"].shape[0] == corpus["labels"].shape[1] == len(store.entities)
    model = kmerl.KMERL(size="tiny", query_layers=1, batch_size=4)
    model.fit(store, out=tmp_path / "run", max_steps=1, progress=False)
    again = kmerl.load_model(tmp_path / "run" / "last.safetensors")
    assert "atrial fibrillation" not in again.vocabulary_
    asked = ["atrial fibrillation", "Vorhofflimmern", "T wave inversion", "sinus rhythm"]
    p = again.predict_proba(records[0], asked)  # each text for itself, without a text encoder
    assert ((p > 0) & (p < 1)).all() and p[0] != p[1]


# ---- a store of another vocabulary ----


def test_labels_of_another_vocabulary_are_refused_by_both_names(store, tmp_path):
    store.label(vocabulary(), progress=False).embed(Encoder(), progress=False)
    model = kmerl.KMERL(size="tiny", query_layers=1, batch_size=4, masked_leads=[10])
    model.fit(store, out=tmp_path / "run", max_steps=1, progress=False)
    other = kmerl.Vocabulary([E("pacemaker of the third kind"), E("infarct")], name="two")
    store.label(other, progress=False)
    with pytest.raises(RuntimeError, match="with 'two', while the embeddings are those of 'eight'"):
        store.corpus()
    with pytest.raises(RuntimeError, match="with 'two', while the embeddings are those of 'eight'"):
        model.fit(store, max_steps=1, progress=False)
    store.embed(Encoder(), progress=False)
    with pytest.raises(ValueError, match=r"vocabulary 'eight' \(\w{12}\), the store has 'two' \(\w{12}\)"):
        model.fit(store, out=tmp_path / "run", max_steps=2, progress=False)
    with pytest.raises(ValueError, match=r"'two' \(\w{12}\).*'eight' \(\w{12}\)"):
        kmerl.compare_extractors([TEXTS[0]], store, "lexicon", vocabulary())


def test_vocabularies_of_one_name_are_told_apart(store):
    store.label(kmerl.Vocabulary([E("infarct")], name="eight"), progress=False)
    with pytest.raises(ValueError, match=r"'eight' \(\w{12}\).*'eight' \(\w{12}\)"):
        kmerl.compare_extractors([TEXTS[0]], store, "lexicon", vocabulary())


# ---- no reports, bad reports ----


@pytest.mark.parametrize("switches", [{}, {"superclasses": False}, {"merge_synonyms": False}])
def test_a_store_without_reports_has_nothing_to_learn(tmp_path, switches):
    store = create(tmp_path / "s", [ecg(0, report=""), ecg(1, report=" ")])
    with pytest.raises(ValueError, match="none of its 2 recordings has a report, so there is nothing to learn"):
        store.label(vocabulary(), progress=False, **switches)


@pytest.mark.parametrize("switches", [{}, {"superclasses": False}, {"merge_synonyms": False}])
def test_reports_that_are_none_are_safe(tmp_path, switches):
    strange = ["", "\x00\x01\xff atrial fibrillation \x00", bytes(range(256)).decode("latin-1"), "LBBB " * 60_000]
    store = create(tmp_path / "s", [ecg(i, report=text, samples=100) for i, text in enumerate(strange)])
    store.label(vocabulary(), progress=False, **switches)
    assert store.labels[1].any() and store.labels[3].any() and not store.labels[0].any()
