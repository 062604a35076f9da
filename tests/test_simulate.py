"""Simulated ECGs: reproducible, lawful, and said in words that the extractor reads back."""

import itertools

import numpy as np
import pytest

import kmerl
from kmerl.extraction import label_matrix
from kmerl.leads import LEADS
from kmerl.simulator import MECHANISMS, Simulator, Table, simulate

VOCABULARY = kmerl.Vocabulary.default()
NAMES = list(VOCABULARY)
TABLE = Table.default()


def found(record):
    """The entities of a record's labels."""
    return {name for name, value in zip(NAMES, record.labels, strict=True) if value}


def same(a, b):
    return (
        np.array_equal(a.signal, b.signal)
        and a.report == b.report
        and np.array_equal(a.labels, b.labels)
        and (a.name, a.fs, a.leads) == (b.name, b.fs, b.leads)
    )


# ---- What comes out ----


def test_records():
    records = simulate(3, seed=5)
    assert [r.name for r in records] == [f"simulated-5-{i}" for i in range(3)]
    for record in records:
        assert isinstance(record, kmerl.Record)
        assert record.signal.shape == (12, 5000) and record.signal.dtype == np.float32
        assert record.leads == list(LEADS) and record.fs == 500
        assert np.isfinite(record.signal).all() and np.abs(record.signal).max() < 33
        assert record.labels.shape == (len(NAMES),) and record.labels.dtype == np.uint8
        assert isinstance(record.report, str) and record.report


def test_a_recording_is_a_function_of_seed_and_index():
    all_at_once = simulate(70, seed=3, threads=1)
    for record, other in zip(all_at_once, simulate(70, seed=3, threads=2), strict=True):
        assert same(record, other)
    assert same(all_at_once[41], simulate(1, seed=3, start=41)[0])
    simulator = Simulator(seed=3)
    assert same(simulator[69], all_at_once[69]) and same(simulator[-1], simulator[2**32 - 1])
    assert [
        same(a, b)
        for a, b in zip(simulator.records([8, 2, 8]), [all_at_once[i] for i in (8, 2, 8)], strict=True)
    ] == [True] * 3
    assert [r.name for r in simulator[5:9:2]] == ["simulated-3-5", "simulated-3-7"]
    assert not same(all_at_once[0], all_at_once[1])
    assert not np.array_equal(all_at_once[0].signal, simulate(1, seed=4)[0].signal)


PINNED = {
    "revision": 2,
    "rate": [60.527, 70.489, 89.603, 61.123, 51.804, 76.819],
    "pr": [153.434, 166.099, 160.763, 160.893, 146.658, 129.742],
    "qrs": [108.001, 92.065, 81.435, 95.652, 89.649, 99.685],
    "qt": [434.596, 419.964, 357.909, 433.547, 456.012, 373.948],
    "axis": [30.934, 30.071, 82.416, 45.656, 80.262, 89.313],
    "sokolow": [3.621, 3.765, 1.284, 1.543, 2.054, 3.526],
}


def test_other_ecgs_are_another_revision(monkeypatch):
    """Whoever changes what a seed gives raises KM_SIMULATE_REVISION, and writes down here what it gives then."""
    assert kmerl.simulator.REVISION == PINNED["revision"]
    measured = Simulator(seed=0).measurements(range(6))
    for name in ("rate", "pr", "qrs", "qt", "axis", "sokolow"):
        np.testing.assert_allclose(measured[name], PINNED[name], rtol=1e-3, atol=1e-2, err_msg=name)
    before = Simulator(seed=0).fingerprint()
    monkeypatch.setattr(kmerl.simulator, "REVISION", PINNED["revision"] + 1)
    assert Simulator(seed=0).fingerprint() != before


def test_labels_and_reports_without_signals():
    simulator = Simulator(seed=9)
    records = simulator.records(range(40))
    assert np.array_equal(simulator.labels(range(40)), [r.labels for r in records])
    assert simulator.reports(range(40)) == [r.report for r in records]
    assert (
        simulator.labels([]).shape == (0, len(NAMES)) and simulator.reports([]) == simulator.records([]) == []
    )


