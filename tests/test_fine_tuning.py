"""Fine-tuning: its gradient, its bits, its interruptions, and what it reports."""

import json
import math
import warnings

import model_cases
import numpy as np
import pytest
from small import TINY
from test_probe import CLASSES, Made

import kmerl
from kmerl import evaluate
from kmerl.classifier import Classifier
from kmerl.probe import RANDOM_SEED

ENCODERS = ("default", "merl-vit", "resnet")
K = 3


# ---- The core ----


def corpus(core, n=7, seed=0):
    """Recordings of leads I, II and V2, 250 to 1,000 samples, with labels and without texts."""
    rng = np.random.default_rng(seed)
    samples = np.array([1000, 500, 250, 750, 1000, 300, 1000][:n], np.int32)
    start = 3 * np.concatenate([[0], np.cumsum(samples)])
    labels = rng.integers(0, 2, (n, K)).astype(np.uint8)
    return core.Corpus({
        "shards": [rng.integers(-900, 900, start[-1]).astype(np.int16)],
        "shard": np.zeros(n, np.int32),
        "start": start[:-1].astype(np.int64),
        "leads": np.full(n, 0b10000011, np.uint16),
        "samples": samples,
        "report": np.arange(n, dtype=np.int32),
        "labels": labels,
        "embeddings": np.zeros((n, 0), core.build_info()["real"]),
        "entities": np.zeros((K, 0), core.build_info()["real"]),
    }), labels  # fmt: skip


def settings(option="default", **changes):
    masks = dict(masked_leads=(1.0,) + (0.0,) * 11, segment_masking=2)
    return model_cases.configuration(**{**model_cases.OPTIONS[option], **masks, "epochs": 3, "batch_size": 7, **changes})


def trained(core, config, parameters=None, head=None, steps=1, threads=1, indices=range(7)):
    """(trainer, model, events) after so many steps."""
    model = core.Model(config)
    if parameters is not None:
        model.set_parameters(parameters)
    trainer = core.Trainer(model, corpus(core)[0], np.array(indices, np.int64), np.zeros(0, np.int64), threads, K)
    if head is not None:
        trainer.set_head(*head)
    events = []
    trainer.run(steps, events.append)
    return trainer, model, events


@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradient_against_finite_differences(core64, encoder):
    """Along a random direction of all parameters, the head's among them."""
    config = settings(encoder, beta1=0.0, weight_decay=0.0, lr=1e-12)
    start = model_cases.to_real(model_cases.smooth_parameters(config), "float64")
    size = K * (config["width"] + 1)
    rng = np.random.default_rng(1)
    values, nothing = rng.normal(size=size) / 4, (np.zeros(size), np.zeros(size))
    trainer, _, _ = trained(core64, config, start, (values, *nothing))
    gradients = {**trainer.state()["m"], "head": trainer.head()[1]}     # without beta1 the first moment is the gradient
    for name, gradient in gradients.items():
        assert gradient.any() == name.startswith(("encoder", "head")), name
    direction = {name: rng.normal(size=g.shape) / np.sqrt(g.size) for name, g in gradients.items()}
    losses = []
    for step in (1e-4, -1e-4):
        moved = {name: x + step * direction[name] for name, x in start.items()}
        top = values + step * direction["head"], *nothing
        losses.append(trained(core64, config, moved, top)[2][0]["loss"])
    expected = sum((gradients[name] * direction[name]).sum() for name in gradients)
    scale = np.sqrt(sum((gradients[name] ** 2).sum() * (direction[name] ** 2).mean() for name in gradients))
    assert abs((losses[0] - losses[1]) / 2e-4 - expected) < 1e-7 * scale


