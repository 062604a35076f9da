"""Checkpoints: strict, whole or not at all, with the whole story in the header."""

import json
import os

import numpy as np
import pytest
from small import TINY, make_store

import kmerl
from kmerl import safetensors
from kmerl.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    return kmerl.KMERL(**TINY).fit(make_store(folder / "store", count=12), max_steps=2, progress=False)


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_loading_gives_the_same_model(model, path):
    again = kmerl.load_model(path)
    for name, array in model.parameters().items():
        assert np.array_equal(array, again.parameters()[name]), name
    record = kmerl.sample_records("heldout")[0]
    asked = ["atrial fibrillation", "normal ecg"]
    assert np.array_equal(model.predict_proba(record, asked), again.predict_proba(record, asked))
    assert again.config_.to_json() == model.config_.to_json()
    assert list(again.vocabulary_) == list(model.vocabulary_)


def test_saving_again_gives_the_same_bytes(model, path, tmp_path):
    kmerl.load_model(path).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_header_tells_the_story(path):
    _, metadata = safetensors.read(path)
    assert set(metadata) == {"format", "library", "config", "leads", "training", "names", "vocabulary", "text_encoder"}
    assert json.loads(metadata["config"])["width"] == 64
    assert json.loads(metadata["leads"]) == "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6".split()
    assert json.loads(metadata["training"])["step"] == 2
    assert metadata["text_encoder"] == "hash-24" and metadata["library"].startswith(f"kmerl {kmerl.__version__} (")


@pytest.mark.parametrize("change, words", [
    (lambda t: t.pop("encoder.norm.weight"), "missing encoder.norm.weight"),
    (lambda t: t.update(extra=np.zeros(3, np.float32)), "unexpected extra"),
    (lambda t: t.update({"encoder.norm.bias": np.zeros(65, np.float32)}), r"encoder.norm.bias has shape \(65,\)"),
    (lambda t: t.update({"encoder.norm.bias": np.zeros(64, np.int64)}), "encoder.norm.bias has type int64"),
    (lambda t: t.update({"encoder.norm.bias": np.full(64, np.nan, np.float32)}), "encoder.norm.bias"),
])
def test_tensors_are_checked_by_name_shape_and_type(path, change, words):
    tensors, metadata = safetensors.read(path)
    tensors = {name: np.array(array) for name, array in tensors.items()}
    change(tensors)
    safetensors.write(path, tensors, metadata)
    with pytest.raises(ValueError, match=words):
        kmerl.load_model(path)


@pytest.mark.parametrize("key, value, words", [
    ("format", "something else", "not a kmerl checkpoint"),
    ("config", "{}", "lacks the fields"),
    ("config", "[", "header"),
    ("leads", '["I"]', "leads"),
    ("names", '["one"]', "names.query has shape"),
])
def test_headers_are_checked(path, key, value, words):
    tensors, metadata = safetensors.read(path)
    tensors = {name: np.array(array) for name, array in tensors.items()}
    safetensors.write(path, tensors, {**metadata, key: value})
    with pytest.raises(ValueError, match=words):
        kmerl.load_model(path)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_files_are_refused(path, keep):
    data = path.read_bytes()
    keep = int(keep * len(data)) if isinstance(keep, float) else keep % len(data) if keep < 0 else keep
    path.write_bytes(data[:keep])
    with pytest.raises(ValueError, match="model.safetensors"):
        kmerl.load_model(path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="list_models"):
        kmerl.load_model(tmp_path / "none.safetensors")
    with pytest.raises(RuntimeError, match="no parameters yet"):
        kmerl.KMERL().save(tmp_path / "x.safetensors")
    assert not os.listdir(tmp_path)


