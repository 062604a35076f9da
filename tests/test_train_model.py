"""tools/train_model.py: a run that goes on where it stopped, its averaged weights, what it chooses."""

import importlib.util
import json
import pathlib
import shutil

import numpy as np
import pytest
from small import TINY

import kmerl
from kmerl.checkpoint import Checkpoint

TOOL = pathlib.Path(__file__).resolve().parent.parent / "tools" / "train_model.py"
SETTINGS = {
    "simulator": {"seed": 3, "epoch_size": 24, "validation_size": 8},
    "model": {**TINY, "contrast_weight": 0.0, "masked_leads": {"11": 0.5, "10": 0.5}},
    "average_decay": 0.5,
    "measure_every": 1,
    "leads": {"12 leads": 12, "lead I": ["I"]},
}


def load_tool(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool(TOOL)


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(SETTINGS))
    return path


@pytest.fixture
def sources():
    dataset = kmerl.sample_dataset()
    records = list(dataset)
    leads = {"12 leads": records, "lead I": [record.select(["I"]) for record in records]}
    return {"sample": (dataset.classes, dataset.labels, leads)}


def snapshots(monkeypatch, run):
    """The run's last checkpoint after every epoch, kept as it is made."""
    kept, averaged = [], tool.averaged

    def keep(*arguments):
        kept.append(Checkpoint.read(shutil.copy(run / "last.safetensors", run / f"epoch{len(kept)}")))
        return averaged(*arguments)

    monkeypatch.setattr(tool, "averaged", keep)
    return kept


def test_averaged_weights(settings, tmp_path, monkeypatch):
    """With decay 1/2 the three epochs weigh 1, 2 and 4 sevenths."""
    run = tmp_path / "run"
    kept = snapshots(monkeypatch, run)
    tool.train(run, tool.read_settings(settings), {}, progress=False)
    average = Checkpoint.read(run / "average.safetensors")
    assert average.moments is None and average.training["epoch"] == 3
    assert average.training["average_weight"] == pytest.approx(1.75)
    for kind in ("parameters", "statistics"):
        for name, value in getattr(average, kind).items():
            parts = [getattr(checkpoint, kind)[name] for checkpoint in kept]
            expected = np.tensordot([1 / 7, 2 / 7, 4 / 7], np.array(parts, np.float64), 1)
            np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=name)
    moved = [np.abs(average.parameters[n] - v).max() for n, v in kept[-1].parameters.items()]
    assert max(moved) > 1e-4
    # Nothing to choose by: the averaged weights.
    chosen = kmerl.load_model(run / "chosen.safetensors")
    assert all(np.array_equal(chosen.parameters()[n], v) for n, v in average.parameters.items())


@pytest.mark.parametrize("at", ["averaged", "measure"])
def test_interrupted_it_goes_on_to_the_same_bits(settings, sources, tmp_path, monkeypatch, at):
    whole = tool.train(tmp_path / "whole", tool.read_settings(settings), sources, progress=False)
    calls, function = [], getattr(tool, at)

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return function(*arguments)

    monkeypatch.setattr(tool, at, interrupted)
    with pytest.raises(KeyboardInterrupt):
        tool.train(tmp_path / "parts", tool.read_settings(settings), sources, progress=False)
    assert len(tool.read_curve(tmp_path / "parts")) == 1
    parts = tool.train(tmp_path / "parts", tool.read_settings(settings), sources, progress=False)
    assert [{**line, "train_seconds": 0} for line in parts] == [{**line, "train_seconds": 0} for line in whole]
    for name in ("last", "average", "chosen"):
        a, b = (Checkpoint.read(tmp_path / run / f"{name}.safetensors").parameters for run in ("whole", "parts"))
        assert all(np.array_equal(a[key], b[key]) for key in a), name


def test_the_best_of_the_development_recordings_is_chosen(settings, sources, tmp_path, monkeypatch):
    scores = iter([0.6, 0.8, 0.7, 0.5])     # epochs 1 and 2, then epoch 3's averaged and last weights
    asked, saved = [], {}

    def measured(model, _):
        asked.append(next(scores))
        saved[asked[-1]] = model.parameters()
        return {"sample": {"12 leads": asked[-1]}}

    monkeypatch.setattr(tool, "measure", measured)
    curve = tool.train(tmp_path / "run", tool.read_settings(settings), sources, progress=False)
    assert asked == [0.6, 0.8, 0.7, 0.5]
    assert [line.get("chosen") for line in curve] == [True, True, None]
    assert [line["weights"] for line in curve] == ["average"] * 3 and set(curve[-1]["auc"]) == {"average", "last"}
    assert [line["ecgs"] for line in curve] == [24, 48, 72]
    chosen = kmerl.load_model(tmp_path / "run" / "chosen.safetensors").parameters()
    assert all(np.array_equal(chosen[name], value) for name, value in saved[0.8].items())


def test_the_auc_is_that_of_an_evaluation(settings, sources, tmp_path):
    pytest.importorskip("matplotlib")
    curve = tool.train(tmp_path / "run", tool.read_settings(settings), sources, progress=False)
    model, dataset = kmerl.load_model(tmp_path / "run" / "average.safetensors"), kmerl.sample_dataset()
    for words, leads in SETTINGS["leads"].items():
        report = kmerl.evaluate.zero_shot(model, dataset, leads=leads, part="all", untrained=0, resamples=10,
                                          progress=False)
        assert curve[-1]["auc"]["average"]["sample"][words] == pytest.approx(report.metrics["roc_auc"]["macro"])
    tool.plot(curve, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_from_the_shell_without_development_recordings(settings, tmp_path, capsys):
    assert tool.main([str(tmp_path / "run"), "--settings", str(settings), "-q"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [f"epoch {k}" for k in (1, 2, 3)]
    assert not (tmp_path / "run" / "curve.png").exists()


def test_its_settings_are_those_of_the_model_that_ships():
    """Its card tells how it was trained: `make model` must be that."""
    card = json.loads((TOOL.parent.parent / "docs" / "model_card.json").read_text(encoding="utf-8"))
    written, settings = json.loads(tool.SETTINGS.read_text(encoding="utf-8")), tool.read_settings(tool.SETTINGS)
    config = kmerl.Config(**settings["model"], text_width=384)
    assert config.difference(kmerl.Config.from_json(json.dumps(card["config"]))) == []
    simulator = kmerl.Simulator(**settings["simulator"])
    assert sorted(simulator.shown) == sorted(card["taught"])
    last = card["curve"][-1]        # a training that was stopped by hand has fewer epochs than were planned
    assert simulator.epoch_size * last["epoch"] == last["ecgs"]
    assert card["chosen"] <= last["epoch"] <= settings["model"]["epochs"]
    assert card["settings"]["simulator"] == written["simulator"]


def test_bad_input(settings, tmp_path):
    for change, words in (({"average_decay": 1}, "average_decay is 1"), ({"more": 1}, "its fields are")):
        settings.write_text(json.dumps({**SETTINGS, **change}))
        with pytest.raises(ValueError, match=words):
            tool.read_settings(settings)
    with pytest.raises(FileNotFoundError, match="neither a folder ptbxl nor a folder cpsc2018"):
        tool.read_sources(tmp_path, SETTINGS["leads"])
