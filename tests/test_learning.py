"""It learns: on the sample the validation loss falls, and zero-shot answers beat those of untrained networks.

Eighty recordings and half a minute are not enough for a mean AUC on other patients that could not be luck (`kmerl demo`
trains longer and measures that); what is tested is what any working training reaches: how common each finding is, on
other patients' recordings, and each recording's own findings on those it saw."""

import numpy as np
import pytest

import kmerl
from kmerl.demo import CONFIG
from kmerl.extraction import label_matrix


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learning")
    store = kmerl.Store.create(folder / "store", kmerl.sample_records("train"), progress=False)
    store.label(kmerl.Vocabulary.default(), progress=False).embed(kmerl.sample_embeddings(), progress=False)
    return kmerl.KMERL(**{**CONFIG, "epochs": 100}).fit(store, progress=False)


@pytest.fixture(scope="module")
def untrained(trained):
    models = []
    for seed in range(5):
        model = kmerl.KMERL(**{**CONFIG, "seed": seed}).initialize(text_dim=trained.config_.text_width)
        model.text_encoder = kmerl.sample_embeddings()
        models.append(model)
    return models


def asked(part, enough):
    """Recordings, names and labels of the findings that `enough` of them have, and as many have not."""
    records, vocabulary = kmerl.sample_records(part), kmerl.Vocabulary.default()
    labels = label_matrix([record.report for record in records], vocabulary)
    positive = labels.sum(axis=0, dtype=int)
    columns = np.flatnonzero((positive >= enough) & (len(records) - positive >= enough))
    return records, [list(vocabulary)[i] for i in columns], labels[:, columns]


def test_validation_loss_falls(trained):
    queries = [line["val_query"] for line in trained.history_ if "val_loss" in line]
    losses = [line["val_loss"] for line in trained.history_ if "val_loss" in line]
    assert min(queries) < 0.3 * queries[0] and min(losses) < 0.6 * losses[0]


@pytest.mark.parametrize("leads", [None, ["I"], ["II"]])
def test_on_other_patients_it_knows_what_is_common(trained, untrained, leads):
    records, names, labels = asked("heldout", 0)
    records = [record.select(leads) for record in records] if leads else records

    def auc(model):
        return kmerl.metrics.roc_auc_score(labels.ravel(), model.predict_proba(records, names).ravel())

    assert auc(trained) > 0.8 and auc(trained) > max(auc(model) for model in untrained) + 0.1


def test_of_recordings_it_saw_it_knows_the_findings(trained, untrained):
    records, names, labels = asked("train", 5)

    def auc(model):
        return kmerl.metrics.roc_auc_score(labels, model.predict_proba(records, names))

    assert auc(trained) > np.mean([auc(model) for model in untrained]) + 0.08
