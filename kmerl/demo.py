"""Two parts on the recordings that come with kmerl: answers of kmerl-tiny at once; then the whole path, store, labels,
embeddings, pretraining, answers.

`kmerl demo` and `make demo` run it. It shows how the parts fit together and that they learn: about eighty
recordings make no diagnostic model, and the demo says so.
"""

import argparse
import os
import sys
import textwrap
import time

import numpy as np

import kmerl
from kmerl.extraction import label_matrix
from kmerl.sample import NETWORK
from kmerl.shipped import DEFAULT

__all__ = ["CONFIG", "main"]

# What learned most from eighty recordings in two minutes, tried on PTB-XL recordings outside of the sample: a
# narrow network and many steps, more visible leads than pretraining on a million needs but a third of their
# segments, and the weight on the entities.
CONFIG = {
    **NETWORK,
    "masked_leads": {0: 2.0, 6: 1.0, 9: 1.0, 11: 2.0},
    "mask_ratio": 0.65,
    "query_weight": 30.0,
    "batch_size": 16,
    "lr": 2e-3,
    "weight_decay": 0.1,
    "warmup_steps": 50,
    "clip": 1.0,
    "epochs": 600,
}
LEAD_SETS = (("12 leads", None), ("lead I", ["I"]), ("lead II", ["II"]))
EXAMPLE = "00330_hr"  # the recording shown first
FINDING = "bundle branch block"
ENOUGH = 4  # held-out recordings with an entity, and without it, for its AUC to mean something
RESAMPLES = 1000
INITIALISATIONS = 20  # one untrained network may be lucky
REMARK = """
A hundred recordings make no diagnostic model: the figures show that every part works and that something
was learned, not that the answers are good. Never use them for a patient."""


def main(argv=None):
    """Run the demo.

    Parameters
    ----------
    argv : list of str, optional
        ``--out FOLDER``, ``--epochs N``, ``--seed N``, ``--threads N``, ``--quiet``.

    Returns
    -------
    int
        0, or 130 where it was interrupted; the same command goes on then.
    """
    arguments = _parser().parse_args(argv)
    begun = time.monotonic()
    try:
        _run(arguments)
    except KeyboardInterrupt:
        print(
            f"\nkmerl demo: interrupted; what {arguments.out} holds is kept, the same command goes on",
            file=sys.stderr,
        )
        return 130
    print(f"\nThe demo took {_minutes(time.monotonic() - begun)}.")
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="kmerl demo",
        description="Answers of kmerl-tiny on the recordings that come with kmerl; then a small model of one's own, "
        "pretrained on some of them, answers on the others.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--out", metavar="FOLDER", default="kmerl-demo", help="where everything goes (default: %(default)s)")
    add("--epochs", metavar="N", type=int, help=f"passes over the recordings (default: {CONFIG['epochs']})")
    add("--seed", metavar="N", type=int, default=0, help="of parameters, masks and order (default: 0)")
    add("--threads", metavar="N", type=int, help="default: OMP_NUM_THREADS, else all cores")
    add("-q", "--quiet", action="store_true", help="no progress bars")
    return parser


def _run(arguments):
    out, progress = arguments.out, not arguments.quiet
    given = {"epochs": arguments.epochs, "seed": arguments.seed, "threads": arguments.threads}
    config = {**CONFIG, **{name: value for name, value in given.items() if value is not None}}
    kmerl.Config(**config)  # what is wrong is told before anything is written
    model = kmerl.KMERL(**config)
    os.makedirs(out, exist_ok=True)

    print(f"kmerl {kmerl.__version__}")
    _at_once(DEFAULT)

    train, heldout = kmerl.sample_records("train"), kmerl.sample_records("heldout")
    print(
        f"\nA model of one's own: {len(train)} PTB-XL recordings to learn from, {len(heldout)} to answer"
    )
    store = _store(os.path.join(out, "store"), train, progress)
    _pretrain(model, store, os.path.join(out, "run"), progress)

    classes, labels = _questions(store, heldout)
    _table(_answers(model, heldout, classes, labels), classes, labels, heldout)
    _picture(model, heldout, classes, labels, os.path.join(out, "attention.png"))

    checkpoint = os.path.join(out, "run", "last.safetensors")
    print(f"\nnext: kmerl predict {checkpoint} {_relative(kmerl.sample_path('00330_hr'))} --leads II")
    print(f"next: kmerl info {checkpoint}")


