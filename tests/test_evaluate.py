"""Zero-shot evaluation with a model whose answers are known, and reports."""

import json
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

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
    assert report.undefined == [] and report.skipped == [] and report.notes == []


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
    with pytest.raises(ValueError, match="k is empty"):
        run(model, dataset, [], function=evaluate.lead_sweep)
    assert run(model, dataset, 2, function=evaluate.lead_sweep).k == [2]


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
    with pytest.raises(TypeError, match=r"predict_proba returned shape \(60, 2\)|returned shape \(64, 2\)"):
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
        and f"kmerl {kmerl.__version__}, protocol exact, seed 3, intervals from 100 resamples of patients." in text
    )
    assert text[-1] == "Partial copy: 80 of 90 recordings."
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
