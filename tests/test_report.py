"""Reports of any evaluation: what stands beside a result, repetitions, files."""

import base64
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from kmerl import metrics as _metrics
from kmerl import report as reports
from kmerl.report import RANDOM, UNTRAINED, Figures, measure, over_seeds

CLASSES = ["atrial fibrillation", "normal ecg"]


def example(seed=0, n=40, evaluation="linear_probe", signal=1.0, **options):
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(7).integers(0, 2, (n, 2)).astype(np.uint8)
    dataset = SimpleNamespace(
        name="made",
        classes=CLASSES,
        labels=labels,
        patients=[f"p{i // 2}" for i in range(n)],
        paths=[f"folder/r{i}" for i in range(n)],
        notes=["partial copy"],
    )
    scores = 1 / (1 + np.exp(-signal * labels - rng.normal(size=(n, 2))))
    half = np.arange(n // 2)
    options = {"model": "a model", "leads": ["I"], "part": "test", "resamples": 50, **options}
    return measure(
        evaluation,
        dataset,
        n // 2 + half,
        scores[n // 2 :],
        validation=(half, scores[half]),
        **options,
    )


def test_beside_is_in_every_form():
    quoted = Figures(
        metrics={"roc_auc": {"macro": 0.8771, "low": math.nan, "high": math.nan}}, quoted="Liu et al., Table 1"
    )
    untrained = Figures(
        metrics={"roc_auc": {"macro": 0.5, "low": 0.4, "high": 0.6}}, spread="95 % of 10 initialisations"
    )
    beside = {RANDOM: example(1, signal=0), UNTRAINED: untrained, "K-MERL": quoted}
    report = example(fraction=0.01, trained={"recordings": 1_200, "patients": 9}, beside=beside)
    assert report.random is beside[RANDOM] and report.untrained is untrained
    text = report.table()
    assert text.startswith("Linear probe: made, test, 1 lead (I), 1 % of the training recordings\n")
    assert "Trained on 1,200 recordings of 9 patients." in text
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "0.500 [0.400, 0.600]" in rows[UNTRAINED] and "95 % of 10 initialisations" in rows[UNTRAINED]
    assert "0.877" in rows["K-MERL (quoted)"] and "Liu et al., Table 1" in rows["K-MERL (quoted)"]
    assert "[" not in rows["K-MERL (quoted)"]
    assert f"{report.random.metrics['roc_auc']['macro']:.3f}" in rows[RANDOM] and "over patients" in rows[RANDOM]
    assert f"{report.metrics['f1']['macro']:.3f}" in rows["this model"]
    markdown = report.to_markdown()
    assert "| K-MERL (quoted) | 0.877 |" in markdown and f"| {UNTRAINED} | 0.500 [0.400, 0.600] |" in markdown
    data = json.loads(report.to_json())
    assert list(data["beside"]) == [RANDOM, UNTRAINED, "K-MERL"]
    assert data["beside"]["K-MERL"]["quoted"] == "Liu et al., Table 1"
    assert data["beside"]["K-MERL"]["metrics"]["roc_auc"] == {"macro": 0.8771, "low": None, "high": None}
    assert data["beside"][RANDOM]["evaluation"] == "linear_probe"
    assert (data["fraction"], data["trained"]["patients"], data["protocol"]) == (0.01, 9, "exact")


def test_nothing_beside():
    report = example(evaluation="zero_shot", settings={"score": "cosine"})
    assert report.random is None and report.untrained is None
    assert "this model" not in report.table() and "Settings: score cosine." in report.table()
    assert json.loads(report.to_json())["settings"] == {"score": "cosine"}


def test_seeds_are_no_interval():
    each = [example(seed) for seed in (3, 4, 5)]
    report = each[0]
    report.seeds = over_seeds(each, (3, 4, 5))
    values = [r.metrics["roc_auc"]["macro"] for r in each]
    row = report.seeds["metrics"]["roc_auc"]
    assert row["values"] == values and report.seeds["seeds"] == [3, 4, 5]
    assert row["mean"] == pytest.approx(sum(values) / 3) and row["sd"] == pytest.approx(np.std(values, ddof=1))
    line = next(line for line in report.table().splitlines() if line.startswith("Over seeds 3, 4, 5:"))
    assert f"macro AUROC {row['mean']:.3f} +- {row['sd']:.3f}" in line and "no interval" in line
    assert json.loads(report.to_json())["seeds"]["metrics"]["roc_auc"]["values"] == values
    assert math.isnan(over_seeds(each[:1], [3])["metrics"]["f1"]["sd"])


def test_scores_that_only_rank_have_no_calibration():
    assert not set(reports.CALIBRATION) & set(example(probabilities=False).metrics)
    assert set(reports.CALIBRATION) <= set(example().metrics)


def test_scores_must_be_numbers():
    with pytest.raises(ValueError, match="p holds nan"):
        example(signal=np.nan)


# ---- Pages and pictures ----


@pytest.fixture
def pictures():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    yield matplotlib
    from matplotlib import pyplot

    pyplot.close("all")


def full(**options):
    quoted = Figures(metrics={"roc_auc": {"macro": 0.8, "low": math.nan, "high": math.nan}}, quoted="A <paper>")
    found = example(1, beside={RANDOM: example(2, signal=0), "theirs": quoted}, **options)
    found.skipped = [("r99", "fails its <checksum>")]
    return found


def test_a_page_stands_alone_and_is_the_same_each_time(pictures, tmp_path):
    page = full().to_html(tmp_path / "r.html")
    pictures.rcParams.update({"font.size": 30, "svg.hashsalt": "other", "lines.linewidth": 9})
    try:
        assert full().to_html() == page == (tmp_path / "r.html").read_text()
    finally:
        pictures.rcdefaults()
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert "<script" not in page and "http" not in re.sub(r"base64,[^\"]*", "", page)
    images = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page)
    assert len(images) == 6 == page.count("<img ") == page.count("alt=")
    for image in images:
        text = base64.b64decode(image).decode()
        assert "<svg" in text and "<dc:date>" not in text and "<image" not in text
        assert not re.search(r'href="(?!#)', text)
    found = full()
    for words in ("atrial fibrillation", "A &lt;paper&gt;", "fails its &lt;checksum&gt;", "Partial copy.", "random encoder",
                  f"{found.metrics['roc_auc']['macro']:.3f}", "Not scored: 1 recordings", "20 recordings of 10 patients"):
        assert words in page
    assert page.count("<h1>") == 1 and page.count("<table>") == 2


def test_each_picture_shows_what_it_should(pictures):
    report = full()
    curve = report.plot("roc").axes[0].lines[1]
    x, y, _ = _metrics.roc_curve(report.labels[:, 0], report.scores[:, 0])
    assert np.array_equal(curve.get_xdata(), x) and np.array_equal(curve.get_ydata(), y)
    axes = report.plot("precision_recall").axes[0]
    assert axes.lines[0].get_ydata()[0] == pytest.approx(report.support[CLASSES[0]] / 20)
    assert "AUPRC " in axes.get_title(loc="left")
    line = report.plot("reliability").axes[1].lines[1]
    mean, share, count = _metrics.calibration_curve(report.labels[:, 1], report.scores[:, 1], bins=10)
    assert np.array_equal(line.get_ydata(), share[count > 0]) and np.array_equal(line.get_xdata(), mean[count > 0])
    assert {bar.get_width() for bar in report.plot("support").axes[0].patches} == set(report.support.values())
    names = [tick.get_text() for tick in report.plot("beside").axes[0].get_yticklabels()]
    assert names == ["theirs (quoted)", RANDOM, "this model"]
    with pytest.raises(ValueError, match="kind is 'pie', expected one of classes, roc"):
        report.plot("pie")


def test_pictures_without_a_class_to_draw(pictures):
    report = example()
    report.undefined = list(CLASSES)
    with pytest.raises(ValueError, match="no class has both outcomes"):
        report.plot("roc")
    assert "<h2>ROC</h2>" not in report.to_html() and "<h2>Support</h2>" in report.to_html()
    assert "<h2>Reliability</h2>" not in example(probabilities=False).to_html()


def test_page_and_picture_of_a_sweep(pictures):
    each = [example(seed, evaluation="zero_shot") for seed in range(3)]
    for report in each[:2]:
        report.beside[UNTRAINED] = Figures(
            metrics={"roc_auc": {"macro": 0.5, "low": 0.4, "high": 0.6}}, spread="95 % of 5 initialisations"
        )
    sweep = reports.Sweep([1, 2], each[:2], {"V1": each[2]}, ["I", "II"])
    first, second = sweep.plot().axes
    assert [line.get_ydata().tolist() for line in first.lines] == [
        [r.metrics["roc_auc"]["macro"] for r in each[:2]], [0.5, 0.5]
    ]
    assert second.lines[-1].get_ydata()[0] == each[2].metrics["roc_auc"]["macro"]
    page = sweep.to_html()
    assert page == sweep.to_html() and page.count("<img ") == 2 and "untrained model, AUROC" in page
    assert sweep.to_json(scores=True) != sweep.to_json() and "rows" in json.loads(sweep.to_json(scores=True))["reports"][0]


# ---- Reading back and comparing ----


def test_a_report_reads_back(tmp_path):
    report = full(fraction=0.1)
    report.seeds = over_seeds([report], [3])
    report.to_json(tmp_path / "r.json", scores=True)
    back = reports.load(tmp_path / "r.json")
    assert back.to_json(scores=True) == report.to_json(scores=True) and back.table() == report.table()
    assert np.array_equal(back.scores, report.scores) and back.scores.dtype == np.float32
    assert back.records == report.records and back.skipped == report.skipped


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is no JSON file"),
        ("[" * 100_000, "is no JSON file"),
        ("[1]", "is no report of kmerl"),
        ('{"evaluation": "lead_sweep"}', "is no report of kmerl"),
        (None, "holds no scores: expected a report written by to_json.path, scores=True"),
        ('{"evaluation": "zero_shot", "rows": []}', "is a damaged report"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "r.json"
    path.write_text(example().to_json() if text is None else text)
    with pytest.raises(ValueError, match=message):
        reports.load(path)
    with pytest.raises(FileNotFoundError):
        reports.load(tmp_path / "none.json")


def test_damaged_rows(tmp_path):
    data = json.loads(example().to_json(scores=True))
    for row, change in ((0, ["r1", "p", [0.5], [0, 1]]), (1, ["r1", "p", [0.5, 0.5], [0, 2]]), (2, ["r1"])):
        rows = list(data["rows"])
        rows[row] = change
        (tmp_path / "r.json").write_text(json.dumps({**data, "rows": rows}))
        with pytest.raises(ValueError, match="is a damaged report"):
            reports.load(tmp_path / "r.json")


def test_a_field_of_another_kind_is_told(tmp_path):
    """One value of each kind of JSON in place of each field: told by name, or a report that can be shown."""
    data = json.loads(example().to_json(scores=True))
    refused = set()
    for name in data:
        for other in (None, True, 7, 0.5, "x", [], {}, [[]], {"x": None}):
            (tmp_path / "r.json").write_text(json.dumps({**data, name: other}))
            try:
                report = reports.load(tmp_path / "r.json")
            except ValueError as error:
                assert "report" in str(error)
                if f"ValueError: {name} is a {type(other).__name__}" in str(error):
                    refused.add(name)
            else:
                str(report), report.to_markdown(), report.to_csv(), report.to_dict(scores=True)
    assert refused >= {"dataset", "part", "settings", "notes", "undefined", "fraction", "model"}, refused


@pytest.mark.parametrize(
    "name, value",
    [
        ("leads", [1]), ("notes", [""]), ("undefined", [None]), ("support", {}), ("thresholds", {}),
        ("trained", {"patients": 3}),
        ("metrics", {}), ("metrics", {"roc_auc": 3}), ("metrics", {"roc_auc": {"macro": 1, "low": 0, "high": "x"}}),
        ("settings", {"epochs": []}), ("skipped", [{"record": 3, "reason": "x"}]),
        ("seeds", {"seeds": [], "metrics": {}}), ("seeds", {"seeds": [1], "metrics": {"roc_auc": {"mean": 0}}}),
        ("seen", {}),
        ("seen", {"threshold": 0.5, "nearest": {"normal ecg": {"entity": "x", "cosine": 1, "by": 3}}, "metrics": {}}),
        ("beside", {"random encoder": {"metrics": {"roc_auc": {"macro": "x"}}}}),
    ],
)  # fmt: skip
def test_parts_of_another_kind_are_told(tmp_path, name, value):
    data = json.loads(example().to_json(scores=True))
    (tmp_path / "r.json").write_text(json.dumps({**data, name: value}))
    with pytest.raises(ValueError, match="is a damaged report: ValueError: .* is not what a report has there"):
        reports.load(tmp_path / "r.json")


@pytest.mark.parametrize("metric", _metrics.METRICS)
def test_comparison_is_the_paired_bootstrap(metric):
    first, second = example(1, signal=3.0), example(2, signal=0.0)
    found = first.compare(second, metric)
    threshold = tuple(list(r.thresholds.values()) for r in (first, second)) if metric == "f1" else None
    expected = _metrics.paired_bootstrap(
        first.labels, first.scores, second.scores, groups=first.patients, n=50, metric=metric, classes=CLASSES,
        threshold=threshold,
    )
    assert found.found == expected and found.notes == []
    assert found.found.difference == pytest.approx(
        first.metrics[metric]["macro"] - second.metrics[metric]["macro"], abs=1e-12
    )
    assert f"{expected.difference:+.3f}" in found.table() and f"{expected.p_value:.3g}" in found.to_markdown()
    data = json.loads(found.to_json())
    assert data["p_value"] == expected.p_value and data["per_class"][CLASSES[0]] == expected.per_class[CLASSES[0]]


def test_comparison_on_what_both_have():
    first, second = example(1), example(2)
    keep = [19, 3, 7, 12, 5]
    second.records, second.patients = ([getattr(second, n)[i] for i in keep] for n in ("records", "patients"))
    second.scores, second.labels = second.scores[keep, ::-1], second.labels[keep, ::-1]
    second.classes = CLASSES[::-1]
    found = first.compare(second, "brier", resamples=30, seed=2)
    rows = sorted(keep)
    expected = _metrics.paired_bootstrap(
        first.labels[rows], first.scores[rows], example(2).scores[rows], n=30, seed=2, metric="brier",
        groups=[first.patients[i] for i in rows], classes=CLASSES,
    )
    assert found.found == expected
    assert found.notes == ["5 recordings in both, of 20 and 5: the others are left out"]


def test_bad_comparisons():
    report = example()
    with pytest.raises(TypeError, match="other is str, expected a Report"):
        report.compare("r.json")
    for name, value, message in (
        ("dataset", "another", "other is of another, this report of made"),
        ("records", ["x"] * 20, "names two recordings alike"),
        ("records", [f"x{i}" for i in range(20)], "share 0 recordings and 2 classes"),
        ("classes", ["a", "b"], "share 20 recordings and 0 classes"),
        ("labels", 1 - report.labels, "labels differ"),
        ("patients", ["p"] * 20, "patients differ"),
    ):
        other = example()
        setattr(other, name, value)
        with pytest.raises(ValueError, match=message):
            report.compare(other)
    with pytest.raises(ValueError, match="metric is 'brier', which one report lacks"):
        report.compare(example(probabilities=False), "brier")
    one = example()
    one.patients = ["p"] * 20
    with pytest.raises(ValueError, match="groups holds one patient"):
        one.compare(one)


def test_one_class_and_one_patient(pictures):
    rng = np.random.default_rng(0)
    dataset = SimpleNamespace(
        name="one", classes=["af"], labels=rng.integers(0, 2, (30, 1)), patients=["p"] * 30, paths=list("abc" * 10)
    )
    options = {"model": "", "leads": ["I"], "part": "test"}
    report = measure("zero_shot", dataset, np.arange(30), rng.random((30, 1)), **options)
    assert report.notes == ["one patient only: no intervals"] and math.isnan(report.metrics["roc_auc"]["low"])
    assert report.metrics["roc_auc"]["macro"] == report.metrics["roc_auc"]["per_class"]["af"]
    page = report.to_html()
    assert page.count("<img ") == 5 and "One patient only: no intervals." in page and "nan" not in page.lower().split("<h2>")[1]
    assert report.to_markdown().count("\n| ") == 3
