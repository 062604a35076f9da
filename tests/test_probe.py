"""The linear probe: against the loop written plainly, on any number of threads, and what it reports."""

import json
import math
import warnings

import numpy as np
import pytest
from small import TINY
from test_training import order_of

import kmerl
from kmerl import evaluate, metrics
from kmerl.datasets import PARTS, Dataset
from kmerl.probe import RANDOM_SEED
from kmerl.record import Record

STREAM_PROBE = 10  # core/rng.h
SETTINGS = dict(epochs=12, batch_size=16, warmup_steps=5, lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-8, threads=1)


def made(core, N=70, V=40, C=21, K=19, seed=0):
    """Training and validation: features, and outcomes that follow from them."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(C, K))

    def part(n):
        x = rng.normal(size=(n, C))
        y = x @ truth + 4 * rng.normal(size=(n, K)) > 0.5
        return x.astype(core.build_info()["real"]), y.astype(np.uint8)

    return part(N), part(V)


def fit(core, train, validation, seeds=(3,), watched=None, hook=lambda done: None, **changes):
    watched = watched or (train[0][:0], train[1][:0])
    seeds = np.array(seeds, np.uint64)
    return core.probe_fit(*train, *validation, *watched, seeds=seeds, hook=hook, **{**SETTINGS, **changes})


# ---- The loop ----


def first_weights(core, C, K, seed):
    """Those of a probe whose steps are too small for any number."""
    x, y = np.ones((1, C), core.build_info()["real"]), np.ones((1, K), np.uint8)
    found = fit(core, (x, y), (x[:0], y[:0]), seeds=[seed], epochs=1, lr=1e-300)
    return found[0][0], found[1][0]


def twin(train, validation, weight, bias, seed, *, epochs, batch_size, warmup_steps, lr, beta1, beta2, eps):
    """(weight, bias, epoch, macro AUROC of each epoch), in float64."""
    (x, y), w, best, scores, step = train, [weight.astype(float), bias.astype(float)], None, [], 0
    m, v = [0 * w[0], 0 * w[1]], [0 * w[0], 0 * w[1]]
    total = epochs * math.ceil(len(x) / batch_size)
    for epoch in range(1, epochs + 1):
        order = order_of(epoch, seed, range(len(x)), STREAM_PROBE)
        for begin in range(0, len(x), batch_size):
            rows = order[begin : begin + batch_size]
            z = x[rows] @ w[0].T + w[1]
            dz = (1 / (1 + np.exp(-z)) - y[rows]) / z.size
            rate = lr * (1 + math.cos(math.pi * (step - warmup_steps) / (total - warmup_steps))) / 2
            rate = lr * (step + 1) / warmup_steps if step < warmup_steps else rate
            step += 1
            for i, g in enumerate((dz.T @ x[rows], dz.sum(axis=0))):
                m[i] = beta1 * m[i] + (1 - beta1) * g
                v[i] = beta2 * v[i] + (1 - beta2) * g * g
                w[i] = w[i] - rate * (m[i] / (1 - beta1**step)) / (np.sqrt(v[i] / (1 - beta2**step)) + eps)
        scores.append(metrics.roc_auc_score(validation[1], validation[0] @ w[0].T + w[1]))
        if best is None or scores[-1] > scores[best[2] - 1]:
            best = w[0], w[1], epoch
    return (*best, scores)


@pytest.mark.parametrize(
    "changes, sizes",
    [
        ({}, {}),
        ({"batch_size": 7}, {"N": 40}),
        ({"batch_size": 1, "epochs": 3}, {"C": 1, "K": 1, "N": 5}),
        ({"batch_size": 100, "warmup_steps": 0}, {"C": 4, "K": 8}),
        ({"warmup_steps": 1000}, {"K": 16}),
        ({"beta1": 0.5, "beta2": 0.9, "eps": 1e-3}, {"K": 33}),
    ],
)
def test_against_the_loop_in_numpy(core, core64, changes, sizes):
    for one, tolerance in ((core64, 1e-10), (core, 2e-4)):
        train, validation = made(one, **sizes)
        found = fit(one, train, validation, **changes)
        options = {k: v for k, v in {**SETTINGS, **changes}.items() if k != "threads"}
        first = first_weights(one, train[0].shape[1], train[1].shape[1], 3)
        weight, bias, epoch, scores = twin(train, validation, *first, 3, **options)
        np.testing.assert_allclose(found[3][0], scores, atol=0.01 if one is core else 1e-12)
        if one is core64:
            assert found[2][0] == epoch
        if found[2][0] == epoch:
            np.testing.assert_allclose(found[0][0], weight, atol=tolerance)
            np.testing.assert_allclose(found[1][0], bias, atol=tolerance)


def test_first_weights(core):
    weight, bias = first_weights(core, 200, 40, 3)
    assert not bias.any() and 0.03 < np.abs(weight).max() <= 0.04 and abs(weight.mean()) < 1e-3
    assert weight.std() == pytest.approx(0.0176, rel=0.03)      # of the normal with deviation 0.02, cut at two
    assert np.array_equal(first_weights(core, 200, 5, 3)[0], weight[:5])
    assert not np.isin(first_weights(core, 200, 40, 4)[0], weight).any()


def test_the_same_bits_on_any_number_of_threads(core):
    train, validation = made(core, K=50)
    one = fit(core, train, validation, seeds=(3, 8, 5), watched=validation)
    for threads in (2, 3, 64):
        for a, b in zip(one, fit(core, train, validation, (3, 8, 5), validation, threads=threads), strict=True):
            assert a.tobytes() == b.tobytes()
    # A repeat does not depend on the others, a class not on the others, and what is watched changes nothing.
    for a, b in zip(one[:4], fit(core, train, validation, seeds=(8,), threads=2), strict=False):
        assert a[1].tobytes() == b[0].tobytes()
    few = fit(core, (train[0], np.ascontiguousarray(train[1][:, :3])), (validation[0][:0], validation[1][:0, :3]))
    last = fit(core, train, (validation[0][:0], validation[1][:0]))
    assert few[0].shape == (1, 3, 21) and (few[2][0], last[2][0]) == (12, 12)


def test_scores_are_those_of_the_weights(core):
    train, validation = made(core)
    weight, bias, epoch, scores, watched = fit(core, train, validation, watched=train)
    z = core.probe_apply(validation[0], weight[0], bias[0])
    np.testing.assert_allclose(z, validation[0] @ weight[0].T + bias[0], atol=1e-5)
    assert metrics.roc_auc_score(validation[1], z) == scores[0].max() == scores[0, epoch[0] - 1]
    assert epoch[0] == np.argmax(scores[0]) + 1
    z = core.probe_apply(train[0], weight[0], bias[0])
    assert metrics.roc_auc_score(train[1], z) == watched[0, epoch[0] - 1] and watched[0, 0] > 0.5


def test_validation_without_both_outcomes(core):
    train, (x, y) = made(core, K=3)
    y = y.copy()
    y[:, 1] = 0
    weight, bias, epoch, scores, _ = fit(core, train, (x, y))
    z = core.probe_apply(x, weight[0], bias[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert metrics.roc_auc_score(y, z) == scores[0, epoch[0] - 1]
    found = fit(core, train, (x, 0 * y))
    assert found[2][0] == SETTINGS["epochs"] and np.isnan(found[3]).all()


def test_the_core_refuses(core):
    train, validation = made(core)
    bad = train[0].copy()
    bad[4, 7] = np.nan
    for x in (bad, np.where(np.isnan(bad), np.inf, bad), np.where(np.isnan(bad), 2e18, bad)):
        with pytest.raises(ValueError, match="train: feature 7 of recording 4 is .*, expected a finite number"):
            fit(core, (x.astype(bad.dtype), train[1]), validation)
    with pytest.raises(ValueError, match="validation: outcome 0 of recording 1 is 2, expected 0 or 1"):
        fit(core, train, (validation[0], np.where(np.arange(40)[:, None] == 1, 2, validation[1]).astype(np.uint8)))
    with pytest.raises(ValueError, match="y_validation has length 19 along axis 1, expected 3"):
        fit(core, (train[0], train[1][:, :3].copy()), validation)
    for changes in ({"lr": 0.0}, {"lr": math.nan}, {"beta2": 1.0}, {"batch_size": 0}, {"warmup_steps": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))[:4]}.*must|must be"):
            fit(core, train, validation, **changes)
    with pytest.raises(ValueError, match="no recording to train on"):
        fit(core, (train[0][:0], train[1][:0]), validation)


def test_interruption(core):
    train, validation = made(core)
    done = []

    def hook(epochs):
        done.append(epochs)
        if epochs == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(core, train, validation, hook=hook, threads=2)
    assert done == [1, 2, 3, 4]


# ---- linear_probe ----

CLASSES = ["normal ecg", "atrial fibrillation", "left bundle branch block"]


class Made(Dataset):
    """Recordings whose mean of lead I tells class 0, of lead II class 1; class 2 is chance."""

    def __init__(self, train=60, validation=30, test=40, broken=(), short=(), labels=None, patients=None):
        n = train + validation + test
        rng = np.random.default_rng(5)
        truth = rng.random((n, 3)) < 0.5
        self.level = truth + rng.normal(size=(n, 3)) / 2
        ends = np.cumsum([0, train, validation, test])
        split = {part: np.arange(a, b) for part, a, b in zip(PARTS, ends, ends[1:], strict=False)}
        patients = [f"p{i // 2}" for i in range(n)] if patients is None else patients
        labels = truth.astype(np.uint8) if labels is None else labels
        super().__init__("made", [f"x/r{i}" for i in range(n)], labels, CLASSES, patients, split)
        self.broken, self.short, self.reads = broken, short, []

    def __getitem__(self, index):
        self.reads.append(int(index))
        if index in self.broken:
            raise ValueError(f"r{index}.hea: fails its checksum")
        wave = np.random.default_rng(index).normal(size=(12, 500))
        signal = wave / 20 + np.concatenate([self.level[index], np.zeros(9)])[:, None]
        leads = list(kmerl.leads.LEADS)
        record = Record(signal.astype(np.float32), 500, leads, name=f"r{index}")
        return record.select(["V1", "V2"]) if index in self.short else record


class Encoder:
    """Means of all twelve leads, 0 where a lead is missing; another one sees noise."""

    width = 12

    def __init__(self, blind=False):
        self.blind, self.asked = blind, []

    def encode(self, records, windows="all"):
        assert windows == "first"
        self.asked += [(r.name, tuple(r.leads)) for r in records]
        rows = np.zeros((len(records), 12), np.float32)
        for row, record in zip(rows, records, strict=True):
            if self.blind:
                row[:] = np.random.default_rng(int(record.name[1:])).normal(size=12)
            else:
                row[[kmerl.leads.LEADS.index(lead) for lead in record.leads]] = record.signal.mean(axis=1)
        return rows

    def untrained(self, seed):
        assert seed == RANDOM_SEED
        return Encoder(blind=True)


def probe(dataset, *arguments, model=None, **options):
    model = model or Encoder()
    return evaluate.linear_probe(model, dataset, *arguments, **{"progress": False, "resamples": 50, "lr": 0.02, **options})


def test_report():
    dataset, model = Made(), Encoder()
    report = probe(dataset, model=model, epochs=20)
    assert sorted(dataset.reads) == list(range(130))        # each recording once
    assert len(model.asked) == 130 and set(model.asked[0][1]) == set(kmerl.leads.LEADS)
    assert report.evaluation == "linear_probe" and report.part == "test" and report.fraction == 1
    assert report.records == [f"r{i}" for i in range(90, 130)]
    assert report.trained == {"recordings": 60, "patients": 30}
    found, random = report.metrics["roc_auc"], report.random.metrics["roc_auc"]
    assert min(found["per_class"][c] for c in CLASSES) > 0.85
    assert found["low"] < found["macro"] < found["high"] and found["low"] > random["high"]
    assert 1 <= report.settings["epoch chosen on validation"] <= 20
    assert report.settings["epochs"] == 20 and report.random.settings["encoder's seed"] == RANDOM_SEED
    assert report.seeds is None and report.skipped == [] and report.notes == []
    data = json.loads(report.to_json())
    assert data["beside"]["random encoder"]["metrics"]["roc_auc"]["macro"] == random["macro"]
    assert report.table().startswith("Linear probe: made, test, 12 leads")
    assert probe(dataset, epochs=20).to_json() == report.to_json()


def test_the_test_set_is_read_once():
    dataset = Made()
    other = Made(labels=dataset.labels.copy())
    other.labels[dataset.split["test"]] ^= 1
    one, two = (probe(d, epochs=10) for d in (dataset, other))
    np.testing.assert_array_equal(one.scores, two.scores)   # no outcome of a test recording has any influence
    flattered = probe(dataset, epochs=10, best_test_epoch=True)
    np.testing.assert_array_equal(one.scores, flattered.scores)
    extra = flattered.beside["best test epoch (MERL)"]
    assert extra.metrics["roc_auc"]["macro"] >= flattered.metrics["roc_auc"]["macro"] and "flatters" in extra.note
    assert "best test epoch (MERL)" in flattered.table() and "best test epoch (MERL)" in flattered.random.beside
    assert list(one.beside) == ["random encoder"]


def test_leads_are_the_same_everywhere():
    dataset, model = Made(short=(3, 70, 100)), Encoder()
    with pytest.warns(UserWarning, match="3 recordings could not be used; the first: r3: train: has none of the leads I"):
        report = probe(dataset, leads=["I"], model=model, epochs=10)
    assert {leads for _, leads in model.asked} == {("I",)}
    assert report.skipped == [(f"r{i}", f"{p}: has none of the leads I") for i, p in
                              ((3, "train"), (70, "validation"), (100, "test"))]
    assert report.trained["recordings"] == 59 and len(report.scores) == 39 and "r100" not in report.records
    found = report.metrics["roc_auc"]["per_class"]
    assert found[CLASSES[0]] > 0.85 and found[CLASSES[1]] < 0.75
    report = probe(Made(short=(3,)), leads=["II", "V1"], epochs=2)
    assert any("1 recordings lack some of the 2 leads: used with those they have" in note for note in report.notes)


def test_seeds():
    dataset = Made()
    report = probe(dataset, epochs=5, seed=4, seeds=3)
    each = [probe(dataset, epochs=5, seed=4, seeds=[s]) for s in (4, 5, 6)]
    values = [r.metrics["roc_auc"]["macro"] for r in each]
    assert report.seeds["seeds"] == [4, 5, 6] and report.seeds["metrics"]["roc_auc"]["values"] == values
    assert report.seeds["metrics"]["roc_auc"]["sd"] == pytest.approx(np.std(values, ddof=1))
    np.testing.assert_array_equal(report.scores, each[0].scores)
    assert report.metrics == each[0].metrics and report.random.seeds["seeds"] == [4, 5, 6]
    assert len(set(values)) > 1 and "Over seeds 4, 5, 6" in report.table()


def test_recordings_that_cannot_be_read():
    dataset = Made(broken=(0, 61, 129))
    with pytest.warns(UserWarning, match="3 recordings could not be used"):
        report = probe(dataset, epochs=2)
    assert report.skipped[2] == ("r129", "test: r129.hea: fails its checksum")
    with pytest.raises(ValueError, match="none of the 2 train recordings of made can be used with leads I II"):
        probe(Made(train=2, broken=(0, 1)), leads=2)


def test_classes_with_one_outcome():
    dataset = Made()
    labels = dataset.labels.copy()
    labels[:60, 0] = 0                  # nothing to learn
    labels[60:90, 1] = 1                # nothing to choose the epoch by
    labels[90:, 2] = 0                  # nothing to measure
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = probe(Made(labels=labels), epochs=3)
    said = [(w.category, str(w.message)) for w in caught]
    assert said[0] == (metrics.UndefinedMetricWarning,
                       f"1 of 3 classes have only one outcome, in no average: {CLASSES[2]}")
    assert said[1][1].startswith("1 of 3 classes have only one outcome in the 60 training recordings and cannot be")
    assert len(said) == 2 and {w.filename for w in caught} == {__file__}
    assert report.undefined == [CLASSES[2]]
    assert any(n.endswith(f"cannot be learned: {CLASSES[0]}") for n in report.notes)
    assert f"the epoch was chosen without {CLASSES[1]}: one outcome only in validation" in report.notes
    labels[60:90] = 1
    with pytest.warns(UserWarning):
        report = probe(Made(labels=labels), epochs=3)
    assert report.settings["epoch chosen on validation"] == 3
    assert any("the last one is taken" in note for note in report.notes)


def test_one_patient():
    report = probe(Made(patients=["p"] * 130), epochs=2)
    assert math.isnan(report.metrics["roc_auc"]["low"]) and "one patient only: no intervals" in report.notes


def test_without_validation():
    report = probe(Made(validation=0), epochs=3)
    assert "f1" not in report.metrics and any("the last one is taken" in note for note in report.notes)


def test_scored_on_validation():
    report = probe(Made(), part="validation", epochs=3)
    assert report.records == [f"r{i}" for i in range(60, 90)] and "this flatters" in report.notes[0]


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"fraction": 0}, ValueError, "fraction is 0, expected a share"),
        ({"fraction": 1.5}, ValueError, "fraction is 1.5"),
        ({"fraction": "1%"}, ValueError, "fraction is '1%'"),
        ({"leads": 13}, ValueError, "leads is 13, expected a number from 1 to 12"),
        ({"leads": ["X"]}, ValueError, "X"),
        ({"part": "train"}, ValueError, "part is 'train', expected test or validation"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seeds": []}, ValueError, "seeds is \\[\\]"),
        ({"seeds": [1, 1]}, ValueError, "different seeds"),
        ({"seeds": 0}, ValueError, "seeds is 0"),
        ({"seeds": [1, "2"]}, ValueError, "seed is '2'"),
        ({"epochs": 0}, ValueError, "epochs is 0"),
        ({"batch_size": 1.5}, ValueError, "batch_size is 1.5"),
        ({"lr": 0}, ValueError, "lr is 0"),
        ({"lr": math.nan}, ValueError, "lr is nan"),
        ({"resamples": True}, ValueError, "resamples is True"),
        ({"model": object()}, TypeError, "model is object, expected a model with encode"),
    ],
)
def test_bad_arguments(options, error, words):
    with pytest.raises(error, match=words):
        probe(Made(), **options)


def test_bad_models_and_data_sets():
    with pytest.raises(ValueError, match=r"made has no train recordings \(0 train, 30 validation, 40 test\)"):
        probe(Made(train=0))
    with pytest.raises(ValueError, match="made has no test recordings"):
        probe(Made(test=0))
    with pytest.raises(TypeError, match="dataset is list"):
        probe([])
    model = Encoder()
    model.encode = lambda records, windows: np.full((len(records), 12), np.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        probe(Made(), model=model)
    model.encode = lambda records, windows: np.zeros((len(records), 5))
    with pytest.raises(TypeError, match=r"the model returned shape \(64, 17\), expected \(64, 24\)"):
        probe(Made(), model=model)
    with pytest.raises(RuntimeError, match="no parameters yet"):
        probe(Made(), model=kmerl.KMERL())


def test_lead_sweep():
    dataset = Made()
    sweep = evaluate.lead_sweep(Encoder(), dataset, [1, 3], method="linear_probe", fraction=1.0, single=True,
                                resamples=50, progress=False)
    assert sorted(dataset.reads) == list(range(130)) and sweep.k == [1, 3] and len(sweep.single) == 12
    alone = evaluate.linear_probe(Encoder(), Made(), leads=3, resamples=50, progress=False)
    assert sweep.reports[1].to_json() == alone.to_json() and sweep.single["V6"].leads == ["V6"]
    assert sweep.table().startswith("Linear probe by number of leads: made, test")
    with pytest.raises(TypeError, match="no option batch_size with method='linear_probe'; it has fraction, seeds"):
        evaluate.lead_sweep(Encoder(), dataset, method="linear_probe", batch_size=3)


def test_a_real_model():
    model = kmerl.KMERL(**TINY).initialize(8)
    before = {name: array.copy() for name, array in model.parameters().items()}
    report = probe(Made(train=20, validation=10, test=12), epochs=3, model=model)
    dataset = Made(train=20, validation=10, test=12)
    assert report.scores.shape == (12, 3) and report.random.model != report.model
    other = probe(dataset, epochs=3, model=model.untrained(RANDOM_SEED))
    np.testing.assert_array_equal(other.scores, report.random.scores)
    assert all(np.array_equal(array, before[name]) for name, array in model.parameters().items())
