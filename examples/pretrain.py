"""From WFDB records and a CSV of reports to a model: what the shell verbs do, in Python.

    python examples/pretrain.py RECORDS reports.csv ENCODER OUT

RECORDS is a folder; reports.csv has the columns record (path from RECORDS, without ending), report and
patient; ENCODER is a BERT in a local folder (docs/text_encoder.md). Every step goes on where it was stopped,
so the same command may be run again after any interruption. Without arguments it runs on the sample for a few
steps.
"""

import csv
import os
import sys
import tempfile

import kmerl


def pretrain(records, reports, patients, encoder, out, max_steps=None, **config):
    os.makedirs(out, exist_ok=True)
    store = kmerl.Store.create(os.path.join(out, "store"), records, reports=reports, patients=patients)
    for name, reason in store.skipped:
        print(f"skipped {name}: {reason}")
    store.label(kmerl.Vocabulary.default())
    store.embed(encoder)
    print(store.describe())

    model = kmerl.KMERL(**config)
    model.fit(store, out=os.path.join(out, "run"), max_steps=max_steps)
    return kmerl.load_model(os.path.join(out, "run", "best.safetensors"))  # lowest validation loss


def main(folder, table, encoder, out):
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return pretrain(
        [os.path.join(folder, row["record"]) for row in rows],
        [row["report"] for row in rows],
        [row["patient"] for row in rows],
        kmerl.TextEncoder.load(encoder),
        out,
        preset="paper",
        size="tiny",
        batch_size=256,
    )


def on_the_sample(max_steps=3):
    records = kmerl.sample_records("train")
    with tempfile.TemporaryDirectory() as out:
        model = pretrain(
            records,
            [record.report for record in records],
            [record.patient for record in records],
            kmerl.sample_embeddings(),
            out,
            max_steps=max_steps,
            size="tiny",
            batch_size=8,
            query_layers=1,
        )
        return model.predict_proba(
            kmerl.sample_records("heldout")[:2], ["atrial fibrillation", "sinus rhythm"]
        )


if __name__ == "__main__":
    print(on_the_sample() if len(sys.argv) == 1 else main(*sys.argv[1:5]))
