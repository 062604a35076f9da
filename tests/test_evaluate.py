"""Zero-shot evaluation with a model whose answers are known, and reports."""

import copy
import dataclasses
import json
import math
import warnings
from contextlib import nullcontext as nothing
from types import SimpleNamespace

import numpy as np
import pytest
from small import TINY, HashEncoder, make_store

import kmerl
from kmerl import evaluate, metrics
from kmerl.datasets import PARTS, Dataset
from kmerl.record import Record

CLASSES = ["atrial fibrillation", "normal ecg", "st | depression"]


class Made(Dataset):
    """A data set whose recordings are made on the spot; some cannot be."""

    def __init__(self, parts, labels, patients, leads=None, broken=(), notes=()):
        parts = np.array(parts)
        split = {part: np.flatnonzero(parts == part) for part in PARTS}
        paths = [f"folder/r{i}" for i in range(len(parts))]
        super().__init__("made", paths, np.asarray(labels, np.uint8), CLASSES, patients, split, notes=notes)
        self._leads, self._broken, self.reads = leads, broken, 0

    def __getitem__(self, index):
        self.reads += 1
        if index in self._broken:
            raise ValueError(f"r{index}.hea: fails its checksum")
        leads = self._leads[index] if self._leads else evaluate.PAPER_ORDER
        return Record(np.full((len(leads), 100), index), fs=500, leads=leads, name=f"r{index}")


class Model:
    """Answers from a table; the more leads, the less noise. Keeps what it was asked."""

    def __init__(self, table, noise=0.0, refuse=()):
        self.table, self.noise, self.refuse, self.asked = np.asarray(table), noise, refuse, []

    def predict_proba(self, records, classes):
        self.asked += [(record.name, tuple(record.leads)) for record in records]
        rows = []
        for record in records:
            index = int(record.signal[0, 0])
            if index in self.refuse:
                raise ValueError(f"{record.name}: no lead is left")
            jitter = np.random.default_rng(index).normal(size=len(classes)) * self.noise / len(record.leads)
            rows.append(1 / (1 + np.exp(-(self.table[index] + jitter))))
        return np.array(rows, np.float32)


def made(n=80, validation=20, seed=0, **options):
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 3)) < [0.3, 0.5, 0.2]
    labels[[0, n - 1]] = [[1, 0, 1], [0, 1, 0]]
    parts = ["validation"] * validation + ["test"] * (n - validation)
    patients = [f"p{i // 2}" for i in range(n)]
    table = labels + rng.normal(size=(n, 3))
    return Made(parts, labels, patients, **options), table


def run(model, dataset, *arguments, function=evaluate.zero_shot, **options):
    return function(model, dataset, *arguments, **{"progress": False, "resamples": 100, **options})


# ---- Figures ----


def test_figures_are_those_of_the_metrics():
    dataset, table = made()
    report = run(Model(table), dataset)
    test, validation = dataset.split["test"], dataset.split["validation"]
    p = (1 / (1 + np.exp(-table))).astype(np.float32)
    np.testing.assert_array_equal(report.scores, p[test])
    np.testing.assert_array_equal(report.labels, dataset.labels[test])
    assert report.records == [f"r{i}" for i in test] and report.patients == [
        dataset.patients[i] for i in test
    ]
    assert report.classes == CLASSES and report.part == "test"
    expected = metrics.bootstrap(
        dataset.labels[test], p[test], groups=report.patients, n=100, classes=CLASSES
    )
    found = report.metrics["roc_auc"]
    assert (found["macro"], found["low"], found["high"]) == (expected.estimate, expected.low, expected.high)
    assert found["per_class"] == {c: v["estimate"] for c, v in expected.per_class.items()}
    assert found["per_class_low"] == {c: v["low"] for c, v in expected.per_class.items()}
    thresholds = metrics.f1_threshold(dataset.labels[validation], p[validation])
    assert list(report.thresholds.values()) == thresholds.tolist()
    assert report.metrics["f1"]["macro"] == metrics.f1_score(dataset.labels[test], p[test], thresholds)
    assert report.metrics["oracle_f1"]["macro"] >= report.metrics["f1"]["macro"]
    assert set(report.metrics) == set(metrics.METRICS)
    assert report.support == dict(zip(CLASSES, dataset.labels[test].sum(axis=0).tolist(), strict=True))
    assert report.undefined == [] and report.skipped == []
    assert report.notes == ["no untrained model beside it: a Model has no untrained()"]
    assert run(Model(table), dataset, untrained=0).notes == []


