"""KMERL.fit on a simulator: the same training as on a store of the same recordings, endless and reproducible."""

import numpy as np
import pytest
from small import TINY, HashEncoder, make_store

import kmerl

COUNT = 24


def simulator(**settings):
    return kmerl.Simulator(**{"seed": 3, "epoch_size": COUNT, "validation_size": 8} | settings).embed(HashEncoder())


def losses(model, name="loss"):
    return [entry[name] for entry in model.history_ if "loss" in entry]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "run"
    return kmerl.KMERL(**TINY).fit(simulator(), out=out, progress=False), out


def test_as_on_a_store_of_the_same_recordings(tmp_path):
    """Labels, signals, masks and order of the first epoch are those of recordings 0 .. n - 1 in a store. (Without
    noise: a store forgets a lead that a loose electrode made flat, and draws the visible ones from what is left.)"""
    sim = simulator(noise=0)
    store = make_store(tmp_path / "store", records=sim[:COUNT], vocabulary=sim.shown, validation=0)
    config = TINY | {"contrast_weight": 0.0, "epochs": 1}
    a = kmerl.KMERL(**config).fit(sim, progress=False)
    b = kmerl.KMERL(**config).fit(store, progress=False)
    assert losses(a, "query") == losses(b, "query") and len(losses(a)) == 3
    for name, value in a.parameters().items():
        np.testing.assert_array_equal(value, b.parameters()[name], err_msg=name)


def test_every_epoch_is_new(whole):
    """A simulator that starts where the second epoch does gives that epoch's labels: other losses than the first's."""
    model, _ = whole
    assert len(losses(model)) == 9 and len(set(losses(model))) == 9
    seen = simulator().labels(range(3 * COUNT))
    assert not np.array_equal(seen[:COUNT], seen[COUNT : 2 * COUNT])


def test_resumed_and_on_one_thread(whole, tmp_path):
    model, _ = whole
    for steps in (4, None):
        again = kmerl.KMERL(threads=1, **TINY)
        again.fit(simulator(), out=tmp_path / "run", max_steps=steps, progress=False)
    assert losses(again) == losses(model)
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, again.parameters()[name], err_msg=name)


def test_contrast_is_with_the_findings(whole):
    model, _ = whole
    assert min(losses(model, "contrast")) > 0
    p = model.predict_proba(kmerl.sample_records()[0], ["atrial fibrillation"], method="cosine")
    assert p.shape == (1,) and 0 <= p[0] <= 1


def test_checkpoint(whole):
    _, out = whole
    model = kmerl.load_model(out / "best.safetensors")
    assert list(model.vocabulary_) == list(simulator().shown)
    assert 100 < len(model.vocabulary_) < len(kmerl.Vocabulary.default())
    model.predict_proba(kmerl.sample_records()[:2], list(kmerl.Vocabulary.default()))   # all names are answered


def test_some_names():
    """A synonym is the entity; what else a recording shows is not taught."""
    model = kmerl.KMERL(**TINY | {"epochs": 1}).fit(simulator(teach=["AFib", "st depression"]), progress=False)
    assert list(model.vocabulary_) == ["atrial fibrillation", "ST depression"]
    for wrong, error, words in (
        (["no such finding"], KeyError, "no such finding"), ([], ValueError, "teach is empty"),
        ("st depression", TypeError, "list of names"), (["vertical axis"], ValueError, "no recording can show"),
    ):
        with pytest.raises(error, match=words):
            kmerl.Simulator(teach=wrong)


def test_centred_queries_are_those_of_what_is_taught():
    """What training started from, which `untrained` makes again."""
    sim = simulator(teach=["atrial fibrillation", "sinus rhythm", "ST depression"])
    model = kmerl.KMERL(**TINY | {"epochs": 1, "query_init": "centred"}).fit(sim, max_steps=1, progress=False)
    first = model.untrained(TINY["seed"]).parameters()
    texts = sim.embeddings.texts
    x = sim.embeddings.queries[[texts.index(name) for name in model.vocabulary_]]
    queries = x @ first["query.projection.weight"].T + first["query.projection.bias"]
    assert len(queries) == 3 and np.allclose(queries.mean(axis=0), 0, atol=1e-5)
    trained = model.parameters()["query.projection.weight"]
    assert 0 < np.abs(trained - first["query.projection.weight"]).max() < 2.1 * TINY["lr"]    # one step of AdamW


def test_some_leads(tmp_path):
    model = kmerl.KMERL(**TINY | {"epochs": 1}).fit(simulator(leads=["II", "V5"]), progress=False)
    assert np.isfinite(losses(model)).all()


@pytest.mark.parametrize("change", [{"seed": 4}, {"epoch_size": 32}, {"noise": 0.5},
                                    {"prevalence": {"atrial fibrillation": 0.5}}])
def test_another_simulator_is_refused(whole, change):
    _, out = whole
    with pytest.raises(ValueError, match="another store"):
        kmerl.KMERL(**TINY).fit(simulator(**change), out=out, progress=False)


def test_bad_input():
    with pytest.raises(ValueError, match="250 Hz"):
        kmerl.KMERL(**TINY).fit(simulator(fs=250), progress=False)
    with pytest.raises(ValueError, match="4294967296"):
        kmerl.KMERL(**TINY).fit(simulator(epoch_size=2**31), progress=False)
    with pytest.raises(TypeError, match="Simulator"):
        kmerl.KMERL(**TINY).fit([1, 2], progress=False)
    with pytest.raises(ValueError, match="report_pooling"):
        kmerl.KMERL(**TINY).fit(simulator().embed(HashEncoder(), report_pooling="cls"), progress=False)
    for wrong in ({"epoch_size": 0}, {"validation_size": -1}, {"epoch_size": 1.5}):
        with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
            kmerl.Simulator(**wrong)
