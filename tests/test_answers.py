"""Answers: any leads, any rate, any length, one or many; bad input."""

import numpy as np
import pytest
from small import TINY, HashEncoder, make_store

import kmerl
from kmerl.batch import sample_windows
from kmerl.leads import LEADS

CLASSES = ["atrial fibrillation", "sinus rhythm", "left bundle branch block"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    return kmerl.KMERL(**TINY).fit(make_store(folder / "store"), max_steps=4, progress=False)


@pytest.fixture(scope="module")
def records():
    return kmerl.sample_records("heldout")[:5]


def test_shapes_follow_the_input(model, records):
    one = model.predict_proba(records[0], CLASSES)
    assert one.shape == (3,) and one.dtype == np.float32 and ((one > 0) & (one < 1)).all()
    assert model.predict_proba(records, CLASSES).shape == (5, 3)
    assert model.predict_proba(records[:1], CLASSES).shape == (1, 3)
    assert model.predict_proba(records[0], "sinus rhythm").shape == (1,)
    x = np.stack([r.signal for r in records[:2]])
    assert model.predict_proba(x, CLASSES, leads=records[0].leads, fs=records[0].fs).shape == (2, 3)
    assert model.encode(records[0]).shape == (64,) and model.encode(records).shape == (5, 64)
    assert model.attend(records[0], "sinus rhythm").shape == (12, 50)
    assert model.attend(records[0], CLASSES).shape == (3, 12, 50)
    assert [a.shape for a in model.attend(records[:2], "sinus rhythm")] == [(12, 50)] * 2


def test_an_answer_does_not_depend_on_the_batch(model, records):
    together = model.predict_proba(records, CLASSES)
    apart = np.stack([model.predict_proba(r, CLASSES) for r in records])
    assert np.array_equal(together, apart)
    assert np.array_equal(model.predict_proba(records[::-1], CLASSES), together[::-1])
    assert np.array_equal(model.encode(records), np.stack([model.encode(r) for r in records]))


def test_lead_order_does_not_matter_but_names_do(model, records):
    r = records[0]
    order = np.random.default_rng(0).permutation(12)
    shuffled = kmerl.Record(r.signal[order], r.fs, [r.leads[i].lower() for i in order])
    assert np.array_equal(model.predict_proba(shuffled, CLASSES), model.predict_proba(r, CLASSES))
    renamed = kmerl.Record(r.signal, r.fs, r.leads[1:] + r.leads[:1])
    assert not np.allclose(model.predict_proba(renamed, CLASSES), model.predict_proba(r, CLASSES), atol=1e-7)


def test_class_order_does_not_matter(model, records):
    p = model.predict_proba(records[0], CLASSES)
    turned = model.predict_proba(records[0], CLASSES[::-1])
    assert np.allclose(turned[::-1], p, atol=1e-6)


def test_a_synonym_is_answered_as_its_entity(model, records):
    synonym = kmerl.Vocabulary.default()["atrial fibrillation"].synonyms
    synonym = synonym[0] if not isinstance(synonym, dict) else next(iter(synonym.values()))[0]
    both = model.predict_proba(records[0], ["atrial fibrillation", synonym.upper()])
    assert both[0] == both[1] == model.predict_proba(records[0], "Atrial  Fibrillation")[0]


@pytest.mark.parametrize("leads", [["II"], ["V6", "I"], ["aVR"], list(LEADS)])
def test_any_subset_of_leads(model, records, leads):
    picked = records[0].select(leads)
    p = model.predict_proba(picked, CLASSES)
    rows = [records[0].leads.index(name) for name in leads]
    q = model.predict_proba(records[0].signal[rows], CLASSES, leads=leads, fs=records[0].fs)
    assert np.array_equal(p, q)
    a = model.attend(picked, CLASSES[0])
    assert a.shape == (len(leads), 50) and abs(a.sum() - 1) < 1e-5


def test_an_absent_lead_is_like_one_that_is_not_there(model, records):
    r = records[0]
    flat = r.signal.copy()
    flat[3] = 0
    answer = model.predict_proba(kmerl.Record(flat, r.fs, r.leads, name="flat"), CLASSES, details=True)
    without = r.select([name for name in r.leads if name != r.leads[3]])
    assert np.array_equal(answer.probabilities, model.predict_proba(without, CLASSES))
    assert answer.recordings[0]["dropped"] == [r.leads[3]]
    assert r.leads[3] not in answer.recordings[0]["leads"]


def test_repairs_are_counted(model, records):
    r = records[0]
    signal = r.signal.copy()
    signal[1, 100:150] = np.nan
    answer = model.predict_proba(kmerl.Record(signal, r.fs, r.leads), CLASSES, details=True)
    assert answer.recordings[0]["repaired"] == 50 and answer.recordings[0]["dropped"] == []
    assert np.isfinite(answer.probabilities).all()


def test_long_recordings_average_their_windows(model, records):
    a, b = records[0], records[1]
    long = kmerl.Record(np.concatenate([a.signal, b.signal], axis=1), a.fs, a.leads)
    p = model.predict_proba(long, CLASSES)
    windows = np.stack([model.predict_proba(a, CLASSES), model.predict_proba(b, CLASSES)])
    assert np.allclose(p, windows.mean(axis=0), atol=1e-7)
    assert np.array_equal(model.predict_proba(long, CLASSES, windows="first"), windows[0])
    attention = model.attend(long, CLASSES[0])
    assert attention.shape == (12, 100) and abs(attention.sum() - 1) < 1e-5
    assert np.allclose(attention[:, :50] * 2, model.attend(a, CLASSES[0]), atol=1e-7)


def test_a_short_last_window_counts_by_its_length(model, records):
    r = records[0]
    cut = [r.signal, records[1].signal[:, :1250]]
    long = kmerl.Record(np.concatenate(cut, axis=1), r.fs, r.leads)
    p, z = [np.stack([f(x) for x in (r, kmerl.Record(cut[1], r.fs, r.leads))])
            for f in (lambda x: model.predict_proba(x, CLASSES), model.encode)]
    assert np.allclose(model.predict_proba(long, CLASSES), np.average(p, axis=0, weights=[50, 12]), atol=1e-7)
    assert np.allclose(model.encode(long), np.average(z, axis=0, weights=[50, 12]), atol=1e-6)
    assert model.attend(long, CLASSES[0]).shape == (12, 62)


@pytest.mark.parametrize("fs", [100, 250, 257, 1000])
def test_other_rates_give_about_the_same_answer(model, records, fs):
    from kmerl import _kmerl

    r = records[0]
    z = model.encode(_kmerl.resample(r.signal, r.fs, float(fs), 1), leads=r.leads, fs=fs)
    reference = model.encode(r)
    assert np.linalg.norm(z - reference) < 0.15 * np.linalg.norm(reference)


def test_short_recordings(model, records):
    r = records[0]
    assert model.predict_proba(r.signal[:, :100], CLASSES, leads=r.leads, fs=500).shape == (3,)
    assert model.attend(r.signal[:, :730], CLASSES[0], leads=r.leads, fs=500).shape == (12, 7)
    with pytest.raises(ValueError, match="segment"):
        model.predict_proba(r.signal[:, :99], CLASSES, leads=r.leads, fs=500)


def test_methods(model, records):
    query = model.predict_proba(records, CLASSES)
    cosine = model.predict_proba(records, CLASSES, method="cosine")
    both = model.predict_proba(records, CLASSES, method="both")
    assert ((cosine >= 0) & (cosine <= 1)).all() and np.allclose(both, (query + cosine) / 2, atol=1e-7)
    with pytest.raises(ValueError, match="method"):
        model.predict_proba(records, CLASSES, method="magic")


@pytest.mark.parametrize("weights, refused, kept", [
    ({"query_weight": 0.0}, "query", "cosine"), ({"contrast_weight": 0.0}, "cosine", "query"),
])
def test_a_model_without_one_loss_refuses_its_answer(tmp_path, records, weights, refused, kept):
    store = make_store(tmp_path / "store", count=10)
    model = kmerl.KMERL(**{**TINY, **weights}).fit(store, max_steps=1, progress=False)
    with pytest.raises(ValueError, match="_weight=0"):
        model.predict_proba(records[0], CLASSES, method=refused)
    assert np.array_equal(model.predict_proba(records[0], CLASSES),
                          model.predict_proba(records[0], CLASSES, method=kept))


@pytest.mark.parametrize("classes, error, words", [
    ([], ValueError, "empty"), ([""], ValueError, "empty text"), (["  "], ValueError, "empty text"),
    ([3], TypeError, r"classes\[0\]"), (None, TypeError, "classes"), (b"x", TypeError, "classes"),
    (["atrial fibrilation of my uncle"], ValueError, "does not know"),
])
def test_bad_classes(model, records, classes, error, words):
    with pytest.raises(error, match=words):
        model.predict_proba(records[0], classes)


def test_unknown_classes_need_the_text_encoder_of_the_training(model, records):
    class Other(HashEncoder):
        id = "another"

    text = "something nobody has asked before"
    try:
        with pytest.raises(ValueError, match="trained with hash-24"):
            model.text_encoder = Other()
        with pytest.raises(TypeError, match="TextEncoder"):
            model.text_encoder = "MiniLM"
        model.text_encoder = HashEncoder()
        assert model.predict_proba(records[0], [text, CLASSES[0]]).shape == (2,)
    finally:
        model.text_encoder = None


@pytest.mark.parametrize("change, error, words", [
    (dict(x=np.zeros((5000, 12)), leads=LEADS, fs=500), ValueError, "transposed"),
    (dict(x=np.zeros((12, 5000)), leads=LEADS, fs=500), ValueError, "lead"),
    (dict(x=np.zeros((12, 5000)), leads=LEADS), ValueError, "fs="),
    (dict(x=np.zeros((12, 5000)), fs=500), ValueError, "leads="),
    (dict(x=np.zeros((1, 5000)), leads=["VX"], fs=500), ValueError, "VX"),
    (dict(x=np.zeros((2, 5000)), leads=["I", "i"], fs=500), ValueError, "(?i)twice|duplicate"),
    (dict(x=np.zeros((0, 5000)), leads=[], fs=500), ValueError, "lead"),
    (dict(x=np.ones((1, 5000)), leads=["I"], fs=0), ValueError, "fs"),
    (dict(x=np.ones((1, 5000)), leads=["I"], fs=-500), ValueError, "fs"),
    (dict(x=np.ones((1, 5000)), leads=["I"], fs=float("nan")), ValueError, "fs"),
    (dict(x=np.full((1, 5000), np.nan), leads=["I"], fs=500), ValueError, "lead"),
    (dict(x=np.array([["a"] * 500]), leads=["I"], fs=500), TypeError, "signal|dtype|numbers"),
    (dict(x=[]), ValueError, "empty|no recordings"),
    (dict(x="no/such/file"), FileNotFoundError, "no/such/file"),
    (dict(x=None), TypeError, "NoneType"),
])
def test_bad_recordings(model, change, error, words):
    with pytest.raises(error, match=words):
        model.predict_proba(classes=CLASSES, **change)


def test_windows_option_is_checked(model, records):
    with pytest.raises(ValueError, match="windows"):
        model.predict_proba(records[0], CLASSES, windows="last")


def test_untrained_knows_the_names_and_nothing_else(model, records):
    before = {name: array.copy() for name, array in model.parameters().items()}
    one, same, other = (model.untrained(seed) for seed in (1, 1, 2))
    assert one.config_ == model.config_ and other.config_.seed == 2    # TINY's seed is 1
    fresh = kmerl.KMERL(**TINY).initialize(HashEncoder.width).parameters()
    for name, array in one.parameters().items():
        assert np.array_equal(array, fresh[name]) and np.array_equal(array, same.parameters()[name])
    answers = [m.predict_proba(records, CLASSES) for m in (model, one, same, other)]
    assert np.array_equal(answers[1], answers[2])
    assert not np.array_equal(answers[0], answers[1]) and not np.array_equal(answers[1], answers[3])
    assert all(np.array_equal(array, before[name]) for name, array in model.parameters().items())


def test_centred_queries():
    """The queries of the taught names alone: mean 0 in each component, mean square 1 over all; the rest as drawn."""
    x = HashEncoder().embed([f"name {i}" for i in range(7)]).astype(np.float64) + 3
    plain = kmerl.KMERL(**TINY).initialize(HashEncoder.width).parameters()
    found = kmerl.KMERL(**TINY, query_init="centred").initialize(HashEncoder.width, x).parameters()
    weight, bias = (found[f"query.projection.{kind}"].astype(np.float64) for kind in ("weight", "bias"))
    queries = x @ weight.T + bias
    assert np.allclose(queries.mean(axis=0), 0, atol=1e-5) and abs((queries**2).mean() - 1) < 1e-5
    ratio = weight / plain["query.projection.weight"]
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-5) and ratio[0, 0] > 1
    for name, array in plain.items():
        assert name.startswith("query.projection.") or np.array_equal(array, found[name])


