"""The baselines of SPEC 10, MERL with its ViT and with ResNet-18, as a user meets them: from a store to answers."""

import numpy as np
import pytest
from small import HashEncoder, make_store

import kmerl
from kmerl.batch import sample_windows
from kmerl.info import describe

SHORT = dict(seconds=2.0, batch_size=8, epochs=2, lr=1e-3, seed=1, projection_width=64)
BASELINES = {
    "merl-vit": dict(size="custom", width=64, depth=2, heads=1, mlp_width=96, **SHORT),
    "merl-resnet": SHORT,
}
WIDTH = {"merl-vit": 64, "merl-resnet": 512}
CLASSES = ["sinus rhythm", "atrial fibrillation"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = make_store(tmp_path_factory.mktemp("baselines") / "store", count=24)
    store.embed(HashEncoder(), report_pooling="pooler", progress=False)
    return store


@pytest.fixture(scope="module", params=BASELINES)
def trained(request, store, tmp_path_factory):
    """The preset's name, a trained model and its run's folder."""
    out = tmp_path_factory.mktemp(request.param) / "run"
    model = kmerl.KMERL(request.param, **BASELINES[request.param]).fit(store, out=out, progress=False)
    return request.param, model, out


@pytest.fixture(scope="module")
def records():
    return kmerl.sample_records()[:3]


def test_presets_are_the_specification():
    for preset in BASELINES:
        c = kmerl.KMERL(preset).initialize(text_dim=8).config_
        assert (c.tokenisation, c.segment_samples, c.masked_leads, c.segment_masking) == ("agnostic", 50, (0,), "none")
        assert (c.report_pooling, c.unimodal_weight, c.unimodal_dropout, c.query_weight) == ("pooler", 1, 0.1, 0)
        assert (c.normalisation, c.normalisation_scope, c.projection_width) == ("minmax", "present", 256)
    shapes = {name: x.shape for name, x in kmerl.KMERL("merl-vit").initialize(text_dim=8).parameters().items()}
    assert shapes["encoder.tokens.weight"] == (192, 600) and shapes["encoder.tokens.bias"] == (192,)
    assert shapes["encoder.tokens.temporal"] == (100, 192) and shapes["unimodal.linear1.weight"] == (256, 192)
    shapes = {name: x.shape for name, x in kmerl.KMERL("merl-resnet").initialize(text_dim=8).parameters().items()}
    assert shapes["ecg_projector.pool.positions"] == (313, 256) and shapes["ecg_projector.down.weight"] == (256, 512)
    assert not any(name.startswith("query.") for name in shapes)


def test_number_of_parameters_of_the_trunk():
    """ResNet-18's 3.9 million along time: those of the usual layout with kernels of 3 and 12 leads."""
    parameters = kmerl.KMERL("merl-resnet").initialize(text_dim=8).parameters()
    count = sum(x.size for name, x in parameters.items() if name.startswith("encoder."))
    width, expected = 64, 7 * 12 * 64 + 2 * 64
    for block in range(8):
        wider = 64 << block // 2
        expected += 3 * width * wider + 3 * wider * wider + 4 * wider
        expected += width * wider + 2 * wider if wider > width else 0
        width = wider
    assert count == expected and 3.8e6 < count < 3.9e6


def test_convolutions_start_uniform_within_their_fan_in():
    parameters = kmerl.KMERL("merl-resnet").initialize(text_dim=8).parameters()
    for name in ("encoder.stem.weight", "encoder.residual.6.conv2.weight", "encoder.residual.2.shortcut.weight"):
        x = parameters[name].astype(np.float64)
        bound = 1 / np.sqrt(x.shape[1])
        assert np.abs(x).max() <= bound and np.abs(x).max() > 0.99 * bound
        assert x.std() == pytest.approx(bound / np.sqrt(3), rel=0.02) and abs(x.mean()) < 0.02 * bound


def test_the_losses_fall_and_are_on_record(trained):
    _, model, _ = trained
    steps = [line for line in model.history_ if "loss" in line]
    assert all(line["query"] == 0 and line["unimodal"] > 0 for line in steps)
    assert all(line["loss"] == pytest.approx(line["contrast"] + line["unimodal"]) for line in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]
    validations = [line for line in model.history_ if "val_loss" in line]
    assert all(line["val_loss"] == pytest.approx(line["val_contrast"] + line["val_unimodal"]) for line in validations)


def test_answers_by_cosine(trained, records):
    _, model, _ = trained
    answers = model.predict_proba(records, CLASSES)
    assert answers.shape == (3, 2) and np.array_equal(answers, model.predict_proba(records, CLASSES, method="cosine"))
    for i, record in enumerate(records):        # to the last bit whatever else is asked
        assert np.array_equal(model.predict_proba(record, CLASSES), answers[i])
    assert not np.array_equal(answers[0], answers[1])
    for method in ("query", "both"):
        with pytest.raises(ValueError, match="query_weight=0"):
            model.predict_proba(records, CLASSES, method=method)
    with pytest.raises(ValueError, match="no query network"):
        model.attend(records[0], CLASSES)


def test_features_of_the_encoders_width(trained, records):
    preset, model, _ = trained
    features = model.encode(records)
    assert features.shape == (3, WIDTH[preset]) and features.dtype == np.float32 and np.isfinite(features).all()
    assert all(np.array_equal(model.encode(record), features[i]) for i, record in enumerate(records))


def test_missing_leads_are_zeros(trained, records):
    """After normalisation: min-max over the leads that are there."""
    preset, model, _ = trained
    batch, _ = sample_windows([records[0]], model.config_)
    leads = [records[0].leads.index(name) for name in ("I", "V2")]
    two = kmerl.Record(records[0].signal[leads], records[0].fs, ["I", "V2"])
    few, _ = sample_windows([two], model.config_)
    P = model.config_.segment_samples
    patches = few.patches.reshape(len(few.patches), 12, P)
    assert batch.patches.shape == few.patches.shape
    absent = [i for i in range(12) if i not in (0, 7)]
    assert (patches[:, absent] == 0).all() and patches[:, [0, 7]].min() == 0 and patches[:, [0, 7]].max() == 1
    assert model.encode(records[0], leads=["V2", "I"]).shape == (WIDTH[preset],)
    assert np.array_equal(model.encode(records[0], leads=["V2", "I"]), model.encode(two))


def test_shorter_recordings(trained, records):
    """One of whole segments: fewer tokens for the transformer, zeros behind it for ResNet-18."""
    preset, model, _ = trained
    record = records[0]
    short = kmerl.Record(record.signal[:, : int(0.7 * record.fs)], record.fs, record.leads)
    features = model.encode(short)
    assert np.isfinite(features).all() and not np.array_equal(features, model.encode(record))
    batch, rows = sample_windows([short], model.config_)
    assert rows["segments"].tolist() == [7] and len(batch.patches) == 7
    with pytest.raises(ValueError, match="shorter than one segment"):
        model.encode(kmerl.Record(record.signal[:, : int(0.05 * record.fs)], record.fs, record.leads))


def test_checkpoints(trained, records, tmp_path):
    preset, model, out = trained
    again = kmerl.load_model(out / "last.safetensors")
    assert again.config_ == model.config_ and np.array_equal(again.encode(records), model.encode(records))
    assert np.array_equal(again.predict_proba(records, CLASSES), model.predict_proba(records, CLASSES))
    model.save(tmp_path / "m.safetensors")
    lines, _ = describe(tmp_path / "m.safetensors")
    assert any(("ResNet-18, width 512" if preset == "merl-resnet" else "width 64") in line for line in lines)
    statistics = model.statistics()
    if preset == "merl-resnet":
        assert len(statistics) == 2 * 20 and all(np.isfinite(x).all() for x in statistics.values())


def test_forward_gives_no_logits(trained, store):
    preset, model, _ = trained
    batch = kmerl.sample_batch(store, range(5), config=model.config_)
    out = model.forward(batch)
    assert out.logits is None and out.features.shape == (5, WIDTH[preset]) and out.ecg.shape == out.text.shape == (5, 64)
    losses, gradients = model.loss_and_gradients(batch)
    assert losses.keys() == {"contrast", "unimodal", "query", "total"} and gradients.keys() == model.parameters().keys()
    assert all(np.isfinite(x).all() for x in gradients.values())


def test_cross_modal_contrast_alone(store):
    """SPEC 10's option: as the paper's sentence reads."""
    model = kmerl.KMERL("merl-resnet", **SHORT, unimodal_weight=0.0).fit(store, max_steps=1, progress=False)
    assert not any(name.startswith("unimodal.") for name in model.parameters())
    assert model.history_[0]["unimodal"] == 0 and model.history_[0]["loss"] == model.history_[0]["contrast"]


def test_a_store_of_other_pooling_is_refused(tmp_path):
    store = make_store(tmp_path / "store", count=10)
    with pytest.raises(ValueError, match="report_pooling='pooler'"):
        kmerl.KMERL("merl-vit").fit(store, progress=False)