@pytest.mark.parametrize("fs, seconds", [(100, 10), (250, 2.5), (1000, 5), (360, 30)])
def test_rates_and_lengths(fs, seconds):
    record = simulate(1, seed=2, fs=fs, seconds=seconds)[0]
    assert record.signal.shape == (12, round(fs * seconds)) and record.fs == fs


def test_another_rate_shows_the_same_heart():
    fine, coarse = (simulate(1, seed=6, fs=fs, noise=0, findings=["normal ECG"])[0] for fs in (1000, 250))
    assert fine.report == coarse.report
    np.testing.assert_allclose(coarse.signal, fine.signal[:, ::4], atol=1e-3)


def test_leads():
    whole, part = simulate(1, seed=2)[0], simulate(1, seed=2, leads=["V5", "II"])[0]
    assert part.leads == ["V5", "II"]
    assert np.array_equal(part.signal, whole.select(["V5", "II"]).signal)


def test_einthoven_and_goldberger():
    for record in simulate(5, seed=1):
        i, ii, iii, avr, avl, avf = record.signal[:6]
        np.testing.assert_allclose(iii, ii - i, atol=1e-4)
        np.testing.assert_allclose(avr, -(i + ii) / 2, atol=1e-4)
        np.testing.assert_allclose(avl, i - ii / 2, atol=1e-4)
        np.testing.assert_allclose(avf, ii - i / 2, atol=1e-4)


def test_without_noise_the_line_is_still():
    clean, noisy = (simulate(1, seed=4, noise=noise, findings=["sinus bradycardia"])[0] for noise in (0, 2))
    quiet = np.abs(np.diff(clean.signal, axis=1)) < 1e-3
    assert (
        quiet.mean() > 0.5
        and np.abs(np.diff(noisy.signal, axis=1)).mean() > np.abs(np.diff(clean.signal, axis=1)).mean()
    )


# ---- Findings ----


def seen(findings):
    """A finding's own label may be a measured criterion's."""
    return set(findings) & set(TABLE.labels)


@pytest.mark.parametrize("finding", MECHANISMS)
def test_every_finding_can_be_asked_for(finding):
    simulator = Simulator(seed=11, findings=[finding])
    names = [{NAMES[i] for i in np.flatnonzero(row)} for row in simulator.labels(range(12))]
    shown = sum(finding in entities for entities in names)
    assert shown >= (12 if finding in ("atrial fibrillation", "normal ECG", "sinus rhythm") else 8), names
    assert np.isfinite(simulator[0].signal).all()


def test_combinations():
    both = Simulator(
        seed=1,
        findings=["right bundle branch block", "left anterior fascicular block", "first degree AV block"],
    )
    for row in both.labels(range(6)):
        assert {"right bundle branch block", "first degree AV block", "sinus rhythm"} <= {
            NAMES[i] for i in np.flatnonzero(row)
        }


def test_prevalence_decides():
    none = {name: 0 for name in MECHANISMS}
    labels = Simulator(seed=0, prevalence=none | {"atrial fibrillation": 1}).labels(range(50))
    assert labels[:, VOCABULARY.index("atrial fibrillation")].all()
    assert (
        not Simulator(seed=0, prevalence=none)
        .labels(range(50))[:, VOCABULARY.index("atrial fibrillation")]
        .any()
    )
    rate = Simulator(seed=0, prevalence=none | {"atrial fibrillation": 0.25}).labels(range(800))
    assert 0.18 < rate[:, VOCABULARY.index("atrial fibrillation")].mean() < 0.32
    assert Simulator.defaults()["atrial fibrillation"] > 0
    Simulator.defaults()["atrial fibrillation"] = 1  # a copy
    assert Simulator.defaults()["atrial fibrillation"] < 1


def test_labels_are_measured():
    """The criteria decide, not the intention."""
    simulator = Simulator(seed=3)
    m, labels = simulator.measurements(range(600)), simulator.labels(range(600))

    def column(name):
        return labels[:, VOCABULARY.index(name)].astype(bool)

    assert (m["pr"][column("first degree AV block")] >= 200).all()
    assert (m["qrs"][column("left bundle branch block")] >= 120).all()
    assert (m["qrs"][column("right bundle branch block")] >= 120).all()
    assert not (column("normal ECG") & column("abnormal ECG")).any()
    assert (column("normal ECG") | column("abnormal ECG")).mean() > 0.85
    assert (m["qrs"][column("normal ECG")] < 120).all() and (m["pr"][column("normal ECG")] < 200).all()
    assert m["st"].shape == (600, 12)


