"""Models that come with the package: by name, whole, or a message that says what is wrong."""

import importlib.util
import pathlib

import numpy as np
import pytest
from small import TINY, make_store

import kmerl
from kmerl import shipped
from kmerl.checkpoint import folded
from kmerl.cli import main as kmerl_command

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY_MODEL = pytest.mark.skipif(shipped.DEFAULT not in shipped.list_models(), reason="kmerl-tiny is not trained yet")


def install_tool():
    path = ROOT / "tools" / "install_model.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    model = kmerl.KMERL(**TINY).fit(make_store(folder / "store", count=12), max_steps=2, progress=False)
    model.save(folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.fixture
def models(monkeypatch, tmp_path):
    """A folder of models in place of the package's."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def installed(models, trained):
    assert install_tool().main([str(trained), "kmerl-small", "a small one"]) == 0
    return models / "kmerl-small.safetensors"


def test_by_name(installed, trained, monkeypatch, tmp_path):
    assert kmerl.list_models() == ["kmerl-small"] and shipped.about("kmerl-small")[0] == "a small one"
    (tmp_path / "kmerl-small").mkdir()          # a folder of that name is in nobody's way
    monkeypatch.chdir(tmp_path)
    small, model = kmerl.load_model("kmerl-small"), kmerl.load_model(trained)
    record = kmerl.sample_records()[0]
    np.testing.assert_allclose(small.predict_proba(record, list(small.vocabulary_)),
                               model.predict_proba(record, list(small.vocabulary_)), atol=2e-3)


def test_synonyms_take_no_space_and_are_answered(installed, trained):
    small, model, record = kmerl.load_model("kmerl-small"), kmerl.load_model(trained), kmerl.sample_records()[0]
    assert len(small._names.texts) < len(model._names.texts)
    texts = model._names.texts
    assert set(map(folded, small._names.answered(small.vocabulary_))) == set(map(folded, texts))
    asked = [text for text in texts if text.strip()]
    for method in ("query", "cosine"):
        np.testing.assert_allclose(small.predict_proba(record, asked, method=method),
                                   model.predict_proba(record, asked, method=method), atol=2e-3)


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[:4000] + bytes([data[4000] ^ 1]) + data[4001:],
    lambda data: data + b"\0", lambda data: b"",
])
def test_a_damaged_file_says_so(installed, damage):
    installed.write_bytes(damage(installed.read_bytes()))
    with pytest.raises(ValueError, match="kmerl-small.safetensors is damaged: .*install kmerl again"):
        kmerl.load_model("kmerl-small")


def test_a_missing_file_says_so(installed):
    installed.unlink()
    with pytest.raises(FileNotFoundError, match="is missing from this installation"):
        kmerl.load_model("kmerl-small")


@pytest.mark.parametrize("name, words", [
    ("kmerl-smal", "did you mean 'kmerl-small'"), ("KMERL-Small", "did you mean 'kmerl-small'"),
    ("frogs", r"list_models\(\) gives \['kmerl-small'\]"), ("", "no checkpoint ''"),
    ("../kmerl-small", "no checkpoint"), ("kmerl-small.safetensors", "list_models"), ("a\0b", "no checkpoint"),
])
def test_names_that_are_none(installed, name, words):
    with pytest.raises(FileNotFoundError, match=words):
        kmerl.load_model(name)


@pytest.mark.parametrize("name", [None, 5, ["kmerl-small"], b"kmerl-small"])
def test_what_is_no_name(name):
    with pytest.raises(TypeError, match="name must be a path or one of"):
        kmerl.load_model(name)


def test_installing_what_is_too_large_or_unnamed(models, trained, monkeypatch, tmp_path):
    tool = install_tool()
    monkeypatch.setattr(tool, "LARGEST", 1000)
    with pytest.raises(ValueError, match="at most 1,000 are shipped"):
        tool.install(trained, "kmerl-small", "")
    kmerl.KMERL(**TINY).initialize(24).save(tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="has no vocabulary"):
        tool.install(tmp_path / "bare.safetensors", "kmerl-small", "")
    assert kmerl.list_models() == [] and not list(models.glob("*.safetensors"))


def test_from_the_shell(installed, capsys):
    assert kmerl_command(["models"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("kmerl-small") and "a small one" in out and "next: kmerl predict kmerl-small" in out
    assert kmerl_command(["info", "kmerl-small"]) == 0
    assert "a checkpoint, written by" in capsys.readouterr().out
    assert kmerl_command(["predict", "kmerl-smal", str(kmerl.sample_path("00330_hr"))]) == 1
    assert "did you mean 'kmerl-small'" in capsys.readouterr().err


def test_the_shell_takes_the_default_where_no_checkpoint_is_named(models, trained, capsys, monkeypatch, tmp_path):
    record = str(kmerl.sample_path("00330_hr"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:        # there is none
        kmerl_command(["predict", record])
    assert error.value.code == 2 and "CHECKPOINT" in capsys.readouterr().err
    install_tool().install(trained, "kmerl-tiny", "")
    capsys.readouterr()
    assert kmerl_command(["predict", record, "--classes", "atrial fibrillation"]) == 0
    out = capsys.readouterr().out
    assert kmerl_command(["predict", "kmerl-tiny", record, "--classes", "atrial fibrillation"]) == 0
    assert capsys.readouterr().out == out and "next: kmerl plot" in out and "--checkpoint kmerl-tiny" in out
    pytest.importorskip("matplotlib")
    assert kmerl_command(["plot", record, "--class", "atrial fibrillation", "--out", "a.png"]) == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000


# ---- kmerl-tiny itself ----


@TINY_MODEL
def test_kmerl_tiny_is_small_and_half():
    from kmerl import safetensors

    path = shipped.whole_file("kmerl-tiny")
    assert pathlib.Path(path).stat().st_size <= 16_000_000
    assert {array.dtype for array in safetensors.read(path)[0].values()} == {np.dtype(np.float16)}


@TINY_MODEL
def test_kmerl_tiny_answers_every_name():
    """Names and synonyms of the vocabulary, the class names of all data sets, the Challenge's."""
    vocabulary = kmerl.Vocabulary.default()
    names = [text for name in vocabulary for text in (name, *vocabulary[name].synonyms)]
    names += [name for task in kmerl.class_names().values() for name in task.values()]
    names += ["st/t change", "st-t change", "conduction disturbance", "hypertrophy", "normal ecg",
              "normal sinus rhythm", "t wave inversion", "incomplete right bundle branch block",
              "myocardial ischemia"]
    model = kmerl.load_model("kmerl-tiny")
    assert model._encoder_id == kmerl.sample_embeddings().id
    p = model.predict_proba(kmerl.sample_records()[0], names, leads=["I"])
    assert p.shape == (len(names),) and ((p >= 0) & (p <= 1)).all() and p.std() > 0.01


@TINY_MODEL
def test_kmerl_tiny_knows_recordings_that_it_never_saw():
    """The sample is real, the model saw simulated recordings alone: better than chance with any leads. What it
    reaches is in docs/model_card.md."""
    dataset, model = kmerl.sample_dataset(), kmerl.load_model("kmerl-tiny")
    records = list(dataset)
    for leads in (None, ["I"], ["II"]):
        given = records if leads is None else [record.select(leads) for record in records]
        auc = kmerl.metrics.roc_auc_score(dataset.labels, model.predict_proba(given, dataset.classes))
        assert auc > 0.64, leads