def test_the_loss_is_that_of_the_features(core64):
    config = settings()
    start = model_cases.to_real(model_cases.parameters(config), "float64")
    trainer, model, (event,) = trained(core64, {**config, "lr": 1e-300}, start)
    data, labels = corpus(core64)
    batch = core64.sample_batch(data, np.arange(7), config, 0, 1, 1)
    x = model.evaluate({name: batch[name] for name in ("patches", "lead", "segment", "offset")})["features"]
    w = trainer.head()[0]
    z = x @ w[: -K].reshape(K, -1).T + w[-K:]
    expected = np.mean(np.log1p(np.exp(z)) - labels * z)
    assert event["loss"] == pytest.approx(expected, rel=1e-12) and event["query"] == event["contrast"] == 0
    probe = core64.probe_fit(x, labels, x[:0], labels[:0], x[:0], labels[:0], np.zeros(1, np.uint64), 1, 7, 5, 1e-300,
                             0.9, 0.999, 1e-8, 1, lambda done: None)  # fmt: skip
    np.testing.assert_array_equal(probe[0][0].ravel(), w[:-K])          # the head starts as a probe does
    gradient = trainer.head()[1] / (1 - config["beta1"])
    dz = (1 / (1 + np.exp(-z)) - labels) / z.size
    np.testing.assert_allclose(gradient, np.concatenate([(dz.T @ x).ravel(), dz.sum(axis=0)]), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_same_bits_on_any_number_of_threads_and_after_a_stop(core, encoder):
    config = settings(encoder, batch_size=3, lr=1e-2, warmup_steps=2, masked_leads=(0.5, 0.5) + (0.0,) * 10)
    whole, model, events = trained(core, config, steps=6)
    assert [e["epoch"] for e in events] == [1, 1, 2, 2, 3, 3] and events[-1]["loss"] != events[0]["loss"]

    def bits(trainer, model):
        state = trainer.state()
        return [x.tobytes() for part in (model.parameters(), model.statistics(), state["m"], state["v"])
                for x in part.values()] + [x.tobytes() for x in trainer.head()]  # fmt: skip

    assert bits(*trained(core, config, steps=6, threads=3)[:2]) == bits(whole, model)
    half, stopped, _ = trained(core, config, steps=3)
    other = core.Model(config)
    other.set_parameters(stopped.parameters())
    other.set_statistics(stopped.statistics())
    again = core.Trainer(other, corpus(core)[0], np.arange(7), np.zeros(0, np.int64), 2, K)
    again.set_state(step=3, validated=0, m=half.state()["m"], v=half.state()["v"])
    again.set_head(*half.head())
    again.run(6, lambda event: None)
    assert bits(again, other) == bits(whole, model)


def test_clipping_looks_at_the_head_too(core64):
    config = settings(beta1=0.0, weight_decay=0.0)
    free, _, (event,) = trained(core64, config)
    gradients = [*free.state()["m"].values(), free.head()[1]]
    assert event["gradient_norm"] == pytest.approx(math.sqrt(sum((g**2).sum() for g in gradients)))
    clipped, _, _ = trained(core64, {**config, "clip": event["gradient_norm"] / 4})
    for a, b in zip(gradients, [*clipped.state()["m"].values(), clipped.head()[1]], strict=True):
        np.testing.assert_allclose(b, a / 4, rtol=1e-9, atol=1e-18)


def test_the_core_refuses(core):
    model = core.Model(settings())
    nothing = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match="classes is -1, expected at least 1"):
        core.Trainer(model, corpus(core)[0], np.arange(7), nothing, 1, -1)
    with pytest.raises(ValueError, match="expected no recording to validate on, got 2"):
        core.Trainer(model, corpus(core)[0], np.arange(5), np.arange(5, 7), 1, K)
    with pytest.raises(ValueError, match="the batch has 7 recordings and 3 labels of each, expected .* 4 labels"):
        core.Trainer(model, corpus(core)[0], np.arange(7), nothing, 1, 4).run(1, print)
    trainer = core.Trainer(model, corpus(core)[0], np.arange(7), nothing, 1, K)
    with pytest.raises(ValueError, match="w has length 5"):
        trainer.set_head(*[np.zeros(5, np.float32)] * 3)
    assert [x.size for x in core.Trainer(model, corpus(core)[0], np.arange(7), nothing).head()] == [0, 0, 0]


# ---- fine_tune ----


class Beats(Made):
    """Class 0: V1 is larger than the other leads; class 1: slow waves; class 2: chance."""

    def __getitem__(self, index):
        record = super().__getitem__(index)
        large, slow, _ = self.labels[index]
        rng = np.random.default_rng(index)
        t = np.arange(500) / 500
        wave = np.sin(2 * np.pi * (3 if slow else 11) * (t + rng.random())) + rng.normal(size=(len(record.leads), 500)) / 5
        wave *= np.where(np.array(record.leads) == "V1", 4 if large else 1, 1)[:, None]
        return kmerl.Record(wave.astype(np.float32) / 4, 500, record.leads, name=record.name)


def tune(dataset=None, model=None, **options):
    model = model or kmerl.KMERL(**TINY).initialize(8)
    options = {"epochs": 4, "lr": 3e-3, "resamples": 50, "progress": False, **options}
    return evaluate.fine_tune(model, Beats() if dataset is None else dataset, **options)


