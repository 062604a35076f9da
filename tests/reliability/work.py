"""The work that faults interrupt: a store, labels, embeddings and a training run in one folder; what it reports as done;
and whether what is found afterwards keeps it."""

import json
import os
import sys
from pathlib import Path
from unittest import mock

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import numpy as np  # noqa: E402
from small import TINY, HashEncoder  # noqa: E402

import kmerl  # noqa: E402
from kmerl import durable, safetensors, store_build, store_format, store_text, training  # noqa: E402

STAGES = ("create", "label", "embed", "fit")
PATIENCE = 600      # s for a process that works a second or two: others may have the machine
FINDINGS = ("Sinus rhythm.", "Atrial fibrillation.", "Old inferior infarct.", "Left bundle branch block.")


def records(count=40):
    """Made-up recordings of 0.4 s, whole microvolts, two a patient, about half of the reports distinct."""
    made = []
    for i in range(count):
        rng = np.random.default_rng(i)
        signal = (rng.integers(-1500, 1500, (3, 200)) / 1000).astype(np.float32)
        report = f"{FINDINGS[i % 4]} Compared with tracing {i // 2}."
        made.append(kmerl.Record(signal, 500, ["I", "II", "V1"], name=f"r{i:03d}", report=report, patient=f"p{i // 2}"))
    return made


def options():
    return {**TINY, "seconds": 0.4, "segment_samples": 50, "masked_leads": (10,), "threads": 1, "epochs": 4,
            "batch_size": 12}


def work(folder, report=lambda line: None, paths=False):
    """All four stages in `folder`, each going on where it is there in part. `report` gets a line at the beginning of
    a stage and for what is told the user as done: recordings kept, reports embedded, validations."""
    folder = Path(folder)

    class Told:
        """In place of the progress bar: what it would show."""

        def __init__(self, total, description, unit, show=True, initial=0):
            self.what, self.done = description, initial

        def update(self, count, **numbers):
            self.done += count
            report(f"{self.what} {self.done}")

        def close(self):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    class Run(training.Run):
        def _validated(self, trainer, event):
            super()._validated(trainer, event)
            report(f"validated {event['step']}")

    # Small pieces: many moments between them. No file depends on where they end.
    with (mock.patch.multiple(store_build, Progress=Told, BATCH=4), mock.patch.multiple(store_text, Progress=Told, CHUNK=5),
          mock.patch.object(store_format, "SHARD_SAMPLES", 9000), mock.patch.object(training, "Run", Run)):
        report("stage create")
        given = kmerl.sample_records()[:40] if paths else records()
        store = kmerl.Store.create(folder / "store", given, seconds=0.4)
        report("stage label")
        store.label()
        report("labelled 1")
        report("stage embed")
        store.embed(HashEncoder())
        report("embedded 1")
        report("stage fit")
        model = kmerl.KMERL(**options())
        model.fit(store, out=folder / "run", progress=False)
        report("trained 1")


def contents(folder):
    """{file: bytes} of store and run; of the log only what does not depend on the clock."""
    files = {f"{part}/{f.name}": f.read_bytes() for part in ("store", "run") for f in (Path(folder) / part).iterdir()
             if f.name != "lock"}
    lines = [json.loads(line) for line in files["run/log.jsonl"].decode().splitlines()]
    files["run/log.jsonl"] = [{k: v for k, v in line.items() if k != "samples_per_s"} for line in lines]
    return files


def assert_same(found, expected):
    assert found.keys() == expected.keys(), f"files {sorted(found.keys() ^ expected.keys())} are too few or too many"
    different = [name for name in expected if found[name] != expected[name]]
    assert not different, f"{different} are not those of the undisturbed run"


def check(folder, reports):
    """Everything opens, and holds what the lines of `reports` say is done."""
    folder = Path(folder)
    done = {}
    for line in reports:
        what, _, number = line.rpartition(" ")
        if what != "stage":
            done[what] = max(done.get(what, 0), int(number))
    store = None
    try:
        store = kmerl.Store.open(folder / "store")
    except FileNotFoundError:
        assert not done, f"there is no store, but it was told: {done}"
    except ValueError as error:
        assert "is unfinished" in str(error) and "label" not in done, (str(error), done)
        if done.get("store"):
            kept = str(error).partition("(")[2].partition(" recordings")[0]
            assert int(kept) >= done["store"], (str(error), done)
    if store is not None:
        assert store.verify(progress=False) == []
        if done.get("labelled"):
            assert store.labels.any()
        if done.get("embed") and not done.get("embedded") and "embeddings" not in store._meta:
            with open(folder / "store" / store_text.PROGRESS_FILE, encoding="utf-8") as file:
                assert json.load(file)["done"] >= done["embed"]
        if done.get("embedded"):
            assert np.isfinite(store.embeddings.reports).all()
    run = folder / "run"
    for name in (training.LAST, training.BEST):
        if (run / name).exists():
            kmerl.load_model(run / name)
    if done.get("validated"):
        last = json.loads(safetensors.read(run / training.LAST)[1]["training"])
        assert last["validated"] >= done["validated"], (last, done)
        assert (run / training.BEST).exists()
    if done.get("trained"):
        assert last["step"] == last["validated"]


def said(line):
    """A report on standard output, in one system call."""
    os.write(1, (line + "\n").encode())


if __name__ == "__main__":
    said("ready 0")
    work(sys.argv[1], said, paths="--paths" in sys.argv)
    durable.sync_folder(sys.argv[1])
