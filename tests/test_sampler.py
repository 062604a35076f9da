"""From recordings to packed batches, against a plain NumPy twin; Batch and what it refuses."""

import numpy as np
import pytest

import kmerl
from kmerl import _kmerl
from kmerl.batch import Batch, sample_batch, sample_windows
from kmerl.config import Config, masked_distribution
from kmerl.leads import LEADS

STEP = np.float32(0.001)
D, Q = 8, 3


class Store:
    """The part of a store that the sampler needs, from a list of {lead id: int16 samples}."""

    def __init__(self, recordings, seed=0):
        rng = np.random.default_rng(seed)
        self.recordings = recordings
        half = max(1, len(recordings) // 2)
        groups = [recordings[:half], recordings[half:]]
        shards, shard, start = [], [], []
        for g, group in enumerate(groups):
            parts, at = [np.full(5, 77, np.int16)], 5
            for r in group:
                flat = np.concatenate([r[lead] for lead in sorted(r)])
                shard.append(g)
                start.append(at)
                at += len(flat)
                parts.append(flat)
            shards.append(np.concatenate(parts).astype(np.int16))
        n = len(recordings)
        self.arrays = {
            "shards": shards,
            "shard": np.array(shard, np.int32),
            "start": np.array(start, np.int64),
            "leads": np.array([sum(1 << lead for lead in r) for r in recordings], np.uint16),
            "samples": np.array([len(next(iter(r.values()))) for r in recordings], np.int32),
            "report": np.arange(n, dtype=np.int32)[::-1].copy() // 2,
            "embeddings": rng.normal(size=(n, D)).astype(np.float32),
            "labels": rng.integers(0, 2, (n, Q)).astype(np.uint8),
            "entities": rng.normal(size=(Q, D)).astype(np.float32),
        }

    def corpus(self):
        return self.arrays


def ecg(rng, leads=range(12), samples=1000):
    """Random walks in steps of 1 uV."""
    return {
        lead: np.clip(rng.normal(0, 30, samples).cumsum(), -30000, 30000).astype(np.int16) for lead in leads
    }


@pytest.fixture
def store():
    rng = np.random.default_rng(1)
    recordings = [ecg(rng) for _ in range(6)]
    recordings.append(ecg(rng, leads=(1, 7)))
    recordings.append(ecg(rng, samples=357))
    recordings.append(ecg(rng, samples=2600))
    gaps = ecg(rng)
    for lead in gaps:
        gaps[lead][rng.integers(0, 900) :][: rng.integers(1, 100)] = -32768
    recordings.append(gaps)
    absent = ecg(rng, leads=(0, 3, 4, 9))
    absent[0][:] = 5  # flat
    absent[3][100:400] = -32768  # too much missing
    recordings.append(absent)
    return Store(recordings)


def settings(**fields):
    return Config(**{"fs": 500, "seconds": 2, **fields})


def usable(x, config):
    there = x != -32768
    return (~there).mean() <= config.max_missing and there.any() and np.ptp(x[there].astype(int)) > 1


def physical(x):
    y = x.astype(np.float32) * STEP
    y[x == -32768] = np.nan
    return _kmerl.repair(y[None])[0][0].astype(np.float64)


def normalised(x, kind, of=None):
    """Rows of x by the statistics of the rows of `of`; SPEC 1 in float64."""
    of = x if of is None else of
    d = x - np.median(x, axis=1, keepdims=True)
    e = of - np.median(of, axis=1, keepdims=True)
    if kind == "zscore":
        return np.clip(d / (e.std() + 1e-6), -8, 8)
    if kind == "minmax":
        return (x - of.min()) / (of.max() - of.min() + 1e-8)
    if kind == "lead":
        return np.clip(d / (d.std(axis=1, keepdims=True) + 1e-6), -8, 8)
    return x


def twin(store, index, config, seed, epoch):
    """Tokens of one recording as (patches, lead, segment); SPEC 1 and 2, plainly."""
    recording = store.recordings[index]
    P, S = config.segment_samples, int(config.fs * config.seconds)
    n = len(next(iter(recording.values())))
    M = min(n, S) // P
    window = {lead: x[: M * P] for lead, x in recording.items()}
    present = [lead for lead in sorted(window) if usable(window[lead], config)]
    bits = sum(1 << lead for lead in window)
    order, count = _kmerl.mask_leads(
        bits, tuple(masked_distribution(config.masked_leads)), seed, epoch, index
    )
    shown = sorted([lead for lead in order if lead in present][:count])
    statistics = np.stack(
        [physical(window[lead]) for lead in (present if config.normalisation_scope == "present" else shown)]
    )
    x = normalised(np.stack([physical(window[lead]) for lead in shown]), config.normalisation, statistics)

    def mask(size, group):
        if config.segment_masking == "none":
            return np.arange(size)
        return np.flatnonzero(_kmerl.mask_segments(size, config.mask_ratio, seed, epoch, index, group))

    if config.tokenisation == "agnostic":
        full = np.zeros((12, M * P))
        full[shown] = x
        keep = mask(M, 12)
        patches = full.reshape(12, M, P).transpose(1, 0, 2).reshape(M, 12 * P)
        return patches[keep], np.zeros(len(keep)), keep
    if config.segment_masking == "at once":
        keep = mask(len(shown) * M, 12)
    else:
        keep = np.concatenate([i * M + mask(M, lead) for i, lead in enumerate(shown)])
    return x.reshape(-1, P)[keep], np.array(shown)[keep // M], keep % M


CASES = [
    {},
    {"normalisation": "minmax"},
    {"normalisation": "lead"},
    {"normalisation": "none"},
    {"normalisation_scope": "present"},
    {"normalisation": "minmax", "normalisation_scope": "present"},
    {"segment_masking": "at once"},
    {"segment_masking": "none"},
    {"masked_leads": (0,)},
    {"masked_leads": {9: 0.5, 3: 0.5}, "mask_ratio": 0.75},
    {"tokenisation": "agnostic"},
    {"tokenisation": "agnostic", "segment_masking": "none", "normalisation_scope": "present"},
    {"segment_samples": 25},
    {"max_missing": 0.5},
]


@pytest.mark.parametrize("fields", CASES, ids=str)
def test_batch_equals_the_twin(store, fields):
    config = settings(**fields)
    indices = [8, 0, 10, 7, 6, 9, 3, 0]
    for seed, epoch in ((0, 0), (5, 2)):
        batch = sample_batch(store, indices, seed=seed, epoch=epoch, config=config)
        assert len(batch) == len(indices)
        for b, index in enumerate(indices):
            patches, lead, segment = twin(store, index, config, seed, epoch)
            own = slice(batch.offset[b], batch.offset[b + 1])
            np.testing.assert_array_equal(batch.lead[own], lead)
            np.testing.assert_array_equal(batch.segment[own], segment)
            np.testing.assert_allclose(batch.patches[own], patches, rtol=1e-4, atol=1e-5)
        rows = store.arrays["report"][indices]
        np.testing.assert_array_equal(batch.report_id, rows)
        np.testing.assert_array_equal(batch.report, store.arrays["embeddings"][rows])
        np.testing.assert_array_equal(batch.labels, store.arrays["labels"][rows])
        np.testing.assert_array_equal(batch.entities, store.arrays["entities"])
        batch.check(config)


def test_the_default_batch_has_the_paper_s_numbers():
    rng = np.random.default_rng(0)
    batch = sample_batch(Store([ecg(rng, samples=5000) for _ in range(40)]), range(40))
    tokens = np.diff(batch.offset)
    assert set(tokens) == {37, 74, 111}
    assert batch.patches.dtype == np.float32 and batch.patches.shape == (tokens.sum(), 100)
    assert batch.lead.dtype == batch.segment.dtype == batch.offset.dtype == np.int32
    for b in range(40):
        lead = batch.lead[batch.offset[b] : batch.offset[b + 1]]
        assert (np.bincount(lead, minlength=12)[np.unique(lead)] == 37).all()
        assert (
            np.diff(lead.astype(int) * 50 + batch.segment[batch.offset[b] : batch.offset[b + 1]]) > 0
        ).all()


def test_threads_and_company_change_no_bit(store):
    config = settings()
    one = sample_batch(store, range(11), seed=3, config=config, threads=1)
    two = sample_batch(store, range(11), seed=3, config=config, threads=2)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, getattr(two, name))
    alone = sample_batch(store, [4], seed=3, config=config)
    np.testing.assert_array_equal(alone.patches, one.patches[one.offset[4] : one.offset[5]])
    other = sample_batch(store, range(11), seed=3, epoch=1, config=config)
    assert not np.array_equal(other.lead[:100], one.lead[:100])


def test_random_windows_move_and_stay_inside():
    x = np.arange(3000, dtype=np.int16)
    config = settings(window="random", masked_leads=(0,), segment_masking="none", normalisation="none")
    store = Store([{0: x}, {0: x[:1000]}])
    starts = set()
    for epoch in range(40):
        batch = sample_batch(store, [0, 1], epoch=epoch, config=config)
        first = batch.patches[:10].ravel() / STEP
        np.testing.assert_allclose(first, np.arange(1000) + first[0], rtol=1e-5)
        starts.add(round(float(first[0])))
        assert batch.patches[10, 0] == 0
    assert len(starts) > 30 and min(starts) >= 0 and max(starts) <= 2000
    again = sample_batch(store, [0], epoch=7, config=config)
    np.testing.assert_array_equal(again.patches, sample_batch(store, [0], epoch=7, config=config).patches)


@pytest.mark.parametrize(
    "samples, part", [(99, "recording 1 has 99 samples, shorter than one segment of 100"), (1, "1 samples")]
)
def test_too_short_for_a_segment(samples, part):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=part):
        sample_batch(Store([ecg(rng), ecg(rng, samples=samples)]), [0, 1], config=settings())