def _at_once(name):
    """What the model that comes with kmerl answers, and how well, without any training here."""
    model, dataset = kmerl.load_model(name), kmerl.sample_dataset()
    records = list(dataset)
    ecg = next(record for record in kmerl.sample_records() if record.name == EXAMPLE)
    names = list(model.vocabulary_)
    p = model.predict_proba(ecg, names)
    likely = ", ".join(f"{names[k]} {p[k]:.2f}" for k in np.argsort(-p, kind="stable")[:5])
    print(f"\n{name}, which comes with kmerl, on {ecg.name}:")
    print(textwrap.fill(likely, 100, initial_indent="  ", subsequent_indent="  "))
    print(f"  the report: {ecg.report}")
    print(f"\n  Mean AUC of {', '.join(dataset.classes)}")
    print(f"  in {len(records)} real recordings, none of which it was trained on (95 % interval):")
    for words, leads in LEAD_SETS:
        given = [record.select(leads) for record in records] if leads else records
        found = kmerl.metrics.bootstrap(
            dataset.labels, model.predict_proba(given, dataset.classes), groups=dataset.patients, n=RESAMPLES
        )
        print(f"  {words:<10} {found.estimate:.3f} ({found.low:.3f}-{found.high:.3f})")
    print("  It is a first model and often wrong; docs/model_card.md says where.")


def _store(path, records, progress):
    """Recordings with reports, entity labels and text embeddings; what is there already is kept."""
    store = kmerl.Store.create(path, records, progress=progress)
    store.label(kmerl.Vocabulary.default(), progress=progress)
    store.embed(kmerl.sample_embeddings(), progress=progress)
    found = int(np.count_nonzero(store.labels.any(axis=0)))
    parts = ", ".join(f"{len(indices)} {part}" for part, indices in store.split.items())
    print(f"{path}: {parts}; their reports assert {found} of the vocabulary's {len(store.entities)} entities")
    return store


def _pretrain(model, store, out, progress):
    model.fit(store, out=out, progress=progress)
    steps = [line for line in model.history_ if "val_loss" not in line]
    epoch = max(len(steps) // model.config_.epochs, 1)
    first, last = (np.mean([line["loss"] for line in part]) for part in (steps[:epoch], steps[-epoch:]))
    print(f"{out}: {len(steps):,} steps, loss {first:.3f} in the first epoch, {last:.3f} in the last")


def _questions(store, heldout):
    """Entities that enough held-out reports assert and enough do not; training saw them at least as often."""
    vocabulary = store.vocabulary
    labels = label_matrix([record.report for record in heldout], vocabulary)
    positive, seen = labels.sum(axis=0, dtype=int), store.labels.sum(axis=0, dtype=int)
    asked = np.flatnonzero((positive >= ENOUGH) & (len(heldout) - positive >= ENOUGH) & (seen >= ENOUGH))
    return [list(vocabulary)[i] for i in asked], labels[:, asked]


def _untrained(model):
    """The same network as it is before training, with other parameters each time."""
    return [model.untrained(seed) for seed in range(INITIALISATIONS)]


def _answers(model, records, classes, labels):
    """{leads: (bootstrap of the model over the held-out patients, mean AUC of each untrained network)}."""
    patients, untrained = [record.patient for record in records], list(_untrained(model))
    rows = {}
    for name, leads in LEAD_SETS:
        given = [record.select(leads) for record in records] if leads else records
        scores = [m.predict_proba(given, classes) for m in untrained]
        rows[name] = (
            kmerl.metrics.bootstrap(
                labels, model.predict_proba(given, classes), groups=patients, n=RESAMPLES
            ),
            [kmerl.metrics.roc_auc_score(labels, p) for p in scores],
        )
    return rows


def _table(rows, classes, labels, records):
    patients = len({record.patient for record in records})
    asked = [f"{name} ({n})" for name, n in zip(classes, labels.sum(axis=0, dtype=int), strict=True)]
    print(
        f"\n{len(records)} held-out recordings of {patients} patients, and in how many of their reports stand"
    )
    print(textwrap.fill(", ".join(asked), 100, initial_indent="  ", subsequent_indent="  "))
    print(f"\n  Mean AUC of these {len(classes)}, zero-shot{'':11}{INITIALISATIONS} untrained networks:")
    print(f"  {'':<10} pretrained (95 % interval)   mean (95 % of them)")
    for name, (found, others) in rows.items():
        low, high = np.percentile(others, (2.5, 97.5))
        cells = (
            f"{found.estimate:.3f} ({found.low:.3f}-{found.high:.3f})",
            f"{np.mean(others):.3f} ({low:.3f}-{high:.3f})",
        )
        print(f"  {name:<10} {cells[0]:<28} {cells[1]}")
    print(REMARK)


def _picture(model, records, classes, labels, path):
    """A held-out ECG whose report has the finding, with the attention of the finding over it."""
    column = classes.index(FINDING) if FINDING in classes else int(labels.sum(axis=0).argmin())
    finding, scores = classes[column], model.predict_proba(records, classes)[:, column]
    record = records[int(np.where(labels[:, column] > 0, scores, -1).argmax())]  # the one it is surest of
    try:
        figure = kmerl.plot_ecg(record, model.attend(record, finding), finding=finding)
    except ImportError as error:
        print(f"\nNo picture: {error}")
        return
    figure.savefig(path)
    print(f"\n{path}: {record.name} with the attention of {finding!r}; its report: {record.report}")


def _relative(path):
    near = os.path.relpath(path)
    return near if len(near) < len(path) else path


def _minutes(seconds):
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
