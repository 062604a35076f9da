"""Reports of any evaluation: what stands beside a result, repetitions, files."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

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