def test_mechanisms_show_in_the_signal():
    """What the findings mean, looked for in noiseless signals."""

    def record(finding):
        return simulate(1, seed=8, findings=[finding], noise=0)[0]

    normal = record("normal ECG")
    lead = {name: i for i, name in enumerate(LEADS)}
    energy = np.abs(np.diff(normal.signal, axis=1)).sum(0)
    assert normal.signal[lead["II"]].max() > 0.2 and normal.signal[lead["aVR"]].min() < -0.2
    assert normal.signal[lead["V1"]].min() < -normal.signal[lead["V1"]].max() / 2
    assert energy.max() > 20 * np.median(energy)
    left = record("left bundle branch block")
    assert left.signal[lead["V1"]].min() < -0.5 and left.signal[lead["V6"]].max() > 0.4
    right = record("right bundle branch block")
    assert right.signal[lead["V1"]].max() > 0.3
    reversed_arms = record("suspect arm ECG leads reversed")
    assert -reversed_arms.signal[lead["I"]].min() > reversed_arms.signal[lead["I"]].max()


def medians_of(finding, measurement, count=100, at=50):
    return np.percentile(Simulator(seed=2, findings=[finding]).measurements(range(count))[measurement], at)


def test_blocks_and_foci_widen_the_complex():
    """Median QRS of the findings that slow conduction, ms: what textbooks give."""
    for finding, low, high in (("right bundle branch block", 125, 170), ("left bundle branch block", 125, 165),
                            ("incomplete right bundle branch block", 100, 120), ("ventricular paced rhythm", 140, 190),
                            ("left anterior fascicular block", 85, 115), ("ventricular tachycardia", 140, 200)):
        qrs = medians_of(finding, "qrs")
        assert low <= qrs <= high, (finding, qrs)


def test_normal_beats_have_the_heights_of_recorded_ones():
    """Medians of R and S over PTB-XL's normal recordings (docs/simulator.md), a quarter or 0.12 mV apart at most."""
    r = [0.66, 0.89, 0.34, 0.13, 0.27, 0.57, 0.19, 0.48, 0.83, 1.28, 1.35, 1.13]
    s = [-0.13, -0.17, -0.19, -0.77, -0.16, -0.16, -0.85, -1.31, -0.81, -0.43, -0.20, -0.13]
    heights = []
    for record in Simulator(seed=5, findings=["normal ECG"], noise=0, seconds=4).records(range(150)):
        signal = record.signal - np.median(record.signal, axis=1, keepdims=True)
        peak = 500 + np.argmax(np.abs(np.diff(signal[:, 500:-500], axis=1)).sum(0))
        beat = signal[:, peak - 40 : peak + 40]
        heights.append([beat.max(1), beat.min(1)])
    for simulated, real in zip(np.median(heights, axis=0), (r, s), strict=True):
        assert np.all(np.abs(simulated - real) < np.maximum(0.12, 0.25 * np.abs(real))), simulated - real
    axis = medians_of("normal ECG", "axis", 400, [10, 50, 90])
    assert -20 < axis[0] < 15 and 30 < axis[1] < 60 and 65 < axis[2] < 95, axis


def test_rates():
    def rate(finding):
        return Simulator(seed=2, findings=[finding]).measurements(range(30))["rate"]

    assert (rate("sinus tachycardia") > 95).all() and (rate("sinus bradycardia") < 62).all()
    assert (rate("ventricular tachycardia") > 110).all() and (rate("third degree AV block") < 50).all()
    variation = Simulator(seed=2, findings=["atrial fibrillation"]).measurements(range(30))["rr_variation"]
    assert (
        variation.mean()
        > 0.1
        > Simulator(seed=2, findings=["normal ECG"]).measurements(range(30))["rr_variation"].mean()
    )


# ---- Reports ----


def test_the_extractor_finds_the_labels_again():
    simulator = Simulator(seed=21)
    labels, read = simulator.labels(range(1500)), label_matrix(simulator.reports(range(1500)))
    wrong = np.flatnonzero((labels != read).any(axis=1))
    assert wrong.size == 0, [
        (simulator.reports([int(i)]), [NAMES[j] for j in np.flatnonzero(labels[i] != read[i])])
        for i in wrong[:3]
    ]


