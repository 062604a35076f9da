"""`kmerl demo`: everything it promises, with two epochs of a smaller network."""

import json
import pathlib
import re

import numpy as np
import pytest

import kmerl
from kmerl import demo
from kmerl.cli import main as kmerl_command


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A smaller network, and a folder to work in."""
    sizes = dict(width=64, depth=1, heads=1, mlp_width=64, query_width=64, query_heads=1, query_mlp_width=64)
    monkeypatch.setattr(
        demo, "CONFIG", {**demo.CONFIG, **sizes, "masked_leads": (11,), "batch_size": 32, "epochs": 2}
    )
    monkeypatch.setattr(demo, "RESAMPLES", 20)
    monkeypatch.setattr(demo, "INITIALISATIONS", 2)
    monkeypatch.chdir(tmp_path)


def test_the_whole_demo(small, capsys, tmp_path):
    assert kmerl_command(["demo", "--out", "here", "--quiet", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    rows = re.findall(
        r"^  (12 leads|lead I|lead II) +(0\.\d+) \((0\.\d+)-(0\.\d+)\) +(0\.\d+) \((0\.\d+)-(0\.\d+)\)$",
        out,
        re.M,
    )
    assert [row[0] for row in rows] == ["12 leads", "lead I", "lead II"]
    for row in rows:
        for estimate, low, high in (map(float, row[1:4]), map(float, row[4:7])):
            assert 0 <= low <= estimate <= high <= 1
    assert "no diagnostic model" in out and "Never use them for a patient" in out
    steps = (tmp_path / "here" / "run" / "log.jsonl").read_text().splitlines()
    assert sum("val_loss" not in json.loads(line) for line in steps) == 2 * (73 // 32)
    kmerl.load_model(tmp_path / "here" / "run" / "last.safetensors")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert "No picture" in out and "matplotlib" in out
    else:
        assert (tmp_path / "here" / "attention.png").stat().st_size > 10_000

    # What it tells to run next runs.
    following = re.findall(r"^next: kmerl (.*)$", out, re.M)
    assert len(following) == 2
    for command in following:
        assert kmerl_command(command.split()) == 0

    # Once more: nothing is trained again, and the answers are the same.
    capsys.readouterr()
    assert kmerl_command(["demo", "--out", "here", "--quiet"]) == 0
    again = capsys.readouterr().out
    assert again.split("\n\n")[1:-2] == out.split("\n\n")[1:-2]


def test_first_the_model_that_comes_with_kmerl(small, capsys, monkeypatch):
    simulator = kmerl.Simulator(epoch_size=8, validation_size=0)
    model = kmerl.KMERL(**{**demo.CONFIG, "batch_size": 8}).fit(simulator, max_steps=1, progress=False)
    monkeypatch.setattr(kmerl, "list_models", lambda: ["kmerl-tiny"])
    monkeypatch.setattr(kmerl, "load_model", {"kmerl-tiny": model}.get)
    monkeypatch.setattr(demo, "_questions", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert demo.main(["--quiet", "--epochs", "1"]) == 130
    first, second = capsys.readouterr().out.split("A model of one's own")
    rows = re.findall(r"^  (12 leads|lead I|lead II) +(0\.\d+) \((0\.\d+)-(0\.\d+)\)$", first, re.M)
    assert [row[0] for row in rows] == ["12 leads", "lead I", "lead II"]
    dataset = kmerl.sample_dataset()
    p = model.predict_proba([record.select(["I"]) for record in dataset], dataset.classes)
    assert rows[1][1] == f"{kmerl.metrics.roc_auc_score(dataset.labels, p):.3f}"
    assert "00330_hr" in first and "report" in first and "steps, loss" in second


def test_without_matplotlib_it_says_so(small, capsys, monkeypatch):
    def absent(*_, **__):
        raise ImportError("plot_ecg needs matplotlib: pip install matplotlib")

    monkeypatch.setattr(kmerl, "plot_ecg", absent)
    assert demo.main(["--quiet", "--epochs", "1"]) == 0
    assert "No picture: plot_ecg needs matplotlib" in capsys.readouterr().out
    assert not pathlib.Path("kmerl-demo/attention.png").exists()


def test_interrupted_it_keeps_what_it_has_and_goes_on(small, capsys, monkeypatch):
    answers = demo._answers

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_answers", interrupted)
    assert kmerl_command(["demo", "--quiet"]) == 130
    assert "goes on" in capsys.readouterr().err
    before = pathlib.Path("kmerl-demo/run/last.safetensors").read_bytes()
    monkeypatch.setattr(demo, "_answers", answers)
    assert kmerl_command(["demo", "--quiet"]) == 0
    assert pathlib.Path("kmerl-demo/run/last.safetensors").read_bytes() == before


def test_another_configuration_in_the_same_folder_is_refused(small, capsys):
    assert kmerl_command(["demo", "--quiet"]) == 0
    assert kmerl_command(["demo", "--quiet", "--seed", "1"]) == 1
    assert "seed is 0 there, 1 here" in capsys.readouterr().err


@pytest.mark.parametrize("options, field", [(["--epochs", "0"], "epochs"), (["--threads", "0"], "threads")])
def test_bad_options_name_themselves(small, capsys, options, field):
    assert kmerl_command(["demo", *options]) == 1
    assert field in capsys.readouterr().err
    assert not pathlib.Path("kmerl-demo").exists()


def test_wrong_usage():
    with pytest.raises(SystemExit) as error:
        demo.main(["--epochs", "many"])
    assert error.value.code == 2


def test_its_configuration_is_one():
    assert kmerl.Config(**demo.CONFIG).epochs == demo.CONFIG["epochs"]


def test_questions_have_enough_of_both_outcomes(small, tmp_path):
    train, heldout = kmerl.sample_records("train"), kmerl.sample_records("heldout")
    assert not {r.patient for r in train} & {r.patient for r in heldout}
    store = kmerl.Store.create(tmp_path / "store", train, progress=False).label(progress=False)
    classes, labels = demo._questions(store, heldout)
    counts = labels.sum(axis=0, dtype=int)
    assert len(classes) >= 10 and labels.shape == (len(heldout), len(classes))
    assert (counts >= demo.ENOUGH).all() and (len(heldout) - counts >= demo.ENOUGH).all()
    seen = dict(zip(store.entities, np.asarray(store.labels).sum(axis=0), strict=True))
    assert all(seen[name] >= demo.ENOUGH for name in classes)