def test_no_lead_left():
    flat = {0: np.full(1000, 4, np.int16), 1: np.full(1000, -32768, np.int16)}
    rng = np.random.default_rng(0)
    with pytest.raises(
        ValueError, match=r"recording 1 has no lead left: each of its 2 is flat or has more than 20 % missing"
    ):
        sample_batch(Store([ecg(rng), flat]), [0, 1], config=settings())


@pytest.mark.parametrize(
    "indices, error, part",
    [
        ([], ValueError, "indices is empty"),
        ([11], IndexError, "0 to 10"),
        ([-12], IndexError, "0 to 10"),
        ([0.5], TypeError, "integers"),
        (["a"], TypeError, "integers"),
        ([[0, 1]], ValueError, r"\(B,\)"),
    ],
)
def test_bad_indices(store, indices, error, part):
    with pytest.raises(error, match=part):
        sample_batch(store, indices, config=settings())


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("seed", -1, ValueError),
        ("seed", 2**64, ValueError),
        ("seed", 1.0, TypeError),
        ("epoch", 2**32, ValueError),
        ("epoch", True, TypeError),
    ],
)
def test_bad_seed_and_epoch(store, name, value, error):
    with pytest.raises(error, match=name):
        sample_batch(store, [0], config=settings(), **{name: value})


