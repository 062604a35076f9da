"""Pretrain on simulated ECGs alone, and measure on real ones as it goes: how kmerl-tiny is made.

    python tools/train_model.py run --data ../shared/data

Settings are in tools/train_model.json. RUN holds what `KMERL.fit` keeps there, and

- average.safetensors: the mean of the weights over the epochs, the latest weighing most;
- curve.jsonl: a line an epoch, the zero-shot AUC of the averaged weights on the development recordings (at the end of
  the last epoch's too; without averaging of these alone);
- chosen.safetensors: the weights with the highest mean AUC so far; without development recordings the latest
  averaged ones;
- settings.json, as they were; curve.png.

It may be stopped at any moment; the same command goes on. Nothing is ever trained on a real recording, but choosing
among epochs by the development recordings makes the AUC on these a little too good.
"""

import argparse
import json
import os
import pathlib
import sys
import time
import warnings

import kmerl
from kmerl.checkpoint import Checkpoint
from kmerl.durable import made_folder, writing
from kmerl.scoring import chosen_leads

SETTINGS = pathlib.Path(__file__).with_suffix(".json")
FIELDS = {"simulator", "model", "average_decay", "measure_every", "leads"}
LAST, AVERAGE, CHOSEN, CURVE = "last.safetensors", "average.safetensors", "chosen.safetensors", "curve.jsonl"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", help="folder of the run; the same command goes on")
    parser.add_argument("--settings", metavar="JSON", default=SETTINGS, help="default: %(default)s")
    parser.add_argument("--data", metavar="FOLDER", help="development recordings: its folders ptbxl and cpsc2018")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    settings = read_settings(arguments.settings)
    sources = read_sources(arguments.data, settings["leads"])
    try:
        train(arguments.run, settings, sources, progress=not arguments.quiet)
    except KeyboardInterrupt:
        print(f"\ninterrupted; the same command goes on from what {arguments.run} holds", file=sys.stderr)
        return 130
    plot(read_curve(arguments.run), os.path.join(arguments.run, "curve.png"))
    return 0


def read_settings(path):
    """The settings of a run: simulator, model, and what is measured."""
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    if set(settings) != FIELDS:
        raise ValueError(f"{path}: its fields are {', '.join(settings)}, expected {', '.join(sorted(FIELDS))}")
    if not 0 <= settings["average_decay"] < 1:
        raise ValueError(f"{path}: average_decay is {settings['average_decay']}, expected 0 (no average) to below 1")
    model = settings["model"]
    if "masked_leads" in model:     # JSON has no numbers for keys
        model["masked_leads"] = {int(count): share for count, share in model["masked_leads"].items()}
    return settings


# ---- development recordings -----------------------------------------------------------------------------------------


def read_sources(folder, leads):
    """{name: (classes, labels, {name of a lead set: records})} of the data sets there are; the recordings stay in
    memory, since they are asked at every epoch."""
    if folder is None:
        return {}
    found = {}
    for name, make in (("ptbxl", kmerl.datasets.ptbxl), ("cpsc2018", kmerl.datasets.cpsc2018)):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            dataset = make(path)
            records = list(dataset)
            given = {words: [record.select(chosen_leads(names)) for record in records]
                     for words, names in leads.items()}
            found[name] = dataset.classes, dataset.labels, given
    if not found:
        raise FileNotFoundError(f"{folder} has neither a folder ptbxl nor a folder cpsc2018")
    return found


