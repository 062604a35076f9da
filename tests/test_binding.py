"""Objects of the core are what they are, whatever names are bound to and whatever an object says of itself."""

import copy
import pickle

import numpy as np
import pytest
from small import TINY, HashEncoder, make_store

import kmerl
from kmerl import _kmerl
from kmerl.batch import _core_corpus

NOBODY = np.zeros(0, np.int64)
FOUR = np.arange(4, dtype=np.int64)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("binding") / "store", 8)


@pytest.fixture(scope="module")
def objects(store):
    """One of each type that a call of the core takes; `batch` beside them."""
    model = kmerl.KMERL(**{**TINY, "threads": 1}).initialize(store.embeddings.width)
    simulator = kmerl.Simulator(seed=3, seconds=2, epoch_size=8, validation_size=2).embed(HashEncoder())
    queries = np.ascontiguousarray(store.embeddings.queries[:2], np.float32)
    return {
        "Model": model._core,
        "Classes": model._core.classes(queries),
        "Corpus": _core_corpus(store.corpus()),
        "Feed": simulator._feed(),
        "batch": kmerl.sample_batch(store, range(4)).arrays(),
        "config": model.config_.to_core(),
    }


# Each type, and the call that takes one.
CALLS = {
    "Model": lambda x, o: _kmerl.Optimiser(x),
    "Classes": lambda x, o: o["Model"].evaluate(o["batch"], x)["logits"],
    "Corpus": lambda x, o: _kmerl.sample_batch(x, FOUR, o["config"], 0, 0, 1),
    "Feed": lambda x, o: _kmerl.Trainer(o["Model"], x, FOUR, NOBODY),
}


class Says:
    """An object that says it is of another class, as mocks do."""

    def __init__(self, kind):
        self.kind = kind

    __class__ = property(lambda self: self.kind)


@pytest.mark.parametrize("name", CALLS)
def test_only_the_cores_own_objects_are_taken(name, objects):
    kind = getattr(_kmerl, name)
    CALLS[name](objects[name], objects)
    assert isinstance(Says(kind), kind)
    strangers = [objects[other] for other in CALLS if other != name]
    if name == "Feed":      # a trainer takes either
        strangers.remove(objects["Corpus"])
    for stranger in (Says(kind), object(), 3, *strangers):
        with pytest.raises(TypeError, match="must (be|come)"):
            CALLS[name](stranger, objects)


@pytest.mark.parametrize("name", CALLS)
def test_names_bound_to_other_objects_change_nothing(name, objects, monkeypatch):
    """`_kmerl.Classes = list` once let the core write a class set's fields into a list."""
    for other in (list, type("Any", (type,), {"__instancecheck__": lambda *_: True})("Any", (), {}), None):
        with monkeypatch.context() as patched:
            patched.setattr(_kmerl, name, other)
            CALLS[name](objects[name], objects)
            made = objects["Model"].classes(np.ones((3, 24), np.float32))
            assert type(made).__name__ == "Classes" and CALLS["Classes"](made, objects).shape == (4, 3)
            with pytest.raises(TypeError, match="must (be|come)"):
                CALLS[name]([1], objects)
        with monkeypatch.context() as patched:
            patched.delattr(_kmerl, name)
            CALLS[name](objects[name], objects)


def test_a_class_set_is_of_its_model(objects):
    other = _kmerl.Model(objects["config"])
    with pytest.raises(TypeError, match="this model's classes"):
        other.evaluate(objects["batch"], objects["Classes"])


@pytest.mark.parametrize("name", sorted(name for name, kind in vars(_kmerl).items() if isinstance(kind, type)))
def test_no_object_is_made_without_its_contents(name, objects):
    kind = getattr(_kmerl, name)
    for make in (object.__new__, kind.__new__, kind, lambda kind: type("Sub", (kind,), {}),
                 lambda kind: object().__reduce_ex__(2)[0](kind, object, None)):
        with pytest.raises(TypeError):
            make(kind)
    if name in objects:
        one = objects[name]
        for take in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                take(one)
        for other in (kind for kind in vars(_kmerl).values() if isinstance(kind, type) and kind is not type(one)):
            with pytest.raises(TypeError):
                one.__class__ = other


def test_a_hook_cannot_run_its_trainer(objects):
    trainer = _kmerl.Trainer(objects["Model"], objects["Corpus"], FOUR, NOBODY)
    told = []

    def hook(event):
        told.append(event["step"])
        with pytest.raises(RuntimeError, match="its hook cannot run it again"):
            trainer.run(9, told.append)

    trainer.run(2, hook)
    assert told == [1, 2]
    trainer.run(3, lambda event: told.append(event["step"]))
    assert told == [1, 2, 3]