def test_corpus_is_checked(store):
    real = _kmerl.build_info()["real"]

    def corpus(**changes):
        arrays = {**store.arrays, **changes}
        for name in ("embeddings", "entities"):
            arrays[name] = arrays[name].astype(real)
        return _kmerl.Corpus(arrays)

    assert len(corpus()) == 11
    n = 11
    for name, value, part in [
        ("shard", np.full(n, 2, np.int32), "shard 2 is none of the 2"),
        ("shard", np.full(n, -1, np.int32), "shard -1"),
        ("start", np.full(n, 2**62), "leave shard"),
        ("start", np.full(n, -1), "leave shard"),
        ("samples", np.full(n, 2**31 - 1, np.int32), "leave shard"),
        ("samples", np.zeros(n, np.int32), "leave shard"),
        ("leads", np.zeros(n, np.uint16), "no set of the twelve"),
        ("leads", np.full(n, 1 << 12, np.uint16), "no set"),
        ("report", np.full(n, n, np.int32), "report 11 is none of the 11"),
        ("report", np.full(n, -1, np.int32), "report -1"),
        ("shard", np.zeros(n - 1, np.int32), "length 11"),
        ("labels", np.zeros((n, 2), np.uint8), "entities has length 3"),
    ]:
        with pytest.raises(ValueError, match=part):
            corpus(**{name: value})
    with pytest.raises(TypeError, match="int16"):
        corpus(shards=[np.zeros(5, np.int32)])
    with pytest.raises(TypeError, match="list"):
        corpus(shards=None)
    with pytest.raises(KeyError, match="lacks report"):
        _kmerl.Corpus({k: v for k, v in corpus().arrays.items() if k != "report"})
    with pytest.raises(TypeError, match="_kmerl.Corpus"):
        _kmerl.sample_batch({}, np.zeros(1, np.int64), settings().to_core(D), 0, 0, 1)


