"""tools/model_card.py: the card says what was measured."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest
from small import TINY

import kmerl
from kmerl import shipped

TOOLS = pathlib.Path(__file__).resolve().parent.parent / "tools"


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


card = load_tool("model_card")


@pytest.fixture(scope="module")
def model():
    simulator = kmerl.Simulator(seed=3, epoch_size=8, validation_size=0)
    return kmerl.KMERL(**TINY | {"contrast_weight": 0.0, "epochs": 1, "lead_pooling": "mean"}).fit(simulator, progress=False)


@pytest.fixture(scope="module")
def found(model):
    card.RESAMPLES = 50
    return card.measured(model, {"ptbxl": kmerl.sample_dataset()}, progress=False)


def test_the_figures_are_those_of_an_evaluation(model, found):
    dataset = kmerl.sample_dataset()
    entry = found["sources"]["ptbxl"]
    assert entry["recordings"] == len(dataset) and sum(entry["positives"].values()) == dataset.labels.sum()
    for words, leads in card.LEADS.items():
        report = kmerl.evaluate.zero_shot(model, dataset, leads=leads, part="all", untrained=0, resamples=50,
                                          progress=False).metrics["roc_auc"]
        assert entry["zero_shot"][words]["macro"] == pytest.approx([report["macro"], report["low"], report["high"]])
        for name, row in entry["zero_shot"][words]["classes"].items():
            assert row[0] == pytest.approx(report["per_class"][name]) and row[1] <= row[0] <= row[2]
    joint = model.predict_proba(list(dataset), dataset.classes, lead_pooling="joint")
    assert entry["joint"][0] == pytest.approx(kmerl.metrics.roc_auc_score(dataset.labels, joint))
    assert entry["sweep"][12] == entry["zero_shot"]["12 leads"]["macro"]
    assert entry["sweep"][1] == entry["zero_shot"]["lead I"]["macro"] and len(entry["sweep"]) == 12


def test_the_probe_tests_on_other_patients(found, monkeypatch):
    split = {}
    monkeypatch.setattr(kmerl.evaluate, "linear_probe", lambda model, dataset, **_: split.update(dataset.split) or 1 / 0)
    dataset = kmerl.sample_dataset()
    with pytest.raises(ZeroDivisionError):
        card.probe(None, dataset, False)
    assert sorted(np.concatenate(list(split.values()))) == list(range(len(dataset)))
    patients = [{dataset.patients[i] for i in indices} for indices in split.values()]
    assert not patients[0] & patients[1] and not patients[1] & patients[2] and not patients[0] & patients[2]
    assert found["probe"]["train"] == len(split["train"])
    assert 0 <= found["probe"]["random"][1] <= found["probe"]["random"][2] <= 1


def test_the_card(model, found, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "models")
    (tmp_path / "model.safetensors").parent.mkdir(exist_ok=True)
    model.save(tmp_path / "model.safetensors")
    load_tool("install_model").install(tmp_path / "model.safetensors", "kmerl-tiny", "What it is")
    aucs = {"average": {"ptbxl": {"12 leads": 0.7, "lead I": 0.6, "lead II": 0.5}}}
    curve = [{"epoch": 1, "ecgs": 6400, "train_seconds": 1800, "auc": aucs, "chosen": True, "weights": "average"},
             {"epoch": 2, "ecgs": 12800, "train_seconds": 1800}]
    (tmp_path / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve))
    whole = json.loads(json.dumps({**card.facts("kmerl-tiny", tmp_path), **found}))
    written = card.text(whole)
    macro = found["sources"]["ptbxl"]["zero_shot"]["lead I"]["macro"]
    for words in ("6,400 simulated ECGs", "no medical device", "epochs up to epoch 1 of 2 trained", "1.0 hours for 2 epochs", "Linear probe",
                  "asked alone", "ptbxl {:.3f}".format(found["sources"]["ptbxl"]["joint"][0]),
                  "{:.3f} ({:.2f} to {:.2f})".format(*macro), *card.by_auc(whole["sources"]["ptbxl"])):
        assert words in written, words
    card.pictures(whole, tmp_path)
    assert all((tmp_path / f"kmerl_tiny_{name}.png").stat().st_size > 5000 for name in ("curve", "leads"))


@pytest.mark.skipif(not (card.DOCS / "model_card.json").exists(), reason="kmerl-tiny was not measured yet")
def test_the_card_of_the_documentation_is_that_of_its_figures():
    found = json.loads((card.DOCS / "model_card.json").read_text(encoding="utf-8"))
    assert (card.DOCS / "model_card.md").read_text(encoding="utf-8") == card.text(found)
    assert shipped.about(found["name"]) == (found["about"], found["bytes"])
    assert list(kmerl.load_model(found["name"]).vocabulary_) == found["taught"]