def test_batch_size_changes_nothing():
    dataset, table = made()
    one, many = (run(Model(table), dataset, batch_size=size) for size in (1, 1000))
    assert one.to_json() == many.to_json()
    np.testing.assert_array_equal(one.scores, many.scores)


def test_without_validation_there_is_no_f1():
    dataset, table = made(validation=0)
    report = run(Model(table), dataset)
    assert "f1" not in report.metrics and report.thresholds is None
    assert "No F1: it needs a threshold from validation recordings" in report.table()


def test_parts():
    dataset, table = made()
    assert len(run(Model(table), dataset, part="all").scores) == 80
    assert run(Model(table), dataset, part="validation").records == [f"r{i}" for i in range(20)]
    with pytest.raises(ValueError, match="made has no train recordings .0 train, 20 validation, 60 test."):
        run(Model(table), dataset, part="train")
    with pytest.raises(ValueError, match="part is 'dev', expected test, validation, train or all"):
        run(Model(table), dataset, part="dev")


def test_a_data_set_without_test_recordings_is_scored_whole_and_says_so():
    dataset, table = made()
    dataset.split = {"train": np.arange(80), "validation": np.arange(0), "test": np.arange(0)}
    report = run(Model(table), dataset)
    assert len(report.scores) == 80 and report.part == "all"
    assert any("no test recordings here, so all were scored" in note for note in report.notes)


def test_class_with_one_outcome():
    dataset, table = made()
    dataset.labels[:, 1] = 0
    with pytest.warns(
        metrics.UndefinedMetricWarning,
        match="1 of 3 classes have only one outcome, in no average: normal ecg",
    ):
        report = run(Model(table), dataset)
    assert report.undefined == ["normal ecg"]
    values = report.metrics["roc_auc"]
    assert math.isnan(values["per_class"]["normal ecg"])
    assert values["macro"] == np.mean([values["per_class"][c] for c in (CLASSES[0], CLASSES[2])])
    assert json.loads(report.to_json())["metrics"]["roc_auc"]["per_class"]["normal ecg"] is None


