"""Runs that meet trouble: recordings that cannot be used, numbers that go wrong, refusals, copies, other options."""

import copy
import json
import os
import pickle
import re
import warnings

import numpy as np
import pytest
from small import TINY, make_store

import kmerl
from kmerl import _kmerl
from kmerl.config import PRESETS


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("runs") / "store", count=16)


@pytest.fixture(scope="module")
def odd_store(tmp_path_factory):
    """Two of its recordings are flat in their first 10 s, which is what training takes of them."""
    records = kmerl.sample_records()[:12]
    for i in (1, 3):
        r = records[i]
        flat = np.concatenate([np.zeros_like(r.signal), r.signal], axis=1)
        records[i] = kmerl.Record(flat, r.fs, r.leads, name=r.name, report=r.report, patient=r.patient)
    return make_store(tmp_path_factory.mktemp("odd") / "store", records=records, seconds=None)


def lines(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_recordings_that_cannot_be_used_are_left_out_and_counted(odd_store, tmp_path):
    model = kmerl.KMERL(**{**TINY, "epochs": 2}).fit(odd_store, out=tmp_path / "run", progress=False)
    skipped = sum(line["skipped"] for line in lines(tmp_path / "run"))
    assert skipped > 0 and all(np.isfinite(line["loss"]) for line in lines(tmp_path / "run") if "loss" in line)
    assert np.isfinite(model.predict_proba(odd_store[0], "sinus rhythm")).all()
    with pytest.raises(ValueError, match="recording 1 has no lead left"):
        kmerl.sample_batch(odd_store, [0, 1])


def test_a_step_without_any_usable_recording_is_an_error(odd_store):
    with pytest.raises(ValueError, match="none of"):
        kmerl.KMERL(**{**TINY, "seconds": 0.2, "segment_samples": 100, "max_missing": 0.0, "batch_size": 1}).fit(
            odd_store, progress=False)


def test_repairs_and_drops_are_in_the_log(tmp_path):
    records = kmerl.sample_records()[:8]
    for r in records:
        r.signal[:, 10:20] = np.nan
        r.signal[4, ::2] = np.nan
    store = make_store(tmp_path / "store", records=records)
    config = {**TINY, "masked_leads": (0,), "epochs": 1, "batch_size": 4}
    kmerl.KMERL(**config).fit(store, out=tmp_path / "run", progress=False)
    steps = [line for line in lines(tmp_path / "run") if "loss" in line]
    assert all(line["repaired"] == 4 * 11 * 10 and line["dropped"] == 4 for line in steps)


def test_a_gradient_that_is_not_finite_stops_before_the_update(store, tmp_path):
    config = {**TINY, "lr": 1e3, "epochs": 50}
    model = kmerl.KMERL(**config)
    with pytest.raises(RuntimeError, match="not finite"):
        model.fit(store, out=tmp_path / "run", progress=False)
    assert all(np.isfinite(array).all() for array in model.parameters().values())
    assert all(np.isfinite(array).all() for array in model.statistics().values())
    kmerl.load_model(tmp_path / "run" / "last.safetensors")
    text = (tmp_path / "run" / "log.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text
    with pytest.raises(RuntimeError, match="not finite"):       # going on meets the same step
        kmerl.KMERL(**config).fit(store, out=tmp_path / "run", progress=False)


@pytest.fixture
def spoilt(store, monkeypatch):
    """The store with one report's embedding not a number, as a damaged file or an encoder's fault would leave it; and
    the numbers of the recordings that have it."""
    report = store._index["report"][store.split["train"][0]]
    sound = kmerl.Store.corpus

    def corpus(self):
        arrays = sound(self)
        arrays["embeddings"] = np.array(arrays["embeddings"])
        arrays["embeddings"][report, 3] = np.nan
        return arrays

    monkeypatch.setattr(kmerl.Store, "corpus", corpus)
    return kmerl.Store.open(store.path), set(np.flatnonzero(store._index["report"] == report))


def test_nonfinite_stop_names_step_tensor_and_recordings(spoilt, tmp_path):
    store, bad = spoilt
    with pytest.raises(RuntimeError, match=r"the loss \(contrast\) is -?nan") as caught:
        kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", progress=False)
    step = int(re.search(r"step (\d+): ", str(caught.value))[1])
    named = re.search(r"of recordings ([\d, ]+);", str(caught.value))[1]
    assert bad & set(map(int, named.split(", ")))
    last = kmerl.load_model(tmp_path / "run" / "last.safetensors")
    assert last._training["step"] == step - 1 and last.nonfinite_steps_ == 0


def test_nonfinite_skip_is_counted_and_resumed_to_the_same_bits(spoilt, tmp_path):
    store, bad = spoilt
    with pytest.warns(RuntimeWarning, match="steps were no update"):
        whole = kmerl.KMERL(**TINY).fit(store, out=tmp_path / "whole", nonfinite="skip", progress=False)
    skipped = [line for line in lines(tmp_path / "whole") if "nonfinite" in line]
    steps = [line for line in lines(tmp_path / "whole") if "val_loss" not in line]
    assert 0 < len(skipped) == whole.nonfinite_steps_ < len(steps)
    assert all(bad & set(line["recordings"]) and line["loss"] is None and "contrast" in line["nonfinite"]
               for line in skipped)
    assert all(np.isfinite(array).all() for array in whole.parameters().values())

    with pytest.raises(RuntimeError, match="not finite"):       # the way of one who meets it, and goes on
        kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", progress=False)
    for stop in (3, 4, None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            model = kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", max_steps=stop, nonfinite="skip",
                                            progress=False)
    assert model.nonfinite_steps_ == whole.nonfinite_steps_
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_gradient_without_bounds_stops_or_is_skipped_though_the_loss_is_finite(store, tmp_path):
    # Tiny projections, whose direction is all that counts: what would turn them is beyond any number to train with.
    options = {**TINY, "contrast_weight": 1e6, "temperature": 1e-4, "weight_std": 1e-6, "projection_norm": "none"}
    first = kmerl.KMERL(**options).initialize(store.embeddings.width).parameters()
    with pytest.raises(RuntimeError, match=r"step 1: .* the gradient of \S+ has norm .* of recordings [\d, ]+;") as caught:
        kmerl.KMERL(**options).fit(store, out=tmp_path / "stop", progress=False)
    assert np.isfinite(float(re.search(r"contrast ([^,]+), ", str(caught.value))[1]))
    with pytest.warns(RuntimeWarning, match="steps were no update"):
        model = kmerl.KMERL(**options).fit(store, out=tmp_path / "skip", nonfinite="skip", progress=False)
    entries = [line for line in lines(tmp_path / "skip") if "val_loss" not in line]
    assert len(entries) == model.nonfinite_steps_ > 0
    assert all("the gradient of" in line["nonfinite"] and line["recordings"] for line in entries)
    for found in (model, kmerl.load_model(tmp_path / "stop" / "last.safetensors")):
        assert all(np.array_equal(first[name], array) for name, array in found.parameters().items())


def test_nonfinite_takes_two_words(store):
    with pytest.raises(ValueError, match="nonfinite must be 'stop' or 'skip', got 'ignore'"):
        kmerl.KMERL(**TINY).fit(store, nonfinite="ignore", progress=False)


def test_a_refused_fit_leaves_the_model_as_it_was(store, tmp_path):
    model = kmerl.KMERL(**TINY).fit(store, max_steps=2, progress=False)
    before = model.parameters()
    (tmp_path / "file").write_text("")
    for out, error in ((tmp_path / "no" / "where", FileNotFoundError), (tmp_path / "file", NotADirectoryError),
                       ("", ValueError), (store.path, ValueError), (7, ValueError)):
        with pytest.raises(error, match="out"):
            model.fit(store, out=out, progress=False)
    with pytest.raises(ValueError, match="fs is 250 Hz"):
        model.set_params(fs=250.0).fit(store, progress=False)
    assert all(np.array_equal(before[name], array) for name, array in model.parameters().items())
    assert model.predict_proba(store[0], "sinus rhythm").shape == (1,)


def test_sample_batch_refuses_another_rate(store):
    with pytest.raises(ValueError, match="fs is 250 Hz"):
        kmerl.sample_batch(store, [0], config=kmerl.Config(fs=250.0))


@pytest.mark.parametrize("line", ['{"a":' * 50_000, '{"step": ' + "9" * 6000 + "}", "[1]", "{"])
def test_lines_of_a_log_that_are_none_are_left_out(store, tmp_path, line):
    kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", max_steps=2, progress=False)
    log = tmp_path / "run" / "log.jsonl"
    before = log.read_text()
    log.write_text(before + line + "\n")
    kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", max_steps=3, progress=False)
    assert log.read_text().startswith(before) and line not in log.read_text().splitlines()


def test_a_run_without_its_last_checkpoint_is_refused(store, tmp_path):
    kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", max_steps=3, progress=False)
    before = (tmp_path / "run" / "log.jsonl").read_bytes()
    (tmp_path / "run" / "last.safetensors").unlink()
    with pytest.raises(ValueError, match="no last.safetensors"):
        kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == before


def test_without_validation_best_is_the_last(tmp_path):
    store = make_store(tmp_path / "store", count=10, validation=0)
    for stops, name in (((1, 3, None), "a"), ((None,), "b")):
        for stop in stops:
            kmerl.KMERL(**TINY).fit(store, out=tmp_path / name, max_steps=stop, progress=False)
    assert (tmp_path / "a" / "best.safetensors").read_bytes() == (tmp_path / "b" / "best.safetensors").read_bytes()


OPTIONS = {
    "random window, dropout": dict(window="random", dropout=0.2),
    "learnt temperature": dict(learn_temperature=True, mask_duplicates=True, clip=0.5, warmup_steps=3, decay="matrices"),
    "layer norm, isolated": dict(projection_norm="layer", isolate_queries=True, dropout=0.1),
    "decoupled": dict(projection_norm="none", contrast_positive=False, query_reduction="sum"),
    "agnostic": dict(tokenisation="agnostic", temporal_embedding=False),
    "at once": dict(segment_masking="at once", normalisation="minmax", normalisation_scope="present"),
    "contrast alone": dict(query_weight=0.0, contrast_directions="e2t"),
    "MERL ViT": dict(PRESETS["merl-vit"], report_pooling="mean"),
    "MERL ResNet-18": dict(PRESETS["merl-resnet"], report_pooling="mean", projection_width=64, seconds=1.0, lr=1e-4),
    "query alone": dict(contrast_weight=0.0, normalisation="lead", segment_masking="none"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_resuming_is_the_uninterrupted_run(store, tmp_path, options):
    config = {**TINY, **options, "epochs": 2, "batch_size": 6}
    if config.get("encoder") == "resnet18":
        config.update(dict.fromkeys(("size", "width", "depth", "heads", "mlp_width")))
    whole = kmerl.KMERL(**config, threads=1).fit(store, out=tmp_path / "whole", progress=False)
    for stop in (1, 2, 3, None):
        parts = kmerl.KMERL(**config, threads=2).fit(store, out=tmp_path / "parts", max_steps=stop, progress=False)
    for name, array in whole.parameters().items():
        assert np.array_equal(array, parts.parameters()[name]), name
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()

    def numbers(out):
        return [{k: v for k, v in line.items() if k != "samples_per_s"} for line in lines(out)]

    assert numbers(tmp_path / "whole") == numbers(tmp_path / "parts")


def test_copies_stand_alone(store):
    model = kmerl.KMERL(**TINY).fit(store, max_steps=1, progress=False)
    p = model.predict_proba(store[0], "sinus rhythm")
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other.predict_proba(store[0], "sinus rhythm"), p)
        assert other.get_params() == model.get_params() and other.history_ == model.history_
        other.set_parameters({name: array * 0 for name, array in other.parameters().items()})
        assert not np.array_equal(other.predict_proba(store[0], "sinus rhythm"), p)
    assert np.array_equal(model.predict_proba(store[0], "sinus rhythm"), p)
    assert copy.copy(kmerl.KMERL(epochs=3)).epochs == 3


def test_a_preset_can_be_set_later():
    model = kmerl.KMERL().set_params(preset="paper")
    assert (model.normalisation, model.normalisation_scope, model.dropout) == ("minmax", "present", 0.1)
    model.set_params(dropout=0.3, preset=None)
    assert (model.normalisation, model.dropout) == ("zscore", 0.3)
    assert kmerl.KMERL().set_params(preset="paper", dropout=0.0).dropout == 0
    with pytest.raises(ValueError, match="preset"):
        model.set_params(preset="papers")


def test_a_loaded_model_can_take_another_size(store, tmp_path):
    kmerl.KMERL(size="tiny").initialize(text_dim=8).save(tmp_path / "m.safetensors")
    model = kmerl.load_model(tmp_path / "m.safetensors")
    assert model.set_params(size="small", text_width=None).initialize(text_dim=8).config_.width == 384


def test_mask_duplicates_needs_to_know_them(store):
    model = kmerl.KMERL(**TINY, mask_duplicates=True).initialize(text_dim=24)
    batch = kmerl.sample_batch(store, range(6), config=model.config_)
    model.loss_and_gradients(batch)
    batch.report_id = None
    with pytest.raises(ValueError, match="report_id"):
        model.loss_and_gradients(batch)


def test_a_loop_of_ones_own_can_repeat_the_dropout_of_fit(store):
    config = {**TINY, "dropout": 0.3, "batch_size": 100, "epochs": 1}
    fitted = kmerl.KMERL(**config).fit(store, max_steps=1, progress=False)
    model = kmerl.KMERL(**config).initialize(text_dim=24)
    order = np.asarray(store.split["train"])
    batch = kmerl.sample_batch(store, order, seed=1, epoch=1, config=model.config_)
    assert np.array_equal(batch.recording, order)
    loss = model.loss_and_gradients(batch, step=0)[0]["query"]
    assert abs(loss - fitted.history_[0]["query"]) < 1e-6
    batch.recording = None
    assert abs(model.loss_and_gradients(batch, step=0)[0]["query"] - loss) > 1e-6


@pytest.mark.parametrize("step", [-1, 2**32, 1.5, True])
def test_steps_are_whole_numbers(store, step):
    model = kmerl.KMERL(**TINY).initialize(text_dim=24)
    with pytest.raises((TypeError, ValueError), match="step"):
        model.loss_and_gradients(kmerl.sample_batch(store, [0, 1], config=model.config_), step=step)


def test_unordered_names_are_refused(store):
    model = kmerl.KMERL(**TINY).fit(store, max_steps=1, progress=False)
    x = store[0].signal[:2]
    with pytest.raises(TypeError, match="order"):
        kmerl.Record(x, 500, {"I", "II"})
    with pytest.raises(TypeError, match="order"):
        model.predict_proba(store[0], {"sinus rhythm", "atrial fibrillation"})


def test_a_record_changed_by_hand_is_checked_or_converted(store):
    model = kmerl.KMERL(**TINY).fit(store, max_steps=1, progress=False)
    r = store[0]
    r.signal = r.signal.astype(np.float64)[:, ::1] * 1.0
    assert model.predict_proba(r, "sinus rhythm").shape == (1,)
    r.signal = r.signal[:3]
    with pytest.raises(ValueError, match="signal must be real numbers"):
        model.predict_proba(r, "sinus rhythm")


def test_masked_samples_are_missing():
    y = np.ones((1, 500)) * np.arange(500)
    record = kmerl.Record(np.ma.array(y, mask=y % 7 == 0), 500, ["I"])
    assert np.isnan(record.signal).sum() == 72


def test_kept_segments_are_exact():
    assert [int(_kmerl.mask_segments(50, ratio, 0, 0, 0, 0).sum()) for ratio in (0.25, 0.5, 0.75, 0.8, 0.9)] \
        == [37, 25, 12, 10, 5]


def test_what_a_stopped_write_left_is_removed_by_the_next_run(store, tmp_path):
    out = tmp_path / "run"
    kmerl.KMERL(**TINY).fit(store, out=out, max_steps=1, progress=False)
    left = [out / ".last.safetensors.17.0a1b2c3d.tmp", out / ".best.safetensors.17.0a1b2c3d.tmp"]
    other = out / ".mine.tmp"
    for path in (*left, other):
        path.write_bytes(b"half")
    kmerl.KMERL(**TINY).fit(store, out=out, max_steps=2, progress=False)
    assert other.exists() and not any(path.exists() for path in left)


def test_the_log_is_synced_before_a_checkpoint(store, tmp_path, monkeypatch):
    """Else a machine that stops could leave a checkpoint that is ahead of its log."""
    done, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(f"to {b}"), replace(a, b)))
    kmerl.KMERL(**TINY).fit(store, out=tmp_path / "run", max_steps=2, progress=False)
    log, last = str(tmp_path / "run" / "log.jsonl"), f"to {tmp_path / 'run' / 'last.safetensors'}"
    saved = [i for i, name in enumerate(done) if name == last]
    assert len(saved) >= 2 and log in done[saved[0] : saved[-1]]
