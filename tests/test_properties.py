"""What holds of any input: an answer of the documented shape in [0, 1], or one of the documented errors; no warning.

Hypothesis draws the inputs, the same at each run. ``KMERL_PROPERTIES=1000`` draws so many of each, at random; the first
failure prints what reproduces it."""

import math
import os
import warnings

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402
from small import TINY, HashEncoder, make_store  # noqa: E402

import kmerl  # noqa: E402
from kmerl import _kmerl, metrics  # noqa: E402
from kmerl.leads import LEADS, lead_ids  # noqa: E402

EXAMPLES = int(os.environ.get("KMERL_PROPERTIES", 0))
often = settings(max_examples=EXAMPLES or 30, derandomize=not EXAMPLES, deadline=None, database=None,
                 suppress_health_check=list(hypothesis.HealthCheck))
DOCUMENTED = (ValueError, TypeError, LookupError, OverflowError, RuntimeError, MemoryError, ImportError, OSError)
pytestmark = pytest.mark.filterwarnings("error")
CLASSES = ["sinus rhythm", "atrial fibrillation", "left bundle branch block", "st depression"]


def outcome(call):
    """What a call gives, or None for a documented error that says something."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=metrics.UndefinedMetricWarning)
        try:
            return call()
        except DOCUMENTED as error:
            assert str(error).strip(), type(error)
            return None


@pytest.fixture(scope="module")
def model():
    """Answers any text."""
    model = kmerl.KMERL(**{**TINY, "threads": 1}).initialize(HashEncoder.width)
    model.text_encoder = HashEncoder()
    return model


@pytest.fixture(scope="module")
def isolated():
    """A class's answer is its own."""
    model = kmerl.KMERL(**{**TINY, "threads": 1}, isolate_queries=True).initialize(HashEncoder.width)
    model.text_encoder = HashEncoder()
    return model


@pytest.fixture(scope="module")
def minmax():
    model = kmerl.KMERL(**{**TINY, "threads": 1}, normalisation="minmax").initialize(HashEncoder.width)
    model.text_encoder = HashEncoder()
    return model


# ---- inputs ----------------------------------------------------------------------------------------------------

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(max_size=8), st.binary(max_size=8),
    st.dates(), st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sets(st.integers(), max_size=2), st.just(object()), st.just(np.float32), st.just(np.zeros(0)), st.just(...),
    st.just(range(5)), st.integers(-3, 3).map(np.int8), st.just(np.datetime64("NaT")))
dtypes = st.one_of(hnp.scalar_dtypes(), hnp.array_dtypes(max_size=2), st.just(np.dtype(object)))
any_array = dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=14),
                             elements=anything if dtype.hasobject else None))
lead_names = st.one_of(st.sampled_from(LEADS), st.sampled_from(["avr", " II ", "V7", "", "i", "ecg", "\0"]))
any_leads = st.one_of(st.lists(lead_names, max_size=14), st.lists(st.one_of(lead_names, anything), max_size=4),
                      st.text(max_size=4), anything)
any_rate = st.one_of(st.floats(), st.integers(), st.sampled_from([1, 100_000, 0.9999, 250, 500, 360.5, np.float32(128)]),
                     anything)
any_classes = st.one_of(st.lists(st.one_of(st.sampled_from(CLASSES), st.text(max_size=12)), max_size=6),
                        st.text(max_size=20), st.lists(anything, max_size=3), anything)
samples = st.one_of(st.floats(-5, 5, width=32), st.floats(width=32), st.just(math.nan))


@st.composite
def signals(draw, samples=samples, leads=None, least=0, most=12_000, usable=False):
    """(leads, samples) that is nearly right: its numbers are short patterns, repeated, on top of a slow wave."""
    names = draw(st.lists(st.sampled_from(LEADS), min_size=1, max_size=12, unique=True)) if leads is None else leads
    length = draw(st.integers(least, most))
    pattern = draw(hnp.arrays(np.float32, (len(names), draw(st.integers(1, 9))), elements=samples))
    x = np.resize(np.tile(pattern, 1 + length // pattern.shape[1])[:, :length], (len(names), length))
    if usable or draw(st.booleans()):
        with np.errstate(all="ignore"):
            x = x + np.sin(np.arange(length) / 20 + np.arange(len(names))[:, None]).astype(np.float32)
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16, np.int16, ">f4", np.longdouble]))
    with np.errstate(all="ignore"):
        x = np.nan_to_num(x).clip(-3e4, 3e4).astype(dtype) if np.dtype(dtype).kind == "i" else x.astype(dtype)
    layout = draw(st.sampled_from(["C", "F", "reversed", "strided", "read-only", "list"]))
    if layout == "F":
        x = np.asfortranarray(x)
    elif layout == "reversed":
        x = x[:, ::-1]
    elif layout == "strided":
        x = np.repeat(x, 2, axis=1)[:, ::2]
    elif layout == "read-only":
        x.flags.writeable = False
    elif layout == "list" and length < 400:
        x = x.tolist()
    return x, names