def test_one_name_has_no_spread():
    x = HashEncoder().embed(["alone"])
    found = kmerl.KMERL(**TINY, query_init="centred").initialize(HashEncoder.width, x).parameters()
    plain = kmerl.KMERL(**TINY).initialize(HashEncoder.width).parameters()
    assert np.array_equal(found["query.projection.weight"], plain["query.projection.weight"])
    assert np.allclose(x[0] @ found["query.projection.weight"].T + found["query.projection.bias"], 0, atol=1e-5)


@pytest.mark.parametrize("settings, queries, words", [
    ({"query_init": "centred"}, None, "for 'centred' and not otherwise, got NoneType"),
    ({}, np.zeros((2, HashEncoder.width)), "query_init='normal'"),
    ({"query_init": "centred"}, np.zeros((0, HashEncoder.width)), "embeddings has no rows"),
    ({"query_init": "centred"}, np.zeros((2, HashEncoder.width + 1)), "embeddings"),
])
def test_initialize_refuses_queries_that_do_not_fit(settings, queries, words):
    with pytest.raises(ValueError, match=words):
        kmerl.KMERL(**TINY, **settings).initialize(HashEncoder.width, queries)


@pytest.mark.parametrize("option", [{"query_init": "centred"}, {"lead_pooling": "mean"}])
def test_options_of_the_query_network_need_one(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}='.*query_weight=0 leaves out"):
        kmerl.Config(**option, query_weight=0)


