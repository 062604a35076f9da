"""What a file or folder is, in a few lines: for ``kmerl info``."""

import json
import os
import pathlib

import numpy as np

from kmerl import shipped

__all__ = ["describe", "read_log"]


def describe(path):
    """Say what is at a path, and what to do with it.

    Parameters
    ----------
    path : path
        A record, store, run, checkpoint, vocabulary, text encoder or data set; or a name from `kmerl.list_models`.

    Returns
    -------
    lines : list of str
        The first says what it is.
    following : list of str
        The words of the ``kmerl`` command to run next.

    Raises
    ------
    FileNotFoundError, ValueError
        Nothing there, nothing known, or something damaged; the message says what.
    """
    if str(path) in shipped.list_models() and not os.path.exists(path):
        lines, (verb, _, *more) = _checkpoint(shipped.whole_file(path))
        return lines, [verb, path, *more]
    path = pathlib.Path(path)
    if path.is_dir():
        for file, look in INSIDE.items():
            if (path / file).exists():
                return look(path)
        raise ValueError(
            f"{path} is a folder, but no store, run, text encoder or data set: none of {', '.join(INSIDE)}"
        )
    if path.suffix == ".safetensors":
        return _checkpoint(path)
    if path.suffix == ".json":
        return _vocabulary(path)
    return _record(path)


def read_log(run):
    """A run's log in short.

    Parameters
    ----------
    run : path
        A folder with log.jsonl.

    Returns
    -------
    dict
        ``steps``, the last ``loss`` and the lowest validation loss ``best``; None where there is none yet.
    """
    steps, loss, best = 0, None, None
    path = os.path.join(run, "log.jsonl")
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                continue  # the line that was being written when the run was broken off
            if not isinstance(entry, dict) or not all(
                isinstance(entry.get(name, 0), (int, float, type(None))) for name in ("loss", "val_loss")
            ) or type(entry.get("step", 0)) is not int:
                raise ValueError(f"{path}, line {number}: no entry of a run's log")
            steps = max(steps, entry.get("step", 0))
            loss = entry.get("loss", loss)
            if entry.get("val_loss") is not None:
                best = entry["val_loss"] if best is None else min(best, entry["val_loss"])
    return {"steps": steps, "loss": loss, "best": best}


def _record(path):
    from kmerl.record import read_record

    record = read_record(path)
    known = record.signal[np.isfinite(record.signal)]
    missing = 100 * (1 - known.size / record.signal.size)
    lines = [
        f"{path}: a recording",
        f"{record.seconds:g} s at {record.fs:g} Hz, {len(record.leads)} leads: {' '.join(record.leads)}",
        f"{known.min():.3f} to {known.max():.3f} mV" if known.size else "no sample that is not missing",
        f"{missing:.2g} % of the samples missing",
        *(f"# {comment}" for comment in record.comments),
    ]
    return lines, ["plot", str(path)]


def _store(path):
    from kmerl.store import Store

    found = Store.open(path).describe()
    lines = [f"{path}: a store", *str(found).splitlines()]
    if found["empty_reports"] == found["recordings"]:
        return lines, ["store", "OUT", "RECORD", "--reports", "CSV"]
    if "entities" not in found:
        return lines, ["label", str(path)]
    if "encoder" not in found:
        return lines, ["embed", str(path), "--encoder", "FOLDER"]
    return lines, ["pretrain", str(path), "--out", "run"]


def _unfinished_store(path):
    return [f"{path}: a store that is not finished; the command that was making it goes on when run again"], [
        "store",
        str(path),
        "RECORD",
    ]


def _run(path):
    log = read_log(path)
    lines = [f"{path}: a pretraining run", f"{log['steps']:,} steps"]
    if log["loss"] is not None:
        lines.append(f"loss {log['loss']:.4g}")
    if log["best"] is not None:
        lines.append(f"validation loss {log['best']:.4g} at best")
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            more, following = _checkpoint(path / name)
            return lines + more, following
    return lines + ["no checkpoint yet"], ["pretrain", "STORE", "--out", str(path)]


def _checkpoint(path):
    from kmerl.checkpoint import Checkpoint
    from kmerl.vocabulary import Vocabulary

    checkpoint = Checkpoint.read(path)
    vocabulary = None if checkpoint.vocabulary is None else Vocabulary.from_json(checkpoint.vocabulary)
    names = checkpoint.names.answered(vocabulary) if checkpoint.names else []
    config = checkpoint.config
    count = sum(array.size for array in checkpoint.parameters.values())
    lines = [
        f"{path}: a checkpoint, written by {checkpoint.library or 'an unknown version'}",
        f"ResNet-18, width {config.width}" if config.encoder == "resnet18"
        else f"size {config.size}: width {config.width}, depth {config.depth}, heads {config.heads}",
        f"{count:,} parameters",
        f"{config.seconds:g} s at {config.fs:g} Hz in segments of {config.segment_samples} samples",
        f"normalisation {config.normalisation}, over {config.normalisation_scope} leads",
        f"text encoder {checkpoint.text_encoder or 'unknown'}, {config.text_width} wide",
        f"answers {len(names):,} names without a text encoder",
        *(
            f"{name.replace('_', ' ')}: {value}"
            for name, value in checkpoint.training.items()
            if value is not None
        ),
    ]
    return lines, ["predict", str(path), "RECORD", "--classes", "atrial fibrillation,normal ecg"]


def _vocabulary(path):
    from kmerl.vocabulary import Vocabulary

    vocabulary = Vocabulary.load(path)
    names, aside = list(vocabulary), [entity.name for entity in vocabulary.aside]
    lines = [
        f"{path}: a vocabulary of {len(names):,} entities",
        ", ".join(names[:8] + ["..."] * (len(names) > 8)),
        f"{len(vocabulary.superclass_names()):,} of them superclasses",
        f"read with phrases {vocabulary.phrases.name} ({vocabulary.phrases.hash[:12]})",
        *([f"taken out: {', '.join(aside[:8] + ['...'] * (len(aside) > 8))}"] if aside else []),
    ]
    return lines, ["label", "STORE", "--vocabulary", str(path)]


def _text_encoder(path):
    from kmerl.text import TextEncoder

    encoder = TextEncoder.load(path)
    lines = [
        f"{path}: a text encoder, {encoder.id}",
        f"embeddings {encoder.width} wide, texts of up to {encoder.max_length} tokens",
        f"poolings {', '.join(encoder.poolings)}",
    ]
    return lines, ["embed", "STORE", "--encoder", str(path)]


def _dataset(path):
    from kmerl import datasets

    dataset = datasets.ptbxl(path) if (path / "ptbxl_database.csv").is_file() else datasets.folder(path)
    positives = dataset.labels.sum(axis=0, dtype=np.int64)
    lines = [
        f"{path}: a data set of {len(dataset):,} recordings of {len(set(dataset.patients)):,} patients",
        ", ".join(f"{len(indices):,} {part}" for part, indices in dataset.split.items()),
        *(f"{name}: {count:,}" for name, count in zip(dataset.classes, positives, strict=True)),
        *dataset.notes,
    ]
    return lines, ["evaluate", "CHECKPOINT", str(path)]


# The file that tells what the folder around it is.
INSIDE = {
    "store.sqlite": _store,
    "building.sqlite": _unfinished_store,
    "log.jsonl": _run,
    "model.safetensors": _text_encoder,
    "ptbxl_database.csv": _dataset,
    "labels.csv": _dataset,
}