def in_range(p, shape):
    assert p.shape == shape and p.dtype == np.float32
    assert np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()


# ---- an answer or an error -------------------------------------------------------------------------------------


@often
@given(x=st.one_of(any_array, anything, st.lists(any_array, max_size=2)), leads=any_leads, fs=any_rate,
       classes=any_classes)
def test_predict_takes_anything(model, x, leads, fs, classes):
    outcome(lambda: model.predict_proba(x, classes, leads=leads, fs=fs))
    outcome(lambda: model.encode(x, leads=leads, fs=fs))
    outcome(lambda: model.attend(x, classes, leads=leads, fs=fs))
    outcome(lambda: kmerl.Record(x, fs, leads))
    outcome(lambda: kmerl.read_record(x))


@often
@given(made=signals(), fs=st.one_of(st.sampled_from([500, 250, 100, 1000, 128.5]), st.floats(1, 100_000)),
       classes=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=5),
       method=st.sampled_from([None, "query", "cosine", "both"]), windows=st.sampled_from(["all", "first"]),
       pooling=st.sampled_from([None, "joint", "mean"]))
def test_what_is_nearly_right_is_answered_or_refused(model, made, fs, classes, method, windows, pooling):
    x, leads = made
    answer = outcome(lambda: model.predict_proba(x, classes, leads=leads, fs=fs, method=method, windows=windows,
                                                 lead_pooling=pooling, details=True))
    if answer is None:
        return
    in_range(answer.probabilities, (len(classes),))
    about = answer.recordings[0]
    assert set(about["leads"]) | set(about["dropped"]) <= set(leads) and about["repaired"] >= 0
    several = model.predict_proba([kmerl.Record(x, fs, leads)], classes, method=method, windows=windows,
                                  lead_pooling=pooling)
    in_range(several, (1, len(classes)))
    assert several[0].tobytes() == answer.probabilities.tobytes()
    features = model.encode(x, leads=leads, fs=fs, windows=windows)
    assert features.shape == (model.config_.width,) and np.isfinite(features).all()
    if method != "cosine":
        maps = model.attend(x, classes, leads=leads, fs=fs)
        assert maps.shape[:2] == (len(classes), len(leads)) and (maps >= 0).all()
        assert np.allclose(maps.sum(axis=(1, 2)), 1, atol=1e-4)


@often
@given(x=st.one_of(any_array, anything), to=any_rate, normalisation=st.sampled_from(["minmax", "zscore"]),
       apart=st.booleans())
def test_the_core_takes_only_what_it_can(x, to, normalisation, apart):
    outcome(lambda: _kmerl.resample(x, 500.0, to))
    outcome(lambda: _kmerl.sigmoid(x))
    outcome(lambda: _kmerl.average_windows(x, x, x, 2))
    outcome(lambda: _kmerl.sample_windows([x], [x], ["x"], kmerl.Config(normalisation=normalisation).to_core(4), False,
                                          apart, 1)
            if normalisation in kmerl.config._CHOICES["normalisation"] else None)
    outcome(lambda: lead_ids(x))


@often
@given(texts=st.one_of(anything, any_array, st.lists(st.one_of(st.text(), anything), max_size=4),
                       st.lists(st.text(alphabet="kein Hinweis auf?!.,-/Infarkt no AF ST 123\u00df\U0001f600\u0301\n"),
                                max_size=4)),
       extractor=st.one_of(st.just("lexicon"), anything))
def test_extract_takes_any_text(texts, extractor):
    found = outcome(lambda: kmerl.extract(texts, extractor=extractor))
    if found is not None:
        texts = [texts] if isinstance(texts, str) else list(texts)
        assert len(found) == len(texts)
        for text, findings in zip(texts, found, strict=True):
            for finding in findings:
                assert 0 <= finding.span[0] < finding.span[1] <= len(text)
                assert finding.status in ("asserted", "negated", "hedged")


@often
@given(data=st.data(), y=st.one_of(any_array, anything), p=st.one_of(any_array, anything), n=anything, seed=anything)
def test_metrics_take_anything(data, y, p, n, seed):
    for function in (metrics.roc_auc_score, metrics.average_precision_score, metrics.brier_score,
                     metrics.expected_calibration_error, metrics.f1_threshold, metrics.roc_curve,
                     metrics.precision_recall_curve, metrics.calibration_curve):
        outcome(lambda function=function: function(y, p))
    outcome(lambda: metrics.bootstrap(y, p, n=n if not isinstance(n, int) or n < 100 else 5, seed=seed, threads=1))