# ---- lead_pooling="mean" -------------------------------------------------------------------------------------------


def untaught(**options):
    model = kmerl.KMERL(**{**TINY, "weight_std": 0.1, **options}).initialize(HashEncoder.width)
    model.text_encoder = HashEncoder()
    return model


def sigmoid(z):
    return 1 / (1 + np.exp(-z.astype(np.float64)))


def logits_of(model, record):
    """(windows, classes) and the windows' segments, of what the record has."""
    batch, rows = sample_windows([record], model.config_)
    asked, expand = model._class_set(CLASSES, "query")
    assert expand == [0, 1, 2]
    return model._core.evaluate(batch.arrays(), asked)["logits"].astype(np.float64), rows["segments"]


def spoilt(record):
    """A flat lead, one with too much missing, one to repair."""
    x = record.signal.copy()
    x[3], x[7, :2000], x[9, 100:150] = 0.25, np.nan, np.nan
    return kmerl.Record(x, record.fs, record.leads, name="spoilt")


@pytest.mark.parametrize("options", [{}, {"normalisation": "lead"},
                                     {"normalisation": "minmax", "normalisation_scope": "present"},
                                     {"tokenisation": "agnostic"}, {"isolate_queries": True}])
def test_each_lead_alone_and_the_mean_of_their_logits(records, options):
    model = untaught(**options)
    for record in (records[0], spoilt(records[1]), kmerl.Record(records[2].signal[:, :2500], 250, records[2].leads)):
        single = [logits_of(model, record.select([lead]))[0] for lead in record.leads
                  if not (record.name == "spoilt" and lead in (record.leads[3], record.leads[7]))]
        p = model.predict_proba(record, CLASSES, lead_pooling="mean")
        assert np.ptp([z[0] for z in single], axis=0).min() > 1e-4
        assert np.allclose(p, sigmoid(np.mean(single, axis=0).astype(np.float32))[0], rtol=2e-7, atol=0)
        assert not np.allclose(p, model.predict_proba(record, CLASSES, lead_pooling="joint"), atol=1e-5)


