"""How often entities are asserted, and which occur together."""

import csv

import numpy as np
import pytest
from stores import create, ecg, ecgs, no_waiting_for_the_disk  # noqa: F401

import kmerl

TEXTS = ["atrial fibrillation. lbbb", "atrial fibrillation", "atrial fibrillation", "lbbb", "no lbbb", ""]


@pytest.fixture
def store(tmp_path):
    entities = [
        kmerl.Entity("arrhythmia"),
        kmerl.Entity("dextrocardia"),
        kmerl.Entity("atrial fibrillation", superclasses=("arrhythmia",)),
        kmerl.Entity("left bundle branch block", ("lbbb",), languages={"abbreviations": ("lbbb",)}),
    ]
    records = [ecg(i, report=text, samples=100) for i, text in enumerate(TEXTS)]
    return create(tmp_path / "s", records).label(kmerl.Vocabulary(entities, name="four"), progress=False)


def test_prevalence(store, tmp_path):
    found = store.prevalence()
    assert found.entities == ["arrhythmia", "atrial fibrillation", "left bundle branch block", "dextrocardia"]
    assert found.recordings == [3, 3, 2, 0] == sorted(store.labels.sum(axis=0).tolist(), reverse=True)
    assert found.reports == [2, 2, 2, 0]  # the second and third report are one
    assert (found.total, found.bare, found.found) == (6, 2, 3)
    assert found.share("left bundle branch block") == pytest.approx(1 / 3)
    lines = str(found).splitlines()
    assert len(lines) == 4 and lines[1].split() == ["arrhythmia", "3", "50.0", "%"]
    assert len(found.table(1).splitlines()) == 2
    found.to_csv(tmp_path / "p.csv")
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["entity", "reports", "recordings", "share"] and rows[3] == [
        "left bundle branch block", "2", "2", "0.333333",
    ]  # fmt: skip


def test_cooccurrence_is_that_of_the_labels(store):
    labels = store.labels.astype(int)
    assert np.array_equal(store.cooccurrence(), labels.T @ labels)
    assert store.cooccurrence().tolist() == [[3, 0, 3, 1], [0, 0, 0, 0], [3, 0, 3, 1], [1, 0, 1, 2]]


def test_without_labels(tmp_path):
    store = create(tmp_path / "s", ecgs(2))
    for ask in (store.prevalence, store.cooccurrence):
        with pytest.raises(RuntimeError, match="has no labels yet"):
            ask()


def test_the_picture_shows_the_shares(store):
    pytest.importorskip("matplotlib").use("Agg")
    figure = kmerl.plot_cooccurrence(store, ["lbbb", "atrial fibrillation"])
    (axes,) = figure.axes
    order = [label.get_text() for label in axes.get_yticklabels()]
    assert order == ["atrial fibrillation", "left bundle branch block"]
    assert [label.get_text() for label in axes.get_xticklabels()] == order
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "3", (1, 0): "33", (0, 1): "50", (1, 1): "2"}
    assert len(kmerl.plot_cooccurrence(store).axes[0].get_yticklabels()) == 3  # what no recording has is left out
    words = "".join(text.get_text() for text in figure.texts)
    assert "of 6" in words
    figure.canvas.draw()
    size = figure.get_size_inches() * figure.dpi
    for label in (*axes.get_yticklabels(), *axes.get_xticklabels()):
        box = label.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= size[0], label.get_text()


@pytest.mark.parametrize(
    "entities, error, message",
    [
        (1, ValueError, "entities is 1, expected 2 or more"),
        ("lbbb", TypeError, "entities is the single text 'lbbb'"),
        (["lbbb"], ValueError, "1 entities to draw"),
        (["frogs", "lbbb"], KeyError, "'frogs' is no name"),
    ],
)
def test_what_the_picture_refuses(store, entities, error, message):
    pytest.importorskip("matplotlib")
    with pytest.raises(error, match=message):
        kmerl.plot_cooccurrence(store, entities)