@often
@given(data=st.data(), rows=st.integers(1, 30), columns=st.integers(1, 4))
def test_metrics_of_labels_and_scores_are_in_range(data, rows, columns):
    y = data.draw(hnp.arrays(np.uint8, (rows, columns), elements=st.integers(0, 1)))
    p = data.draw(hnp.arrays(np.float32, (rows, columns), elements=st.floats(0, 1, width=32)))
    for function in (metrics.roc_auc_score, metrics.average_precision_score, metrics.brier_score,
                     metrics.expected_calibration_error):
        value = outcome(lambda function=function: function(y, p))
        assert value is not None and (math.isnan(value) or 0 <= value <= 1)
    found = outcome(lambda: metrics.bootstrap(y, p, n=10, threads=1))
    if found is not None and not np.isnan(found.estimate):
        assert math.isnan(found.low) or 0 <= found.low <= found.high <= 1


@often
@given(parameters=st.dictionaries(st.one_of(st.sampled_from(sorted(kmerl.KMERL().get_params())), st.text(max_size=5)),
                                  st.one_of(anything, st.integers(-2, 64), st.floats()), max_size=3),
       text_dim=st.one_of(anything, st.integers(1, 64)))
def test_the_constructor_takes_anything(parameters, text_dim):
    # Sizes are kept small: what a large one asks of memory is another matter.
    small = {k: v for k, v in parameters.items() if not (isinstance(v, (int, float)) and abs(v) > 64)}
    assume(not isinstance(text_dim, int) or text_dim <= 64)

    def made():
        model = kmerl.KMERL(**{**TINY, **small}).initialize(text_dim)
        return all(np.isfinite(value).all() for value in model.parameters().values())

    assert outcome(made) in (True, None)


@often
@given(arguments=st.fixed_dictionaries(
    {}, optional={"seed": anything, "findings": st.one_of(anything, st.lists(st.sampled_from(CLASSES), max_size=3)),
                  "prevalence": st.one_of(anything, st.dictionaries(st.sampled_from(CLASSES), st.floats(), max_size=2)),
                  "fs": any_rate, "seconds": st.one_of(st.floats(0, 12), st.just("x")), "leads": any_leads,
                  "noise": st.one_of(st.floats(), anything), "threads": st.one_of(anything, st.integers(0, 3))}))
def test_simulate_takes_anything(arguments):
    found = outcome(lambda: kmerl.simulate(1, **arguments))
    if found is not None:
        assert len(found) == 1 and np.isfinite(found[0].signal).all() and found[0].report.strip()


@often
@given(records=st.lists(st.one_of(anything, signals(most=900)), min_size=1, max_size=4), reports=st.one_of(
    st.none(), anything, st.lists(st.one_of(st.text(max_size=9), anything), max_size=4)))
def test_a_store_is_built_or_refused(tmp_path_factory, records, reports):
    records = [outcome(lambda r=r: kmerl.Record(r[0], 500, r[1])) if isinstance(r, tuple) else r for r in records]
    folder = tmp_path_factory.mktemp("property")

    def made():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)      # of recordings that were skipped, which is documented
            return kmerl.Store.create(folder / "s", records, reports, progress=False)

    store = outcome(made)
    if store is not None:
        with store:
            assert len(store) + len(store.skipped) == len(records)
            for record in store:
                assert record.signal.dtype == np.float32 and record.fs == 500


# ---- metamorphic -----------------------------------------------------------------------------------------------


usable = signals(samples=st.floats(-1, 1, width=16), least=100, most=6000, usable=True)


@often
@given(made=usable, seed=st.integers(0, 99))
def test_lead_order(model, made, seed):
    x, leads = made
    x = np.asarray(x, np.float32)
    order = np.random.default_rng(seed).permutation(len(leads))
    a = outcome(lambda: model.predict_proba(x, CLASSES, leads=leads, fs=500))
    b = outcome(lambda: model.predict_proba(x[order], CLASSES, leads=[leads[i] for i in order], fs=500))
    assert (a is None) == (b is None)
    assert a is None or a.tobytes() == b.tobytes()