def measure(model, sources):
    """{source: {lead set: macro AUC}}, zero-shot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kmerl.metrics.UndefinedMetricWarning)   # a class without both outcomes
        return {name: {words: float(kmerl.metrics.roc_auc_score(labels, model.predict_proba(records, classes)))
                       for words, records in given.items()}
                for name, (classes, labels, given) in sources.items()}


def score(aucs):
    """What weights are chosen by: the mean over sources and lead sets."""
    values = [auc for one in aucs.values() for auc in one.values()]
    return sum(values) / len(values) if values else None


# ---- training -------------------------------------------------------------------------------------------------------


def train(run, settings, sources, progress=True):
    """Trains to the last epoch from wherever the run is: an epoch, its average, its measurement, its line."""
    simulator = kmerl.Simulator(**settings["simulator"])
    model = kmerl.KMERL(**settings["model"])
    steps, epochs = -(-simulator.epoch_size // model.batch_size), model.epochs
    made_folder(run)
    with writing(os.path.join(run, "settings.json")) as file:
        file.write((json.dumps(settings, indent=1) + "\n").encode())
    curve = read_curve(run)
    for epoch in range(len(curve) + 1, epochs + 1):
        begun = time.monotonic()
        model.fit(simulator, out=run, max_steps=epoch * steps, progress=progress)
        took = time.monotonic() - begun
        average = averaged(run, epoch, settings["average_decay"])
        candidates = {"last": model} if average is None else {"average": average}
        if epoch == epochs:
            candidates["last"] = model
        line = {"epoch": epoch, "step": epoch * steps, "ecgs": epoch * simulator.epoch_size,
                "train_seconds": round(took, 1),
                "val_loss": next((e["val_loss"] for e in reversed(model.history_) if "val_loss" in e), None)}
        if sources and (epoch % settings["measure_every"] == 0 or epoch == epochs):
            line["auc"] = {name: measure(candidate, sources) for name, candidate in candidates.items()}
            best = max(candidates, key=lambda name: score(line["auc"][name]))
            line["score"], line["weights"] = score(line["auc"][best]), best
            if line["score"] >= max((entry.get("score", 0) for entry in curve), default=0):
                candidates[best].save(os.path.join(run, CHOSEN))
                line["chosen"] = True
        elif not sources:
            next(iter(candidates.values())).save(os.path.join(run, CHOSEN))
            line["chosen"] = True
        curve.append(line)
        with writing(os.path.join(run, CURVE)) as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in curve).encode())
        print(told(line), flush=True)
    return curve


def averaged(run, epoch, decay):
    """The mean of the weights after epochs 1 to `epoch`, epoch k with weight decay^(epoch - k), or None without decay.

    With s_n = 1 + decay s_(n - 1), the sum of the weights:  mean_n = mean_(n - 1) + (w_n - mean_(n - 1)) / s_n.
    """
    if decay == 0:
        return None
    path = os.path.join(run, AVERAGE)
    mean = Checkpoint.read(path) if epoch > 1 else None
    if mean is None or mean.training["epoch"] != epoch:     # else it was done before an interruption
        last = Checkpoint.read(os.path.join(run, LAST))
        last.moments = None
        total = 1.0
        if mean is not None:
            if mean.training["epoch"] != epoch - 1:
                raise ValueError(f"{path} is of epoch {mean.training['epoch']}, expected {epoch - 1} or {epoch}")
            total += decay * mean.training["average_weight"]
            for kind in ("parameters", "statistics"):
                old = getattr(mean, kind)
                new = {name: old[name] + (value - old[name]) / total for name, value in getattr(last, kind).items()}
                setattr(last, kind, {name: value.astype("float32") for name, value in new.items()})
        last.training = {**last.training, "epoch": epoch, "average_decay": decay, "average_weight": total}
        last.write(path)
    return kmerl.load_model(path)


def read_curve(run):
    """The lines of curve.jsonl."""
    path = os.path.join(run, CURVE)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def told(line):
    """A line of the curve for people."""
    parts = [f"epoch {line['epoch']}: {line['ecgs']:,} ECGs, {line['train_seconds']:.0f} s"]
    if line["val_loss"] is not None:
        parts.append(f"validation loss {line['val_loss']:.4f}")
    for weights, aucs in line.get("auc", {}).items():
        parts.append(f"{weights}: " + "; ".join(f"{source} " + " ".join(f"{auc:.3f}" for auc in one.values())
                                                for source, one in aucs.items()))
    return ", ".join(parts) + (" *" if line.get("chosen") else "")


def plot(curve, path):
    """AUC against the number of simulated ECGs, for each source and lead set."""
    measured = [line for line in curve if "auc" in line]
    if not measured:
        return
    from matplotlib.figure import Figure

    weights = next(iter(measured[0]["auc"]))
    sources = measured[0]["auc"][weights]
    figure = Figure(figsize=(4.5 * len(sources), 3.6), layout="constrained")
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    for axes, (source, leads) in zip(panels, sources.items(), strict=True):
        for words in leads:
            axes.plot([line["ecgs"] for line in measured], [line["auc"][weights][source][words] for line in measured],
                      marker=".", label=words)
        axes.set(title=source, xlabel="simulated ECGs")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("macro AUC, zero-shot, real ECGs")
    panels[-1].legend(fontsize="small")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