def test_every_phrase_says_what_it_means():
    numbers = dict(rate=70, pr=160, qrs=90, qt=400, qtc=410, axis=30, p=100, atrial=80)
    said = [
        (style, name, phrase)
        for style, name in itertools.product(TABLE.document["styles"], TABLE.labels)
        for phrase in TABLE.said(style, name)
    ]
    rows = label_matrix([phrase.format(**numbers) for _, _, phrase in said])
    for (style, name, phrase), row in zip(said, rows, strict=True):
        assert np.array_equal(row, TABLE.entities[TABLE.labels.index(name)]), (style["name"], name, phrase)


def test_reports_vary():
    texts = Simulator(seed=2).reports(range(400))
    assert any("Sinusrhythmus" in t for t in texts) and any("inus rhythm" in t for t in texts)
    statuses = {f.status for findings in kmerl.extract(texts) for f in findings}
    assert statuses == {"asserted", "negated", "hedged"}
    kinds = {s.kind for reading in kmerl.extract(texts, details=True) for s in reading.statements}
    assert "technical" in kinds
    assert not any("{" in t for t in texts)


def test_names_are_the_vocabularys():
    for name in (*MECHANISMS, *TABLE.labels, *TABLE.document["hedged"], *TABLE.document["benign"]):
        assert VOCABULARY[name].name == name
    assert set(TABLE.document["prevalence"]) <= set(MECHANISMS)
    assert set(TABLE.document["benign"]) <= set(TABLE.labels)


# ---- The table ----


def with_criteria(condition):
    return Table({**TABLE.document, "criteria": {**TABLE.document["criteria"], "U wave": [condition]}})


@pytest.mark.parametrize(
    "condition, message",
    [
        ("pr > 200", "is no condition"),
        ("weight >= 3", "is no condition"),
        ("mechanism frogs", "'frogs'"),
        ("found frogs", "'frogs'"),
        ("st >= 0.1", "measured in leads"),
        ("2 of V1 V2: pr >= 0.1", "once a recording"),
        ("2 of V1 V9: st >= 0.1", "V9"),
    ],
)
def test_bad_criteria_are_named(condition, message):
    with pytest.raises(ValueError, match=message):
        with_criteria(condition)


# ---- Bad input ----


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"findings": ["frogs"]}, KeyError, "frogs"),
        ({"findings": ["heart failure"]}, KeyError, "cannot be simulated"),
        ({"findings": "atrial fibrillation"}, TypeError, "list of names"),
        ({"findings": [3]}, TypeError, "int"),
        (
            {"findings": ["sinus rhythm", "atrial fibrillation"]},
            ValueError,
            "cannot be in the same recording",
        ),
        ({"findings": ["atrial fibrillation", "first degree AV block"]}, ValueError, "first degree AV block"),
        ({"findings": ["left bundle branch block", "right bundle branch block"]}, ValueError, "cannot be"),
        ({"findings": ["normal ECG", "left ventricular hypertrophy"]}, ValueError, "normal ECG"),
        ({"prevalence": {"atrial fibrillation": 1.2}}, ValueError, "1.2"),
        ({"prevalence": {"atrial fibrillation": -0.1}}, ValueError, "-0.1"),
        ({"prevalence": {"atrial fibrillation": float("nan")}}, ValueError, "nan"),
        ({"prevalence": {"frogs": 0.1}}, KeyError, "frogs"),
        ({"prevalence": {"sinus rhythm": "often"}}, TypeError, "prevalence"),
        ({"prevalence": {}, "findings": []}, ValueError, "one of them"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"fs": 20}, ValueError, "fs must be 50 to 2000 Hz"),
        ({"fs": "fast"}, TypeError, "fs"),
        ({"fs": -500}, ValueError, "fs must be 50 to 2000 Hz, got -500"),
        ({"seconds": -10}, ValueError, "seconds must be 1 to 300 s, got -10"),
        ({"prevalence": {"atrial fibrillation": float("inf")}}, ValueError, "0 to 1, got inf"),
        ({"prevalence": {"atrial fibrillation": None}}, TypeError, "must be a number"),
        ({"findings": ["atrial fibrillation", "atrial flutter"]}, ValueError, "cannot be in the same recording"),
        ({"findings": ["prolonged QT interval", "short QT interval"]}, ValueError, "cannot be"),
        ({"findings": ["sinus tachycardia", "sinus bradycardia"]}, ValueError, "cannot be"),
        ({"seconds": 0}, ValueError, "seconds"),
        ({"seconds": 1e9}, ValueError, "seconds"),
        ({"noise": -1}, ValueError, "noise"),
        ({"noise": float("nan")}, ValueError, "noise"),
        ({"leads": ["V9"]}, ValueError, "V9"),
        ({"leads": []}, ValueError, "leads"),
        ({"threads": 0}, ValueError, "threads"),
    ],
)
def test_bad_settings(change, error, message):
    with pytest.raises(error, match=message):
        Simulator(**change)