@pytest.mark.parametrize("n", [1, 40])
def test_one_patient_has_no_interval(n):
    dataset, table = made(n=max(n, 2), validation=0)
    dataset.patients = ["p"] * len(dataset)
    dataset.split["test"] = np.arange(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", metrics.UndefinedMetricWarning)
        report = run(Model(table), dataset)
        test = dataset.split["test"]
        expected = metrics.brier_score(dataset.labels[test], report.scores)
    assert report.metrics["brier"]["macro"] == expected and math.isnan(report.metrics["brier"]["low"])
    assert any("one patient only" in note for note in report.notes)
    assert "[" not in report.table().split("macro average")[1].splitlines()[0]


# ---- Leads ----


@pytest.mark.parametrize(
    "leads, seen",
    [
        (1, ("I",)),
        (4, ("I", "II", "III", "aVF")),
        (12, evaluate.PAPER_ORDER),
        (["v2", "II"], ("V2", "II")),
        ("aVR", ("aVR",)),
    ],
)
def test_the_model_sees_the_chosen_leads_only(leads, seen):
    dataset, table = made()
    model = Model(table)
    report = run(model, dataset, leads)
    assert {given for _, given in model.asked} == {seen}
    assert report.leads == list(seen)


def test_recordings_without_the_leads_are_skipped_or_scored_with_what_they_have():
    leads = [("I", "II")] * 40 + [("V1",)] * 40
    dataset, table = made(leads=leads)
    with pytest.warns(
        UserWarning, match="40 of 80 recordings could not be scored; the first: r40: has none of the leads"
    ):
        report = run(Model(table), dataset, 3)
    assert report.records == [f"r{i}" for i in range(20, 40)]
    assert [name for name, _ in report.skipped] == [f"r{i}" for i in range(40, 80)]
    assert any("40 recordings lack some of the 3 leads" in note for note in report.notes)


@pytest.mark.parametrize(
    "leads, error, message",
    [
        (0, ValueError, "leads is 0, expected a number from 1 to 12"),
        (13, ValueError, "leads is 13"),
        (["V9"], ValueError, "unknown lead 'V9'"),
        (["I", "i"], ValueError, "twice"),
        ([], ValueError, "empty"),
        (2.5, TypeError, "must be lead names"),
    ],
)
def test_bad_leads(leads, error, message):
    dataset, table = made()
    with pytest.raises(error, match=message):
        run(Model(table), dataset, leads)


def test_sweep():
    dataset, table = made()
    model = Model(table, noise=3)
    sweep = run(model, dataset, function=evaluate.lead_sweep, single=True)
    assert sweep.k == list(range(1, 13)) and set(sweep.metrics) == set(sweep.k)
    assert list(sweep.single) == list(evaluate.PAPER_ORDER)
    assert dataset.reads == 80  # once each
    for k in (1, 5, 12):
        alone = run(Model(table, noise=3), dataset, k)
        assert sweep.reports[k - 1].to_dict() == alone.to_dict()
    assert sweep.single["I"].metrics == sweep.metrics[1]
    lines = sweep.table().splitlines()
    assert lines[0] == "Zero-shot by number of leads: made, test"
    assert sum(" 60 " in line for line in lines) == 24
    assert json.loads(sweep.to_json())["k"] == sweep.k
    assert sweep.to_markdown().count("\n| ") == 1 + 24
    assert run(model, dataset, 2, function=evaluate.lead_sweep).k == [2]


@pytest.mark.parametrize(
    "order, first",
    [
        ("clinical", ("I", "II", "III", "aVR")),
        ("mimic", ("I", "II", "III", "aVR")),
        ("paper", ("I", "II", "III", "aVF")),
        (["v6", "II", "aVL", "I"], ("V6", "II", "aVL", "I")),
    ],
)
def test_sweep_in_any_order(order, first):
    dataset, table = made()
    model = Model(table, noise=3)
    sweep = run(model, dataset, [4, 2], order=order, function=evaluate.lead_sweep)
    assert sweep.k == [4, 2] and [r.leads for r in sweep.reports] == [list(first), list(first[:2])]
    assert sweep.order[:4] == list(first) and json.loads(sweep.to_json())["order"] == sweep.order


def test_sweep_of_a_short_order_and_of_single_leads_only():
    dataset, table = made()
    sweep = run(Model(table), dataset, order=["II", "V1"], single=True, function=evaluate.lead_sweep)
    assert sweep.k == [1, 2] and list(sweep.single) == ["II", "V1"]
    alone = run(Model(table), dataset, (), order=["II", "V1"], single=True, function=evaluate.lead_sweep)
    assert alone.k == [] and alone.single["V1"].to_dict() == sweep.single["V1"].to_dict()
    lines = alone.to_csv().splitlines()
    assert lines[0].startswith("leads,k,recordings,roc_auc macro,roc_auc low") and lines[1].startswith("II,1,60,0.")
    assert len(lines) == 3 and "II     1" in alone.table() and "<Sweep made, test" in repr(alone)


@pytest.mark.parametrize(
    "arguments, options, error, message",
    [
        ([[]], {}, ValueError, "k is empty, expected numbers of leads, 1 to 12"),
        ([[0]], {}, ValueError, "k holds 0, expected numbers of leads, 1 to 12"),
        ([[3]], {"order": ["I", "II"]}, ValueError, "k holds 3, expected numbers of leads, 1 to 2"),
        ([[1.0]], {}, ValueError, "k holds 1.0"),
        ([], {"order": "alphabetical"}, ValueError, "order is 'alphabetical', expected clinical, mimic, paper or lead"),
        ([], {"order": ["I", "V9"]}, ValueError, "order.1. is the unknown lead 'V9'"),
        ([], {"order": ["I", "i"]}, ValueError, "order names lead I twice"),
        ([], {"method": "probe"}, ValueError, "method is 'probe', expected zero_shot or linear_probe"),
        ([], {"fraction": 0.1}, TypeError, "no option fraction with method='zero_shot'; it has score, prompts"),
        ([], {"method": "linear_probe", "score": "cosine"}, TypeError, "no option score with method='linear_probe'"),
    ],
)
def test_bad_sweeps(arguments, options, error, message):
    dataset, table = made()
    with pytest.raises(error, match=message):
        run(Model(table), dataset, *arguments, function=evaluate.lead_sweep, **options)


# ---- Recordings that cannot be scored ----


def test_bad_recordings_are_listed_and_the_rest_goes_on():
    dataset, table = made(broken=[25, 70])
    with pytest.warns(
        UserWarning, match="3 of 80 recordings could not be scored; the first: r25: r25.hea: fails"
    ):
        report = run(Model(table, refuse=[30]), dataset, batch_size=16)
    assert report.skipped == [
        ("r25", "r25.hea: fails its checksum"),
        ("r30", "r30: no lead is left"),
        ("r70", "r70.hea: fails its checksum"),
    ]
    assert len(report.scores) == 57 and not {"r25", "r30", "r70"} & set(report.records)
    assert "Not scored: 3 recordings (r25: r25.hea: fails its checksum; " in report.table()
    assert json.loads(report.to_json())["skipped"][1] == {"record": "r30", "reason": "r30: no lead is left"}


def test_bad_validation_recordings_too():
    dataset, table = made(broken=[3])
    with pytest.warns(UserWarning, match="r3.hea"):
        report = run(Model(table), dataset)
    assert len(report.scores) == 60 and report.skipped[0][0] == "r3"


def test_a_model_that_refuses_everything_is_an_error():
    dataset, table = made()
    with pytest.raises(ValueError, match="no lead is left"):
        run(Model(table, refuse=range(80)), dataset)
    dataset, table = made(broken=range(80))
    with pytest.raises(ValueError, match="no recording of made could be scored.*fails its checksum"):
        run(Model(table), dataset)


# ---- With a model of our own ----


class Sample(Dataset):
    """The sample's recordings, with labels from their reports; read from memory."""

    def __init__(self, classes, records, codes=None):
        self.held = records
        labels = (np.arange(len(records))[:, None] // (1 + np.arange(len(classes)))) % 2
        split = {"train": np.arange(0), "validation": np.arange(6), "test": np.arange(6, len(records))}
        patients = [record.patient for record in records]
        paths = [record.name for record in records]
        super().__init__("sample", paths, labels.astype(np.uint8), classes, patients, split, codes=codes)
        self.reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return self.held[index]


KNOWN = ["atrial fibrillation", "afib", "left bundle branch block", "something rare"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    store = make_store(tmp_path_factory.mktemp("evaluate") / "store")
    model = kmerl.KMERL(**TINY).fit(store, max_steps=4, progress=False)
    model.text_encoder = HashEncoder()
    return model


@pytest.fixture
def sample():
    return Sample(KNOWN, kmerl.sample_records("heldout")[:20], codes=["AFIB", "AF2", "LBBB", "RARE"])


def test_scores_are_the_models(trained, sample):
    records = [sample.held[i] for i in sample.split["test"]]
    found = {}
    for score, method in evaluate.SCORES.items():
        report = run(trained, sample, score=score, untrained=0)
        found[score] = report.scores
        np.testing.assert_array_equal(report.scores, trained.predict_proba(records, KNOWN, method=method))
        assert report.settings == {"score": score} and f"score {score}" in report.table()
        assert ("brier" in report.metrics) == (score == "probability")
        with pytest.raises(ValueError, match="no reliability diagram") if score != "probability" else nothing():
            pytest.importorskip("matplotlib", reason="matplotlib is not installed").use("Agg")
            report.plot("reliability")
    np.testing.assert_allclose(found["mean"], (found["probability"] + found["cosine"]) / 2, atol=1e-6)
    np.testing.assert_array_equal(run(trained, sample, untrained=0).scores, found["probability"])


def test_leads_are_pooled_as_the_model_says(trained, sample):
    records = [sample.held[i] for i in sample.split["test"]]
    model = copy.deepcopy(trained)
    model.config_ = dataclasses.replace(model.config_, lead_pooling="mean")
    report = run(model, sample, untrained=1)
    expected = trained.predict_proba(records, KNOWN, lead_pooling="mean")
    np.testing.assert_array_equal(report.scores, expected)
    assert report.settings == {"score": "probability", "lead pooling": "mean"}
    assert "lead pooling mean" in report.table()
    untrained = trained.untrained(0).predict_proba(records, KNOWN, lead_pooling="mean")
    assert report.untrained.metrics["roc_auc"]["values"] == [metrics.roc_auc_score(report.labels, untrained)]
    cosine = run(model, sample, score="cosine", untrained=0)
    assert cosine.settings == {"score": "cosine"}
    np.testing.assert_array_equal(cosine.scores, trained.predict_proba(records, KNOWN, method="cosine"))


def test_prompts_by_class_or_code(trained, sample):
    prompts = {"AFIB": "no p waves", "afib": "irregular", "LBBB": "broad qrs", "RARE": "rare", "MORE": "not asked"}
    report = run(trained, sample, score="cosine", prompts=prompts, untrained=0)
    records = [sample.held[i] for i in sample.split["test"]]
    texts = ["no p waves", "irregular", "broad qrs", "rare"]
    np.testing.assert_array_equal(report.scores, trained.predict_proba(records, texts, method="cosine"))
    assert report.settings["prompts"].startswith("4 texts, ")
    other = run(trained, sample, score="cosine", prompts={**prompts, "RARE": "x"}, untrained=0)
    assert other.settings["prompts"] != report.settings["prompts"]
    mean = run(trained, sample, score="mean", prompts=prompts, untrained=0).scores
    np.testing.assert_allclose(mean, (report.scores + trained.predict_proba(records, KNOWN)) / 2, atol=1e-6)
    del prompts["LBBB"]
    with pytest.raises(ValueError, match="prompts has no text for left bundle branch block"):
        run(trained, sample, score="cosine", prompts=prompts)
    with pytest.raises(ValueError, match="expected score='cosine' or 'mean'"):
        run(trained, sample, prompts=prompts)
    with pytest.raises(TypeError, match="prompts is list, expected a mapping"):
        run(trained, sample, score="cosine", prompts=["x"])


@pytest.mark.parametrize(
    "weights, score, message",
    [
        ({"contrast_weight": 0.0}, "cosine", "contrast_weight=0 and has no contrast space: expected 'probability'"),
        ({"contrast_weight": 0.0}, "mean", "contrast_weight=0 and has no contrast space: expected 'probability'"),
        ({"query_weight": 0.0}, "probability", "query_weight=0 and has no query network: expected 'cosine'"),
    ],
)
def test_scores_that_a_model_does_not_have(tmp_path, sample, weights, score, message):
    model = kmerl.KMERL(**{**TINY, **weights}).initialize(HashEncoder.width)
    model.text_encoder = HashEncoder()
    with pytest.raises(ValueError, match=message):
        run(model, sample, score=score)
    report = run(model, sample, untrained=1)
    assert report.settings["score"] == message.split("'")[-2] and report.seen is None
    (row,) = (line for line in report.table().splitlines() if line.startswith("untrained model"))
    assert "[" not in row and row.endswith("1 initialisation")  # one value has no range
    report.to_json(tmp_path / "r.json", scores=True)
    assert np.isnan(kmerl.report.load(tmp_path / "r.json").untrained.metrics["roc_auc"]["low"])
    report.to_html(tmp_path / "r.html")


def test_untrained_models_stand_beside(trained, sample):
    report = run(trained, sample, untrained=3)
    assert sample.reads == 20  # once each
    records, labels = [sample.held[i] for i in sample.split["test"]], report.labels
    values = [
        metrics.roc_auc_score(labels, trained.untrained(seed).predict_proba(records, KNOWN)) for seed in range(3)
    ]
    found = report.untrained.metrics["roc_auc"]
    assert found["values"] == values and found["macro"] == pytest.approx(np.mean(values))
    assert (found["low"], found["high"]) == pytest.approx(np.percentile(values, (2.5, 97.5)))
    assert report.untrained.spread == "95 % of 3 initialisations"
    assert f"{found['macro']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" in report.table()
    assert len(run(trained, sample).untrained.metrics["roc_auc"]["values"]) == evaluate.INITIALISATIONS
    assert run(trained, sample, untrained=0).untrained is None
    sweep = run(trained, sample, [1, 12], untrained=3, function=evaluate.lead_sweep)
    assert sweep.reports[1].to_dict() == report.to_dict()
    assert sweep.reports[0].untrained.metrics["roc_auc"]["values"] != values
    assert "untrained model, AUROC" in sweep.table()


def test_seen_and_unseen_classes(trained, sample):
    report = run(trained, sample, untrained=0)
    near = report.seen["nearest"]
    assert near["atrial fibrillation"] == {"entity": "atrial fibrillation", "cosine": 1.0, "by": "name"}
    assert near["afib"] == {"entity": "atrial fibrillation", "cosine": 1.0, "by": "name"}  # a synonym
    rare = HashEncoder().embed(["something rare"], "cls")[0]
    entities = list(trained.vocabulary_)
    rows = HashEncoder().embed(entities, "cls")
    cosines = rows @ rare / np.linalg.norm(rows, axis=1) / np.linalg.norm(rare)
    best = int(np.argmax(cosines))
    assert near["something rare"]["by"] == "" and near["something rare"]["entity"] == entities[best]
    assert near["something rare"]["cosine"] == pytest.approx(cosines[best], abs=1e-6)
    for group, columns in (("seen", [0, 1, 2]), ("unseen", [3])):
        expected = metrics.bootstrap(
            report.labels[:, columns], report.scores[:, columns], groups=report.patients, n=100
        )
        row = report.seen["metrics"][group]["roc_auc"]
        assert row == {"macro": expected.estimate, "low": expected.low, "high": expected.high}
        assert "f1" in report.seen["metrics"][group]
    text = report.table()
    assert "seen by an embedding with cosine above 0.95: none" in text
    assert f"unseen, with the nearest entity: something rare ({entities[best]}, {cosines[best]:.3f})" in text
    lower = run(trained, sample, untrained=0, seen=float(cosines[best]) - 0.01)
    assert lower.seen["nearest"]["something rare"]["by"] == "cosine" and list(lower.seen["metrics"]) == ["seen"]
    assert f"something rare ({entities[best]}, {cosines[best]:.3f})" in lower.table()
    assert json.loads(report.to_json())["seen"]["threshold"] == 0.95
    with pytest.raises(ValueError, match="threshold is 95, expected a cosine from -1 to 1"):
        run(trained, sample, seen=95)
    with pytest.raises(ValueError, match="model has no vocabulary"):
        evaluate.seen_classes(kmerl.KMERL(**TINY).initialize(24), KNOWN)


def test_an_unknown_class_is_an_error_before_anything_is_read(trained, sample):
    trained.text_encoder = None
    try:
        with pytest.raises(ValueError, match="does not know 'something rare'"):
            run(trained, sample)
    finally:
        trained.text_encoder = HashEncoder()
    assert sample.reads == 0


class Wrong(Model):
    def predict_proba(self, records, classes):
        raise self.table


@pytest.mark.parametrize("error", [KeyError("no class"), RuntimeError("not trained"), MemoryError()])
def test_errors_that_are_no_recordings_fault_come_out(error):
    dataset, _ = made()
    model = Wrong(0)
    model.table = error
    with pytest.raises(type(error)):
        run(model, dataset)


def test_bad_answers_of_a_model():
    dataset, table = made()
    model = SimpleNamespace(predict_proba=lambda records, classes: np.zeros((len(records), 2)))
    with pytest.raises(TypeError, match=r"the model returned shape \(60, 2\), expected \(60, 3\)"):
        run(model, dataset)
    table[:] = np.nan
    with pytest.raises(ValueError, match="the model returned NaN"):
        run(Model(table), dataset)


def test_bad_arguments():
    dataset, table = made()
    with pytest.raises(TypeError, match="model is str, expected a model with predict_proba"):
        run("run/best.safetensors", dataset)
    with pytest.raises(TypeError, match="dataset is str, expected a kmerl.datasets.Dataset"):
        run(Model(table), "folder")
    with pytest.raises(ValueError, match="batch_size is 0"):
        run(Model(table), dataset, batch_size=0)
    with pytest.raises(ValueError, match="resamples is 0"):
        run(Model(table), dataset, resamples=0)
    with pytest.raises(RuntimeError, match="this model has no parameters yet"):
        run(kmerl.KMERL(), dataset)
    with pytest.raises(ValueError, match="untrained is -1"):
        run(Model(table), dataset, untrained=-1)
    with pytest.raises(ValueError, match="score is 'logit', expected one of probability, cosine, mean"):
        run(Model(table), dataset, score="logit")
    with pytest.raises(ValueError, match="score and prompts need a KMERL, a Model has one kind of answer"):
        run(Model(table), dataset, score="cosine")


# ---- Reports ----


def test_table_json_and_markdown(tmp_path):
    dataset, table = made(notes=["partial copy: 80 of 90 recordings"])
    report = run(Model(table), dataset, 2, seed=3)
    text = report.table().splitlines()
    assert text[0] == "Zero-shot: made, test, 2 leads (I II)"
    assert text[1] == "60 recordings of 30 patients"
    assert text[3].split() == ["class", "positive", "AUROC", "95", "%", "AUPRC", "F1", "oracle", "F1"]
    assert [line.split("  ")[0] for line in text[5:9]] == [*CLASSES, "macro average"]
    assert (
        "Model: Model." in text
        and f"kmerl {kmerl.__version__}, protocol default, seed 3, intervals from 100 resamples of patients." in text
    )
    assert text[-2] == "Partial copy: 80 of 90 recordings."
    assert str(report) == report.table() and "macro AUROC 0." in repr(report)

    markdown = report.to_markdown(tmp_path / "report.md")
    assert "| st \\| depression |" in markdown and (tmp_path / "report.md").read_text() == markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 + 1 and len({row.replace("\\|", "").count("|") for row in rows}) == 1

    data = json.loads(report.to_json(tmp_path / "report.json"))
    assert data == json.loads((tmp_path / "report.json").read_text())
    assert data["metrics"]["roc_auc"]["macro"] == report.metrics["roc_auc"]["macro"]
    assert data["leads"] == ["I", "II"] and data["recordings"] == 60 and data["patients"] == 30
    assert data["kmerl"] == kmerl.__version__ and data["seed"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_two_runs_give_the_same_files():
    dataset, table = made()
    first, second = (run(Model(table), dataset) for _ in range(2))
    assert first.to_json() == second.to_json() and first.to_markdown() == second.to_markdown()


def test_unwritable_path(tmp_path):
    dataset, table = made()
    report = run(Model(table), dataset)
    with pytest.raises(OSError):
        report.to_json(tmp_path / "none" / "report.json")


def test_plots():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    dataset, table = made()
    figure = run(Model(table), dataset).plot()
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert {label.rsplit(" (", 1)[0] for label in labels} == set(CLASSES)
    sweep = run(Model(table), dataset, [1, 2, 12], function=evaluate.lead_sweep, single=True)
    line = sweep.plot().axes[0].lines[0]
    assert line.get_ydata().tolist() == [sweep.metrics[k]["roc_auc"]["macro"] for k in (1, 2, 12)]
    pyplot.close("all")