@often
@given(made=st.lists(usable, min_size=1, max_size=5), seed=st.integers(0, 99), cut=st.integers(0, 5))
def test_recording_order_batch_split_and_duplicates(model, made, seed, cut):
    records = [kmerl.Record(np.asarray(x, np.float32), 500, leads) for x, leads in made]
    records = [r for r in records if outcome(lambda r=r: model.predict_proba(r, CLASSES)) is not None]
    assume(records)
    together = model.predict_proba(records, CLASSES)
    order = np.random.default_rng(seed).permutation(len(records))
    assert model.predict_proba([records[i] for i in order], CLASSES).tobytes() == together[order].tobytes()
    parts = [model.predict_proba(part, CLASSES) for part in (records[:cut], records[cut:]) if part]
    assert np.concatenate(parts).tobytes() == together.tobytes()
    assert model.predict_proba(records + records, CLASSES).tobytes() == together.tobytes() * 2
    assert model.encode(records + records).tobytes() == model.encode(records).tobytes() * 2


@often
@given(made=usable, power=st.integers(-8, 8), shift=st.integers(-4, 4))
def test_units_do_not_matter_under_min_max(minmax, made, power, shift):
    x, leads = np.round(np.asarray(made[0], np.float32) * 256) / 256, made[1]     # exact at any of these scales
    a = outcome(lambda: minmax.predict_proba(x, CLASSES, leads=leads, fs=500))
    b = outcome(lambda: minmax.predict_proba(x * np.float32(2.0**power), CLASSES, leads=leads, fs=500))
    assert (a is None) == (b is None)
    assert a is None or np.abs(a - b).max() < 1e-5
    c = outcome(lambda: minmax.predict_proba(x + np.float32(shift), CLASSES, leads=leads, fs=500))
    assert a is None or np.abs(a - c).max() < 1e-4


@often
@given(made=usable, kind=st.sampled_from([math.nan, 0.0, 1.5, math.inf]), keep=st.integers(1, 11))
def test_masked_is_absent(model, made, kind, keep):
    x, leads = np.array(made[0], np.float32), made[1]
    assume(len(leads) > keep)
    a = outcome(lambda: model.predict_proba(x[:keep], CLASSES, leads=leads[:keep], fs=500))
    masked = np.ma.masked_invalid(x)
    masked[keep:] = np.ma.masked
    x[keep:] = kind
    for one in (x, masked):
        b = outcome(lambda one=one: model.predict_proba(one, CLASSES, leads=leads, fs=500))
        assert (a is None) == (b is None)
        assert a is None or a.tobytes() == b.tobytes()


@often
@given(made=usable, classes=st.lists(st.text(alphabet="abcdef", min_size=1, max_size=4), min_size=1, max_size=6,
                                     unique=True), seed=st.integers(0, 99))
def test_class_order_and_repetition(model, isolated, made, classes, seed):
    x, leads = made
    order = np.random.default_rng(seed).permutation(len(classes))
    turned = [classes[i] for i in order]
    a = outcome(lambda: model.predict_proba(x, classes, leads=leads, fs=500))
    assume(a is not None)
    b = model.predict_proba(x, turned, leads=leads, fs=500)
    assert np.abs(a[order] - b).max() < 1e-5
    assert model.predict_proba(x, classes + classes, leads=leads, fs=500).tobytes() == a.tobytes() * 2
    alone = isolated.predict_proba(x, classes[0], leads=leads, fs=500)
    assert np.abs(isolated.predict_proba(x, turned, leads=leads, fs=500)[turned.index(classes[0])] - alone[0]) < 1e-5


@often
@given(scores=st.lists(st.integers(0, 20), min_size=4, max_size=40), seed=st.integers(0, 99))
def test_ranking_metrics_see_only_the_order(scores, seed):
    p = np.array(scores) / 20
    y = np.random.default_rng(seed).integers(0, 2, len(p))
    assume(0 < y.sum() < len(y))
    order = np.random.default_rng(seed + 1).permutation(len(p))
    for metric in (metrics.roc_auc_score, metrics.average_precision_score):
        assert math.isclose(metric(y, p), metric(y[order], p[order]), abs_tol=1e-12)
        assert math.isclose(metric(y, p), metric(y, np.exp(3 * p)), abs_tol=1e-12)
    assert math.isclose(metrics.roc_auc_score(y, p), 1 - metrics.roc_auc_score(1 - y, p), abs_tol=1e-12)


def test_zero_shot_takes_any_class_that_is_there(model, tmp_path):
    """evaluate: the scores of a report are those that the model gives, in [0, 1]."""
    data = kmerl.sample_dataset()
    trained = kmerl.KMERL(**{**TINY, "threads": 1, "epochs": 1})
    trained.fit(make_store(tmp_path / "s", 8), progress=False, max_steps=1)
    trained.text_encoder = HashEncoder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = kmerl.evaluate.zero_shot(trained, data, resamples=5, progress=False)
    assert report.scores.shape == (len(report.records), len(report.classes))
    assert ((report.scores >= 0) & (report.scores <= 1)).all()