def test_report():
    model = kmerl.KMERL(**TINY).initialize(8)
    before = {name: array.copy() for name, array in model.parameters().items()}
    report = tune(Beats(train=160), model, epochs=12, lr=1e-2)
    assert all(np.array_equal(array, before[name]) for name, array in model.parameters().items())
    found = report.metrics["roc_auc"]["per_class"]
    assert found[CLASSES[0]] > 0.9 and found[CLASSES[1]] > 0.9 and found[CLASSES[2]] < 0.75
    assert report.evaluation == "fine_tune" and report.trained == {"recordings": 160, "patients": 80}
    assert report.random.evaluation == "linear_probe" and report.random.settings["encoder's seed"] == RANDOM_SEED
    probe = evaluate.linear_probe(model, Beats(train=160), resamples=50, progress=False)
    np.testing.assert_array_equal(report.random.scores, probe.random.scores)
    assert report.table().startswith("Fine-tuning: made, test, 12 leads") and "random encoder" in report.table()
    assert json.loads(report.to_json())["settings"]["epochs"] == 12
    one, two = (tune(model=model, epochs=2, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.scores, two.scores)


def test_seeds_leads_and_options():
    report = tune(seeds=2, leads=["V1", "II"], epochs=2, masked_leads=(0, 1), segment_masking="lead", clip=1.0)
    assert report.seeds["seeds"] == [0, 1] and report.leads == ["V1", "II"] and report.settings["masked leads"] == "(0, 1)"
    alone = tune(seed=0, seeds=[1], leads=["V1", "II"], epochs=2, masked_leads=(0, 1), segment_masking="lead", clip=1.0)
    assert report.seeds["metrics"]["roc_auc"]["values"][1] == alone.metrics["roc_auc"]["macro"]


@pytest.mark.parametrize("preset, options", [(None, TINY), ("merl-resnet", {"projection_width": 64})])
def test_what_was_trained_is_kept(tmp_path, preset, options):
    """Answers as scored (there the signals had 1 uV steps), the same from a file, whose encoder load_model reads."""
    dataset, path = Beats(train=16), tmp_path / "tuned.safetensors"
    model = kmerl.KMERL(preset, **options).initialize(8)
    report = tune(dataset, model, epochs=1, leads=3)
    classifier = report.classifier
    records = [dataset[i] for i in dataset.split["test"]]
    cut = [kmerl.Record(r.signal[[r.leads.index(name) for name in report.leads]], r.fs, report.leads) for r in records]
    answers = classifier.predict_proba(cut)
    np.testing.assert_allclose(answers, report.scores, atol=2e-3)
    assert np.array_equal(classifier.predict_proba(cut[0]), answers[0])
    assert not np.array_equal(classifier.encoder.encode(cut), model.encode(cut))
    classifier.save(path)
    again = Classifier.load(path)
    assert (again.classes, again.leads) == (list(CLASSES), ["I", "II", "III"])
    assert np.array_equal(again.predict_proba(cut), answers)
    assert np.array_equal(kmerl.load_model(path).encode(cut), classifier.encoder.encode(cut))
    model.save(path)
    with pytest.raises(ValueError, match="without a head"):
        Classifier.load(path)


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def whole():
    return tune()


@pytest.mark.parametrize("at", [2, 3, 7])
def test_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, whole, at):
    steps = []

    def stopping(self, count, **numbers):
        steps.extend([1] * count)
        if self.what.startswith("fine-tune") and len(steps) == at:
            raise Stop

    from kmerl import fine_tuning

    class Bar:
        def __init__(self, total, what, unit, show=True, initial=0):
            self.what = what

        __enter__, __exit__, update = lambda self: self, lambda self, *_: None, stopping

    monkeypatch.setattr(fine_tuning, "Progress", Bar)
    with pytest.raises(Stop):
        tune(out=tmp_path / "run")
    report = tune(out=tmp_path / "run")
    assert len(steps) == 4 * 3      # no step twice: 60 recordings in batches of 16
    assert report.to_json() == whole.to_json()
    np.testing.assert_array_equal(report.scores, whole.scores)
    assert tune(out=tmp_path / "run").to_json() == whole.to_json() and len(steps) == 12
    for options in ({"lr": 1e-3}, {"epochs": 5}):
        with pytest.raises(ValueError, match="seed-0.safetensors holds a training of other settings"):
            tune(out=tmp_path / "run", **options)
    with pytest.raises(ValueError, match="holds a training of another model, data set or set of leads"):
        tune(out=tmp_path / "run", leads=3)