# Windows of recordings


def record(rng, samples=1000, fs=500.0, leads=("I", "II", "V1"), name=None):
    return kmerl.Record(rng.normal(size=(len(leads), samples)).cumsum(1) / 20, fs, list(leads), name=name)


def test_windows_are_consecutive_and_unmasked():
    rng = np.random.default_rng(0)
    config = settings()
    records = [record(rng, 2350), record(rng, 1000, leads=["V6", "aVF"]), record(rng, 2099)]
    batch, rows = sample_windows(records, config)
    assert rows["recording"].tolist() == [0, 0, 0, 1, 2, 2]
    assert rows["start"].tolist() == [0, 1000, 2000, 0, 0, 1000]
    assert rows["segments"].tolist() == [10, 10, 3, 10, 10, 10]
    assert np.diff(batch.offset).tolist() == [30, 30, 9, 20, 30, 30]
    assert batch.lead[batch.offset[3] : batch.offset[4]].tolist() == [5] * 10 + [11] * 10
    assert batch.labels is None and batch.report is None
    for b, (r, start, M) in enumerate(zip(rows["recording"], rows["start"], rows["segments"], strict=True)):
        own = slice(batch.offset[b], batch.offset[b + 1])
        order = np.argsort([LEADS.index(lead) for lead in records[r].leads])
        x = records[r].signal[order, start : start + M * 100].astype(np.float64)
        np.testing.assert_allclose(
            batch.patches[own], normalised(x, "zscore").reshape(-1, 100), rtol=1e-4, atol=1e-5
        )
        assert batch.segment[own].tolist() == list(range(M)) * len(order)
    first, rows = sample_windows(records, config, first=True)
    assert rows["recording"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(first.patches[:30], batch.patches[:30])


def test_windows_at_other_rates_and_alone_are_the_same():
    rng = np.random.default_rng(0)
    config = settings()
    records = [record(rng, 720, fs=360), record(rng, 4000, fs=1000), record(rng, 514, fs=257)]
    batch, rows = sample_windows(records, config)
    assert rows["segments"].tolist() == [10, 10, 10, 10]
    alone, _ = sample_windows(records[1:2], config, threads=2)
    np.testing.assert_array_equal(alone.patches, batch.patches[batch.offset[1] : batch.offset[3]])


def test_lead_order_never_matters():
    rng = np.random.default_rng(0)
    one = record(rng, leads=["I", "aVF", "V3"])
    other = one.select(["V3", "I", "aVF"])
    for name, array in sample_windows([one], settings())[0].arrays().items():
        np.testing.assert_array_equal(array, getattr(sample_windows([other], settings())[0], name))


def test_an_absent_lead_equals_one_that_is_not_there():
    rng = np.random.default_rng(0)
    whole = record(rng, leads=["I", "II", "III", "V1"])
    less = whole.select(["I", "V1"])
    whole.signal[1, :250] = np.nan
    whole.signal[2] = 0.123
    batch, rows = sample_windows([whole], settings())
    np.testing.assert_array_equal(batch.patches, sample_windows([less], settings())[0].patches)
    assert rows["dropped"].tolist() == [0b110] and rows["visible"].tolist() == [1 | 1 << 6]


def test_repairs_are_counted_and_bounded():
    rng = np.random.default_rng(0)
    x = record(rng)
    x.signal[0, 100:150] = np.inf
    x.signal[2, :200] = np.nan
    batch, rows = sample_windows([x], settings())
    assert rows["repaired"].tolist() == [250] and rows["dropped"].tolist() == [0]
    assert np.isfinite(batch.patches).all()
    x.signal[2, 200] = np.nan  # one more than 20 %
    assert sample_windows([x], settings())[1]["dropped"].tolist() == [1 << 6]


def test_a_window_without_a_lead_is_skipped():
    rng = np.random.default_rng(0)
    x = record(rng, 3000)
    x.signal[:, 1000:2000] = 0
    _, rows = sample_windows([x], settings())
    assert rows["start"].tolist() == [0, 2000]
    flat = kmerl.Record(np.zeros((2, 2000)), 500, ["I", "II"], name="A7")
    with pytest.raises(ValueError, match="A7 has no lead left"):
        sample_windows([x, flat, x], settings())
    with pytest.raises(ValueError, match="recording 0 has no lead left"):
        sample_windows([kmerl.Record(np.full((1, 1000), np.nan), 500, ["I"])], settings())


@pytest.mark.parametrize("options", [{}, {"normalisation": "minmax", "normalisation_scope": "present"},
                                     {"tokenisation": "agnostic"}])
@pytest.mark.parametrize("first", [False, True])
def test_leads_apart_are_the_windows_of_each_lead_alone(options, first):
    rng = np.random.default_rng(0)
    config = settings(**options)
    records = [record(rng, 2350, leads=["V1", "II", "aVL"]), record(rng, 500, fs=250, leads=["V6"])]
    records[0].signal[1, 1000:2000] = 0.5
    records[0].signal[2, 2100:2120] = np.nan
    batch, rows = sample_windows(records, config, first, apart=True)
    expected = [(0, 0, 1), (0, 0, 4), (0, 0, 6)] + [(0, 1000, 4), (0, 1000, 6), (0, 2000, 1), (0, 2000, 4),
                                                    (0, 2000, 6)] * (not first) + [(1, 0, 11)]
    lead = np.log2(rows["visible"]).astype(int)
    assert list(zip(rows["recording"], rows["start"], lead, strict=True)) == expected
    assert rows["dropped"].tolist() == [1 << 1 if start == 1000 else 0 for _, start, _ in expected]
    assert rows["repaired"].tolist() == [20 if start == 2000 and own == 4 else 0 for _, start, own in expected]
    for i, at in enumerate(expected):
        alone, about = sample_windows([records[at[0]].select([LEADS[at[2]]])], config, first)
        w = about["start"].tolist().index(at[1])
        mine, its = (slice(b.offset[k], b.offset[k + 1]) for b, k in ((batch, i), (alone, w)))
        for name in ("patches", "lead", "segment"):
            np.testing.assert_array_equal(getattr(batch, name)[mine], getattr(alone, name)[its])


def test_windows_of_too_short_recordings():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="B2 has 99 samples at 500 Hz, shorter than one segment of 100"):
        sample_windows([record(rng), record(rng, 99, name="B2")], settings())
    with pytest.raises(ValueError, match="no recordings"):
        sample_windows([], settings())