def test_each_lead_asked_alone_is_attended_alone(model, records):
    leads = ["II", "V1", "V5"]
    for record in (records[0].select(leads), long_of(records[0].select(leads))):
        attention = model.attend(record, CLASSES, lead_pooling="mean")
        alone = [model.attend(record.select([lead]), CLASSES)[:, 0] / 3 for lead in leads]
        np.testing.assert_allclose(attention, np.stack(alone, 1), rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(attention.sum((1, 2)), 1, rtol=1e-5)
        assert not np.allclose(attention, model.attend(record, CLASSES), atol=1e-5)
    with pytest.raises(ValueError, match="lead_pooling must be None, 'joint' or 'mean', got 'each'"):
        model.attend(records[0], CLASSES, lead_pooling="each")


def long_of(record):
    """The recording one and a half times."""
    half = record.signal[:, : record.signal.shape[1] // 2]
    return kmerl.Record(np.concatenate([record.signal, half], axis=1), record.fs, record.leads)


def test_windows_are_averaged_as_probabilities_of_their_leads_mean(model, records):
    x = np.concatenate([records[0].signal, records[1].signal[:, :1250]], axis=1)
    x[2, :5000] = 0     # absent in the first window only
    long = kmerl.Record(x, records[0].fs, records[0].leads)
    z, segments = zip(*(logits_of(model, long.select([lead])) for lead in long.leads), strict=True)
    assert [len(each) for each in z] == [2, 2, 1] + [2] * 9 and segments[0].tolist() == [50, 12]
    windows = [sigmoid(np.mean([each[-2] for each in z if len(each) == 2], axis=0)),
               sigmoid(np.mean([each[-1] for each in z], axis=0))]
    answer = model.predict_proba(long, CLASSES, lead_pooling="mean", details=True)
    assert np.allclose(answer.probabilities, np.average(windows, axis=0, weights=[50, 12]), rtol=1e-6)
    assert answer.recordings == model.predict_proba(long, CLASSES, lead_pooling="joint", details=True).recordings
    assert answer.recordings[0]["windows"] == 2 and answer.recordings[0]["dropped"] == [long.leads[2]]
    first = model.predict_proba(long, CLASSES, lead_pooling="mean", windows="first")
    assert np.allclose(first, windows[0], rtol=1e-6)


@pytest.mark.parametrize("method", ["query", "both"])
def test_one_lead_has_the_same_bits_either_way(model, records, method):
    for record in records:
        for one in (record.select(["V3"]), record.select(["aVR"])):
            joint, mean = (model.predict_proba(one, CLASSES, method=method, lead_pooling=pooling)
                           for pooling in ("joint", "mean"))
            assert joint.tobytes() == mean.tobytes()


def test_what_leads_do_not_count_when_they_are_averaged(model, records):
    r = spoilt(records[0])
    usable = [lead for i, lead in enumerate(r.leads) if i not in (3, 7)]
    answer = model.predict_proba(r, CLASSES, lead_pooling="mean", details=True)
    assert answer.probabilities.tobytes() == model.predict_proba(r.select(usable), CLASSES, lead_pooling="mean").tobytes()
    assert answer.recordings == [{"name": "spoilt", "windows": 1, "leads": usable, "repaired": 50,
                                  "dropped": [r.leads[3], r.leads[7]]}]
    with pytest.raises(ValueError, match="spoilt has no lead left: each of its 2"):
        model.predict_proba(r.select([r.leads[3], r.leads[7]]), CLASSES, lead_pooling="mean")


def test_averaged_answers_depend_on_nothing_else(model, records):
    """Not on the order of leads, nor on the other recordings, of which one has a single lead and one two windows."""
    several = [records[0], records[1].select(["II"]), spoilt(records[2]), *records[3:] * 3,
               kmerl.Record(np.tile(records[4].signal, 2), records[4].fs, records[4].leads)]
    together = model.predict_proba(several, CLASSES, lead_pooling="mean")
    apart = np.stack([model.predict_proba(r, CLASSES, lead_pooling="mean") for r in several])
    assert together.tobytes() == apart.tobytes()
    assert model.predict_proba(several[::-1], CLASSES, lead_pooling="mean").tobytes() == together[::-1].tobytes()
    turned = [r.select(r.leads[::-1]) for r in several]
    assert model.predict_proba(turned, CLASSES, lead_pooling="mean").tobytes() == together.tobytes()


def test_the_model_says_how_leads_are_pooled(model, records, tmp_path):
    mean = untaught(lead_pooling="mean")
    joint = untaught()
    mean._core = joint._core
    assert joint.config_.lead_pooling == "joint" and joint.config_.difference(mean.config_) == ["lead_pooling"]
    asked = joint.predict_proba(records, CLASSES, lead_pooling="mean").tobytes()
    assert mean.predict_proba(records, CLASSES).tobytes() == asked
    together = joint.predict_proba(records, CLASSES).tobytes()
    assert mean.predict_proba(records, CLASSES, lead_pooling="joint").tobytes() == together != asked
    mean.save(tmp_path / "mean.safetensors")
    again = kmerl.load_model(tmp_path / "mean.safetensors")
    again.text_encoder = HashEncoder()
    assert again.config_.lead_pooling == "mean" and again.untrained(1).config_.lead_pooling == "mean"
    assert again.predict_proba(records, CLASSES).tobytes() == asked


def test_the_cosine_is_that_of_all_leads_together(model, records):
    cosine = model.predict_proba(records, CLASSES, method="cosine", lead_pooling="joint")
    mean = model.predict_proba(records, CLASSES, lead_pooling="mean")
    both = model.predict_proba(records, CLASSES, method="both", lead_pooling="mean")
    assert np.array_equal(both, (cosine + mean) / 2)
    option = untaught(lead_pooling="mean")
    assert np.array_equal(option.predict_proba(records, CLASSES, method="cosine"),
                          untaught().predict_proba(records, CLASSES, method="cosine"))


@pytest.mark.parametrize("pooling, method, words", [
    ("max", None, "lead_pooling must be None, 'joint' or 'mean', got 'max'"), (1, None, "got 1"),
    ("mean", "cosine", "lead_pooling='mean' is about the query network"),
])
def test_bad_lead_pooling(model, records, pooling, method, words):
    with pytest.raises(ValueError, match=words):
        model.predict_proba(records, CLASSES, method=method, lead_pooling=pooling)


def test_prompts_stand_for_classes_in_the_cosine(model, records):
    prompts = {"atrial fibrillation": "absent p waves, irregular", "sinus rhythm": "regular p waves",
               "left bundle branch block": "broad notched r", "another": "not asked"}
    with pytest.raises(ValueError, match="does not know 'absent p waves, irregular'"):
        model.predict_proba(records, CLASSES, method="cosine", prompts=prompts)
    model.text_encoder = HashEncoder()
    try:
        cosine = model.predict_proba(records, CLASSES, method="cosine", prompts=prompts)
        assert np.array_equal(cosine, model.predict_proba(records, [prompts[c] for c in CLASSES], method="cosine"))
        both = model.predict_proba(records, CLASSES, method="both", prompts=prompts)
        query = model.predict_proba(records, CLASSES, method="query")
        assert np.allclose(both, (cosine + query) / 2, atol=1e-6)
    finally:
        model.text_encoder = None


@pytest.mark.parametrize("prompts, method, error, words", [
    ({c: "x" for c in CLASSES}, "query", ValueError, "need method='cosine' or 'both'"),
    ({"sinus rhythm": "x"}, "cosine", ValueError, "no text for 'atrial fibrillation', 'left bundle branch block'"),
    ({c: " " for c in CLASSES}, "cosine", ValueError, r"prompts\['atrial fibrillation'\] is ' ', expected a text"),
    (["x"] * 3, "both", TypeError, "prompts must be a mapping of classes to texts, got list"),
])
def test_bad_prompts(model, records, prompts, method, error, words):
    with pytest.raises(error, match=words):
        model.predict_proba(records, CLASSES, method=method, prompts=prompts)