def test_save_creates_no_folder(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        model.save(tmp_path / "missing" / "model.safetensors")
    assert not os.listdir(tmp_path)


def test_a_failed_save_leaves_the_old_file(model, path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        model.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_set_parameters_lists_every_problem_and_changes_nothing(model):
    before = model.parameters()
    bad = dict(before)
    del bad["encoder.norm.weight"]
    bad["surprise"] = np.zeros(1)
    bad["query.classifier.bias"] = np.zeros(2)
    bad["encoder.norm.bias"] = np.full(64, np.inf)
    with pytest.raises(ValueError) as caught:
        model.set_parameters(bad)
    for words in ("missing encoder.norm.weight", "unexpected surprise", "query.classifier.bias has shape (2,)",
                  "encoder.norm.bias holds values that are not finite"):
        assert words in str(caught.value)
    assert all(np.array_equal(before[name], array) for name, array in model.parameters().items())
    with pytest.raises(TypeError, match="mapping"):
        model.set_parameters([1])


def test_parameters_are_copies(model):
    model.parameters()["encoder.norm.weight"][:] = 7
    assert (model.parameters()["encoder.norm.weight"] != 7).all()


def test_a_run_of_another_configuration_or_store_is_refused(tmp_path):
    store = make_store(tmp_path / "store", count=12)
    kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", max_steps=1, progress=False)
    with pytest.raises(ValueError, match="lr is 0.001 there, 0.002 here"):
        kmerl.KMERL(**{**TINY, "lr": 2e-3}).fit(store, out=tmp_path / "run", progress=False)
    other = make_store(tmp_path / "other", count=13)
    with pytest.raises(ValueError, match="another store"):
        kmerl.KMERL(**TINY).fit(other, out=tmp_path / "run", progress=False)
    assert Checkpoint.read(tmp_path / "run" / "last.safetensors").training["step"] == 1


def test_running_statistics_are_listed_apart(model):
    statistics = model.statistics()
    assert set(statistics) == {f"ecg_projector.norm{i}.running_{kind}" for i in (1, 2) for kind in ("mean", "var")}
    assert not set(statistics) & set(model.parameters())
    assert (statistics["ecg_projector.norm1.running_mean"] != 0).any()      # training moved them
    bad = {**statistics, "ecg_projector.norm1.running_var": -np.ones(32)}
    with pytest.raises(ValueError, match="negative variances"):
        model.set_statistics(bad)
    assert model.set_statistics(statistics) is model
    assert not kmerl.KMERL(projection_norm="none").initialize(text_dim=8).statistics()


def test_half_precision(model, path, tmp_path):
    """Every number is rounded to the nearest float16, and loaded as the float32 that this is."""
    half = tmp_path / "half.safetensors"
    model.save(half, dtype="float16")
    assert half.stat().st_size - len(safetensors.read(half)[1]["vocabulary"]) < 0.6 * path.stat().st_size
    assert {array.dtype for array in safetensors.read(half)[0].values()} == {np.dtype(np.float16)}
    again = kmerl.load_model(half)
    for name, array in {**model.parameters(), **model.statistics()}.items():
        loaded = {**again.parameters(), **again.statistics()}[name]
        assert loaded.dtype == array.dtype and np.array_equal(loaded, array.astype(np.float16)), name
    records, asked = kmerl.sample_records("heldout")[:8], ["atrial fibrillation", "normal ecg", "st depression"]
    for method in ("query", "cosine"):
        a, b = (m.predict_proba(records, asked, method=method) for m in (model, again))
        np.testing.assert_allclose(a, b, atol=2e-3)
    kmerl.load_model(half).save(tmp_path / "twice.safetensors", dtype="float16")    # nothing is lost the second time
    assert (tmp_path / "twice.safetensors").read_bytes() == half.read_bytes()


def test_half_precision_ties_to_even_and_refuses_what_it_cannot_hold(model, tmp_path):
    copy = kmerl.load_model(_saved(model, tmp_path / "a.safetensors"))
    parameters = copy.parameters()
    parameters["query.classifier.bias"][0] = 2049       # between 2048 and 2050
    copy.set_parameters(parameters).save(tmp_path / "b.safetensors", dtype="float16")
    assert kmerl.load_model(tmp_path / "b.safetensors").parameters()["query.classifier.bias"][0] == 2048
    parameters["query.classifier.bias"][0] = 70000
    copy.set_parameters(parameters)
    with pytest.raises(ValueError, match="query.classifier.bias holds 70000, more than float16"):
        copy.save(tmp_path / "c.safetensors", dtype="float16")
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float16', got 'int8'"):
        copy.save(tmp_path / "c.safetensors", dtype="int8")
    assert not (tmp_path / "c.safetensors").exists()


def test_without_contrast_no_vectors_for_it(tmp_path):
    model = kmerl.KMERL(**TINY, contrast_weight=0.0).fit(make_store(tmp_path / "store", count=12), max_steps=1,
                                                         progress=False)
    path = _saved(model, tmp_path / "model.safetensors")
    assert "names.contrast" not in safetensors.read(path)[0]
    again, record = kmerl.load_model(path), kmerl.sample_records()[0]
    assert np.array_equal(model.predict_proba(record, ["normal ecg"]), again.predict_proba(record, ["normal ecg"]))
    with pytest.raises(ValueError, match="contrast_weight=0"):
        again.predict_proba(record, ["normal ecg"], method="cosine")


def _saved(model, path):
    model.save(path)
    return path