def test_agnostic_windows_are_zero_where_leads_are_missing():
    rng = np.random.default_rng(0)
    x = record(rng, leads=["II", "V6"])
    batch, _ = sample_windows([x], settings(tokenisation="agnostic"))
    patches = batch.patches.reshape(10, 12, 100)
    assert not patches[:, [i for i in range(12) if i not in (1, 11)]].any()
    expected = normalised(x.signal.astype(np.float64), "zscore").reshape(2, 10, 100)
    np.testing.assert_allclose(patches[:, [1, 11]], expected.transpose(1, 0, 2), rtol=1e-4, atol=1e-5)


# Batches by hand


def parts(**changes):
    arrays = {
        "patches": np.zeros((5, 100)),
        "lead": [0, 0, 1, 2, 11],
        "segment": [0, 1, 0, 0, 49],
        "offset": [0, 3, 5],
        "report": np.ones((2, D)),
        "labels": [[0, 1], [1, 1]],
        "entities": np.ones((2, D)),
    }
    return {**arrays, **changes}


def test_batch_from_plain_arrays():
    batch = Batch(
        **parts(
            lead=np.array([0, 0, 1, 2, 11], np.uint8),
            offset=np.array([0, 3, 5], np.int64),
            labels=[[False, True]] * 2,
        )
    )
    assert len(batch) == 2 and "5 tokens" in repr(batch)
    assert {name: str(a.dtype) for name, a in batch.arrays().items()} == {
        "patches": "float32",
        "lead": "int32",
        "segment": "int32",
        "offset": "int32",
        "report": "float32",
        "labels": "float32",
        "entities": "float32",
    }
    batch.check(Config())
    with pytest.raises(ValueError, match="100 samples a token, the model takes 50"):
        batch.check(Config(segment_samples=50))
    with pytest.raises(ValueError, match=r"segment\[4\] is 49, expected 0 to 19"):
        batch.check(Config(seconds=4))
    with pytest.raises(ValueError, match="text width is 16"):
        batch.check(Config(text_width=16))
    assert Batch(**parts(report=None, labels=None, entities=None)).report is None