@pytest.mark.parametrize("rhythm", ["sinus tachycardia", "supraventricular tachycardia", "atrial fibrillation"])
def test_no_qt_is_longer_than_its_rr(rhythm):
    """However fast, and however long QT was asked for: the rule is QT <= 0.92 RR."""
    measured = Simulator(seed=5, findings=[rhythm, "prolonged QT interval"]).measurements(range(40))
    assert (measured["rate"] > 0).all() and (measured["qt"] > 0).all()
    assert (measured["qt"] < 60000 / measured["rate"]).all()


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"n": -1}, ValueError),
        ({"n": 2.5}, TypeError),
        ({"n": True}, TypeError),
        ({"n": 1, "start": -1}, ValueError),
        ({"n": 2, "start": 2**32 - 1}, ValueError),
    ],
)
def test_bad_counts(arguments, error):
    with pytest.raises(error):
        simulate(**arguments)


def test_bad_index():
    simulator = Simulator()
    with pytest.raises(IndexError, match="4294967296"):
        simulator[2**32]
    with pytest.raises(TypeError, match="str"):
        simulator["a"]
    with pytest.raises(IndexError):
        simulator.records([-1])


def test_names_in_any_case_and_synonyms():
    assert Simulator(findings=["Vorhofflimmern"]).findings == ["atrial fibrillation"]
    assert (
        Simulator(prevalence={"LEFT BUNDLE BRANCH BLOCK": 0.5}).prevalence["left bundle branch block"] == 0.5
    )


def test_nothing_asked_for():
    assert simulate(0) == []


# ---- Files and the shell ----


def test_wfdb_records_are_read_back(tmp_path):
    from kmerl.wfdb import write_record

    record = simulate(1, seed=3, fs=360, seconds=3, leads=["II", "V2"])[0]
    record.signal[0, 5] = np.nan
    write_record(tmp_path / record.name, record)
    back = kmerl.read_record(tmp_path / record.name)
    assert (back.leads, back.fs, back.name) == (record.leads, 360, record.name)
    assert back.comments == ["simulated"]
    np.testing.assert_allclose(back.signal, record.signal, atol=5.1e-4)
    record.signal[1, 0] = 40
    with pytest.raises(ValueError, match="40 mV"):
        write_record(tmp_path / "b", record)
    with pytest.raises(ValueError, match="name"):
        write_record(tmp_path / "a b", record)


def test_shell(tmp_path, capsys):
    from kmerl.cli import main

    out = tmp_path / "ecgs"
    assert (
        main(["simulate", str(out), "-n", "3", "--seed", "4", "--finding", "atrial fibrillation", "-q"]) == 0
    )
    assert "3 simulated WFDB records" in capsys.readouterr().out
    assert len(list(out.glob("*.hea"))) == 3
    assert (out / "reports.csv").read_text().count("\n") == 4
    ecg = kmerl.read_record(out / "simulated-4-1")
    expected = simulate(1, seed=4, start=1, findings=["atrial fibrillation"])[0]
    np.testing.assert_allclose(ecg.signal, expected.signal, atol=5.1e-4)
    assert main(["simulate", str(tmp_path / "store"), "-n", "4", "--as", "store", "-q"]) == 0
    store = kmerl.Store.open(tmp_path / "store")
    assert len(store) == 4 and store[2].report == simulate(1, start=2)[0].report
    for wrong in (["--finding", "frogs"], ["-n", "0"], ["--noise", "-1"], ["--start", "-1"]):
        assert main(["simulate", str(out), *wrong]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