def change(about, tensors, name, value):
    about[name] = value


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda about, tensors: about.clear(), "is no state of a fine-tuning"),
        (lambda about, tensors: change(about, tensors, "step", 10**6), "it is at step 1000000 after 1 of 1 epochs"),
        (lambda about, tensors: change(about, tensors, "step", 1), "it is at step 1 after 1 of 1 epochs of 3 steps"),
        (lambda about, tensors: change(about, tensors, "step", True), "it is at step True"),
        (lambda about, tensors: change(about, tensors, "scores", [2.5]), "its scores are not numbers from 0 to 1"),
        (lambda about, tensors: change(about, tensors, "scores", [0.5] * 9), "it is at step 3 after 9 of 1 epochs"),
        (lambda about, tensors: change(about, tensors, "epoch", None), "its best epoch is None of 1"),
        (lambda about, tensors: change(about, tensors, "epoch", 2), "its best epoch is 2 of 1"),
        (lambda about, tensors: change(about, tensors, "config", "{}"), "its configuration: the configuration lacks"),
        (lambda about, tensors: change(about, tensors, "config", 7), "its configuration: "),
        (lambda about, tensors: tensors.pop("best.head/w"), "'best.head/w' is missing"),
        (lambda about, tensors: tensors.pop("m/ecg_projector.fc1.bias"), "'m/ecg_projector.fc1.bias' is missing"),
        (lambda about, tensors: change(tensors, about, "w", np.zeros(3)), "'w' is not of this training"),
        (lambda about, tensors: change(tensors, about, "head/w", np.zeros(3, np.float32)), r"head/w is float32 \(3,\)"),
        (lambda about, tensors: change(tensors, about, "best.head/w", np.full_like(tensors["best.head/w"], np.nan)),
         "best.head/w has NaN"),
    ],
)
def test_a_damaged_state_is_told(tmp_path, damage, words):
    path = tmp_path / "run" / "seed-0.safetensors"
    tune(out=tmp_path / "run", epochs=1)
    tensors, metadata = kmerl.safetensors.read(path)
    tensors, about = dict(tensors), json.loads(metadata["kmerl"])
    damage(about, tensors)
    kmerl.safetensors.write(path, tensors, {"kmerl": json.dumps(about)})
    with pytest.raises(ValueError, match=f"seed-0.safetensors (is damaged: )?{words}"):
        tune(out=tmp_path / "run", epochs=1)


def test_a_state_from_before_an_option_goes_on(tmp_path):
    path = tmp_path / "run" / "seed-0.safetensors"
    report = tune(out=tmp_path / "run", epochs=1)
    tensors, metadata = kmerl.safetensors.read(path)
    about = json.loads(metadata["kmerl"])
    config = json.loads(about["config"])
    del config["lead_pooling"]
    kmerl.safetensors.write(path, dict(tensors), {"kmerl": json.dumps({**about, "config": json.dumps(config)})})
    assert tune(out=tmp_path / "run", epochs=1).to_json() == report.to_json()


def test_what_cannot_be_used():
    dataset = Beats(broken=(0,), short=(100,))
    with pytest.warns(UserWarning, match="2 recordings could not be used"):
        report = tune(dataset, leads=1, epochs=1)
    assert [name for name, _ in report.skipped] == ["r0", "r100"] and report.trained["recordings"] == 59
    labels = Beats().labels.copy()
    labels[:60, 0] = 1
    labels[60:90] = 0
    with pytest.warns(UserWarning, match="cannot be learned"):
        report = tune(Beats(labels=labels), epochs=2)
    assert report.settings["epoch chosen on validation"] == 2 and "f1" in report.metrics
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = tune(Beats(validation=0, patients=["p"] * 100), epochs=1)
    assert "f1" not in report.metrics and math.isnan(report.metrics["roc_auc"]["low"])


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"lr": -1}, ValueError, "lr is -1"),
        ({"epochs": 0}, ValueError, "epochs is 0"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"fraction": 2}, ValueError, "fraction is 2"),
        ({"depth": 3}, TypeError, "fine_tune has no option 'depth'"),
        ({"clip": -1.0}, ValueError, "clip"),
        ({"masked_leads": 12}, ValueError, "masked_leads"),
        ({"out": "/nowhere/at/all"}, FileNotFoundError, "out: the folder '/nowhere/at' does not exist"),
        ({"model": object()}, TypeError, "model is object, expected a kmerl.KMERL"),
        ({"model": kmerl.KMERL()}, RuntimeError, "no parameters yet"),
        ({"dataset": []}, TypeError, "dataset is list"),
    ],
)
def test_bad_arguments(options, error, words):
    with pytest.raises(error, match=words):
        tune(**options)