@pytest.mark.parametrize(
    "name, value, error, part",
    [
        ("patches", np.zeros(5), ValueError, r"patches must be \(T, P\)"),
        ("patches", np.zeros((0, 100)), ValueError, "patches is empty"),
        ("patches", np.full((5, 100), np.nan), ValueError, r"patches must be finite.*nan at \(0, 0\)"),
        ("patches", np.full((5, 100), 1e300), ValueError, "patches must be finite"),
        ("patches", [["a"]], TypeError, "patches must be real"),
        ("patches", [[1.0], [1.0, 2.0]], ValueError, "patches has rows of different lengths"),
        ("lead", [0, 0, 1, 2], ValueError, "lead has 4 entries, expected T = 5"),
        ("lead", [0, 0, 1, 2, 12], ValueError, r"lead\[4\] is 12, expected 0 to 11"),
        ("lead", [-1, 0, 1, 2, 3], ValueError, r"lead\[0\] is -1"),
        ("lead", [0.0] * 5, TypeError, "lead must be integers"),
        ("segment", [0, -1, 0, 0, 0], ValueError, r"segment\[1\] is -1, expected 0 or more"),
        ("segment", [0, 0, 0, 0, 2**40], ValueError, "segment does not fit int32"),
        ("segment", np.zeros((5, 1), int), ValueError, r"\(T,\)"),
        ("offset", [0, 3, 4], ValueError, "from 0 to the 5 tokens of patches, got 0 to 4"),
        ("offset", [1, 3, 5], ValueError, "got 1 to 5"),
        ("offset", [0, 3, 3, 5], ValueError, "recording 1 owns tokens 3 to 3"),
        ("offset", [0, 6, 5], ValueError, "offset must increase"),
        ("offset", [0], ValueError, "the batch is empty"),
        ("offset", [], ValueError, "the batch is empty"),
        ("offset", [0, 2**33, 5], ValueError, "offset does not fit int32"),
        ("report", np.ones((3, D)), ValueError, "report has 3 rows, offset tells of 2"),
        ("report", np.full((2, D), np.inf), ValueError, "report must be finite"),
        ("labels", [[0, 2], [1, 1]], ValueError, r"labels must be 0 or 1, got 2.0 at \(0, 1\)"),
        ("labels", [[0, np.nan], [1, 1]], ValueError, "labels must be finite"),
        ("labels", [[0, 1, 1], [1, 1, 0]], ValueError, "labels has 3 columns, entities 2 rows"),
        ("labels", [[0, 1]], ValueError, "labels has 1 rows"),
        ("entities", np.ones((2, D + 1)), ValueError, "expected the same text width"),
        ("entities", None, ValueError, "labels need entities"),
        ("report_id", [1], ValueError, "report_id has 1 entries, expected B = 2"),
    ],
)
def test_bad_batches(name, value, error, part):
    with pytest.raises(error, match=part):
        Batch(**parts(**{name: value}))


def test_the_double_build_sees_the_same_samples(store, core64):
    config = settings()
    batch = sample_batch(store, [1, 9], config=config, threads=1)
    arrays = {**store.arrays, "embeddings": store.arrays["embeddings"].astype(float)}
    arrays["entities"] = arrays["entities"].astype(float)
    other = core64.sample_batch(core64.Corpus(arrays), np.array([1, 9]), config.to_core(D), 0, 0, 1)
    assert other["patches"].dtype == np.float64
    for name, array in batch.arrays().items():
        np.testing.assert_array_equal(other[name], array)
