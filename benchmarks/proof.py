"""K-MERL, both MERLs and both networks from scratch in one table, on a partial copy of PTB-XL and CPSC2018.

    python benchmarks/proof.py PTBXL CPSC2018 --encoder FOLDER --out proof

The copies may be of any part: patients are split anew into 60 % to train on, 15 % to validate, 25 % to test. Pretraining
sees the reports of the training patients of PTB-XL alone. FOLDER is a BERT (MiniLM will do). The same command goes on."""

import argparse
import csv
import os
import pathlib

import numpy as np

import kmerl
from kmerl.datasets import PARTS, Dataset
from kmerl.sample import NETWORK

SHARES = (0.6, 0.15, 0.25)
# As kmerl/demo.py, which was chosen for a hundred recordings; rows of proof.json change some of it.
SMALL = {
    **NETWORK,
    "normalisation": "zscore",
    "normalisation_scope": "visible",
    "report_pooling": "mean",
    "batch_size": 16,
    "lr": 2e-3,
    "weight_decay": 0.1,
    "warmup_steps": 50,
    "clip": 1.0,
}


def parts_of(patients, seed):
    """{patient: part of the split}."""
    patients = np.array(sorted(set(patients)))
    np.random.default_rng(seed).shuffle(patients)
    ends = np.round(np.cumsum(SHARES) * len(patients)).astype(int)
    return {patient: PARTS[np.searchsorted(ends, i, side="right")] for i, patient in enumerate(patients)}


def resplit(dataset, parts):
    """The same recordings with another split, and without the subsets of the old one."""
    mine = np.array([parts[patient] for patient in dataset.patients])
    notes = [*dataset.notes, "split anew by patient, 60 / 15 / 25 %: no figure of this set is anybody else's"]
    return Dataset(
        dataset.name,
        dataset.paths,
        dataset.labels,
        dataset.classes,
        dataset.patients,
        {part: np.flatnonzero(mine == part) for part in PARTS},
        codes=dataset.codes,
        listed=dataset.listed,
        notes=notes,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ptbxl")
    parser.add_argument("cpsc2018")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--out", default="proof")
    parser.add_argument("--epochs", type=int, default=40, help="of pretraining, but for the ResNet (default: 40)")
    parser.add_argument("--fine-tune-epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)

    with open(os.path.join(arguments.ptbxl, "ptbxl_database.csv"), newline="", encoding="utf-8") as file:
        rows = [{**row, "patient": row["patient_id"].removesuffix(".0")} for row in csv.DictReader(file)]
    rows = [row for row in rows if os.path.exists(os.path.join(arguments.ptbxl, row["filename_hr"] + ".hea"))]
    parts = parts_of([row["patient"] for row in rows], arguments.seed)
    encoder = kmerl.TextEncoder.load(arguments.encoder)
    train = [row for row in rows if parts[row["patient"]] != "test"]
    store = kmerl.Store.create(
        os.path.join(arguments.out, "store"),
        [os.path.join(arguments.ptbxl, row["filename_hr"]) for row in train],
        reports=[row["report"] for row in train],
        patients=[row["patient"] for row in train],
    )
    store.label(kmerl.Vocabulary.default()).embed(encoder)

    cpsc = kmerl.datasets.cpsc2018(arguments.cpsc2018)
    datasets = [
        resplit(kmerl.datasets.ptbxl(arguments.ptbxl, "super"), parts),
        resplit(cpsc, parts_of(cpsc.patients, arguments.seed)),
    ]
    found = kmerl.ablate(
        pathlib.Path(__file__).with_suffix(".json"),
        store,
        datasets,
        arguments.out,
        encoder=encoder,
        fine_tune={"epochs": arguments.fine_tune_epochs},
        epochs=arguments.epochs,
        **SMALL,
    )
    print(found)


if __name__ == "__main__":
    main()
