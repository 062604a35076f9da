"""A pretraining run: its folder, its progress, going on where it stopped (SPEC 7, docs/training.md)."""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import signal
import threading
import time
import warnings

import numpy as np

from . import _kmerl
from .batch import _core_corpus, check_rate
from .checkpoint import Checkpoint, Names
from .durable import FolderLock, made_folder, writing
from .progress import Progress
from .safetensors import remove_leftovers
from .simulator import COUNT, Simulator
from .store import Store
from .store_format import DATABASE
from .vocabulary import Vocabulary

LAST, BEST, LOG, CONFIG = "last.safetensors", "best.safetensors", "log.jsonl", "config.json"
SAVE_SECONDS = 600  # last.safetensors is never older than this, whatever an epoch takes


def fit(model, store, out, *, max_steps, nonfinite, progress):
    """See `KMERL.fit`."""
    if not isinstance(store, (Store, Simulator)):
        raise TypeError(f"store must be a kmerl.Store or a kmerl.Simulator, got {type(store).__name__}")
    if max_steps is not None and (isinstance(max_steps, bool) or not isinstance(max_steps, (int, np.integer))
                                  or max_steps < 1):
        raise ValueError(f"max_steps must be None or a whole number from 1, got {max_steps!r}")
    if nonfinite not in ("stop", "skip"):
        raise ValueError(f"nonfinite must be 'stop' or 'skip', got {nonfinite!r}")
    embeddings = store.embeddings
    config = model._configuration(embeddings.width)
    _check_pooling(config, embeddings)
    material = _simulated(store, config) if isinstance(store, Simulator) else _stored(store, config)

    with contextlib.ExitStack() as stack:
        if out is not None:
            out = made_folder(_checked_folder(out))
            stack.enter_context(FolderLock(out, "run"))
        run = Run(model, config, store.fingerprint(), material.vocabulary, out)
        last = run.find()
        # Nothing can be refused any more: only now the model forgets what it was.
        names = known(embeddings)
        model._begin(embeddings.width, material.vocabulary, names)
        model._know(material.vocabulary, names, embeddings.encoder)
        trainer = _kmerl.Trainer(model._core, material.source, material.train, material.validation,
                                 threads=model._threads(), skip_nonfinite=nonfinite == "skip")
        run.begin(trainer, last)
        run.train(trainer, max_steps, progress)


def known(embeddings):
    """Names for a model, of a store's or a simulator's embeddings."""
    return Names(list(embeddings.texts), np.asarray(embeddings.queries), np.asarray(embeddings.contrast))


# source: what the core draws batches from; train, validation: numbers in it, int64.
Material = collections.namedtuple("Material", "source train validation vocabulary")


def _stored(store, config):
    check_rate(config)
    split = {part: np.ascontiguousarray(indices, dtype=np.int64) for part, indices in store.split.items()}
    return Material(_core_corpus(store.corpus()), split["train"], split["validation"], store.vocabulary)


def _simulated(simulator, config):
    if simulator.fs != config.fs:
        raise ValueError(f"the simulator makes recordings at {simulator.fs:g} Hz, fs is {config.fs:g} Hz: they must "
                         "be the same")
    if config.epochs * simulator.epoch_size > COUNT - simulator.validation_size:
        raise ValueError(f"{config.epochs} epochs of {simulator.epoch_size} recordings and {simulator.validation_size} "
                         f"to validate on are more than the {COUNT} that a seed has")
    return Material(simulator._feed(), np.arange(simulator.epoch_size, dtype=np.int64),
                    np.arange(COUNT - simulator.validation_size, COUNT, dtype=np.int64), simulator.shown)


def _checked_folder(out):
    if not isinstance(out, (str, os.PathLike)) or not os.fspath(out) or "\0" in os.fspath(out):
        raise ValueError(f"out must be the path of a folder, got {out!r}")
    out = os.fspath(out)
    if os.path.exists(out) and not os.path.isdir(out):
        raise NotADirectoryError(f"out: {out!r} is a file, expected a folder")
    if os.path.exists(os.path.join(out, DATABASE)):
        raise ValueError(f"out: {out!r} is a store; a run needs a folder of its own")
    return out


def _check_pooling(config, embeddings):
    for name in ("report_pooling", "query_pooling"):
        made, wanted = getattr(embeddings, name), getattr(config, name)
        if made != wanted:
            raise ValueError(f"{name}={wanted!r}, but the store was embedded with {name}={made!r}: "
                             f"embed it again, or set {name}={made!r}")


class Interrupts:
    """Holds Ctrl-C back until a step and all that is written of it are done: a step without its line in the log, or a
    validation that never became the best, would make the resumed run another one.

    Inside ``with``, a signal is only noted; `release` and the end of ``with`` pass it on to the handler that was there
    before. Outside of the main thread, which alone gets signals, it does nothing."""

    def __enter__(self):
        self.noted = None
        self.handler = None
        if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self.handler = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number, frame):
        self.noted = number, frame

    def release(self):
        if self.noted is not None:
            noted, self.noted = self.noted, None
            self.handler(*noted)

    def __exit__(self, kind, error, traceback):
        if self.handler is not None:
            signal.signal(signal.SIGINT, self.handler)
            if kind is None:
                self.release()


class Run:
    """One run: the state beside the trainer's, and the files that hold both."""

    def __init__(self, model, config, fingerprint, vocabulary, out):
        self.model = model
        self.config = config
        self.vocabulary = vocabulary
        self.out = out
        self.log = None
        self.history = []
        self.training = {"store": fingerprint, "step": 0, "validated": 0, "epoch": 0, "val_loss": None,
                         "best_step": None, "best_val_loss": None, "nonfinite": 0}

    def path(self, name):
        return os.path.join(self.out, name)

    # ---- beginning, or going on ---------------------------------------------------------------------------------

    def find(self):
        """The checkpoint to go on from, or None; an error where the folder holds another run."""
        if self.out is None:
            return None
        if os.path.exists(self.path(LAST)):
            last = Checkpoint.read(self.path(LAST))
            self._compare(last)
            if last.moments is None:
                raise ValueError(f"{self.path(LAST)} lacks the optimiser's state: the run cannot go on")
            return last
        found = [name for name in (CONFIG, BEST, LOG) if os.path.exists(self.path(name))]
        if found:
            raise ValueError(f"out: {self.out!r} holds {', '.join(found)} of a run but no {LAST} to go on from: put it "
                             "back, or choose another folder")
        return None

    def begin(self, trainer, last):
        """Puts model and trainer where the checkpoint was, and the folder's files with them."""
        if self.out is None:
            return
        for name in (LAST, BEST):
            remove_leftovers(self.path(name))
        if last is not None:
            self.training.update(last.training)
            self.model._adopt(last)
            trainer.set_state(step=self.training["step"], validated=self.training["validated"],
                              passed=self.training["nonfinite"],
                              m={k: np.array(v) for k, v in last.moments["m"].items()},
                              v={k: np.array(v) for k, v in last.moments["v"].items()})
        else:
            self._save(trainer, LAST)       # first of all files: where there is another, there is this one
        with writing(self.path(CONFIG)) as file:
            file.write((json.dumps(json.loads(self.config.to_json()), indent=2, sort_keys=True) + "\n").encode())
        self._cut_log()

    def _compare(self, last):
        self._compare_config(last.config)
        other = self.vocabulary if last.vocabulary is None else Vocabulary.from_json(last.vocabulary)
        if other != self.vocabulary:
            raise ValueError(f"out: {self.out!r} holds a run with labels of vocabulary {other.label}, the store has "
                             f"{self.vocabulary.label}; choose another folder")
        if last.training.get("store") != self.training["store"]:
            raise ValueError(f"out: {self.out!r} holds a run on another store or simulator (or the store was labelled "
                             "or embedded anew since); choose another folder")

    def _compare_config(self, other):
        different = other.difference(self.config)
        if different:
            mine = {name: getattr(self.config, name) for name in different}
            theirs = {name: getattr(other, name) for name in different}
            raise ValueError(
                f"out: {self.out!r} holds a run of another configuration: "
                + "; ".join(f"{name} is {theirs[name]!r} there, {mine[name]!r} here" for name in different)
                + "; choose another folder"
            )

    def _cut_log(self):
        """Keeps the log's whole lines up to the step that the run goes on from."""
        kept = []
        if os.path.exists(self.path(LOG)):
            with open(self.path(LOG), encoding="utf-8") as file:
                for line in file:
                    with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
                        entry = json.loads(line)
                        validated = "val_loss" in entry
                        if entry["step"] <= self.training["validated" if validated else "step"]:
                            kept.append(entry)
        with writing(self.path(LOG)) as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in kept).encode())
        self.history = kept

    # ---- training -------------------------------------------------------------------------------------------------

    def train(self, trainer, max_steps, progress):
        """Runs to the end of the schedule, or max_steps; whatever stops it, the last state is kept."""
        state = trainer.state()
        steps = state["epoch_steps"] * self.model.config_.epochs
        until = steps if max_steps is None else min(int(max_steps), steps)
        self.saved = time.monotonic()
        with contextlib.ExitStack() as stack:
            interrupts = stack.enter_context(Interrupts())
            if self.out is not None:
                self.log = stack.enter_context(open(self.path(LOG), "a", encoding="utf-8"))
            bar = stack.enter_context(Progress(until, "pretrain", "steps", show=progress, initial=state["step"]))
            self.clock = time.monotonic()
            self.shown = {}

            def hook(event):
                if event["event"] == "step":
                    self._stepped(event)
                    bar.update(1, **self.shown)
                    if time.monotonic() - self.saved > SAVE_SECONDS:
                        self._save(trainer, LAST)
                elif event["event"] == "validation":
                    self._validated(trainer, event)
                    bar.update(0, **self.shown)
                elif time.monotonic() - self.clock > 2:     # a long validation says where it is
                    bar.update(0, **self.shown, validating=event["recordings"])
                interrupts.release()

            try:
                trainer.run(until, hook)
            finally:
                self.model.history_ = self.history
                self.model._forget_classes()
                self._save(trainer, LAST)
                if self.training["best_step"] is None:
                    self._save(trainer, BEST)       # no validation yet: the last state stands in
                self.model._training = dict(self.training)
            self._tell_nonfinite()

    def _tell_nonfinite(self):
        passed = self.training["nonfinite"]
        if passed:
            warnings.warn(f"{passed} of {self.training['step']} steps were no update, because a loss or gradient was "
                          "not finite: see nonfinite in history_", RuntimeWarning, stacklevel=5)

    def _write(self, entry):
        entry = {name: None if isinstance(value, float) and not math.isfinite(value) else value
                 for name, value in entry.items()}
        self.history.append(entry)
        if self.log is not None:
            self.log.write(json.dumps(entry, allow_nan=False) + "\n")
            self.log.flush()

    def _stepped(self, event):
        now = time.monotonic()
        rate = event["recordings"] / max(now - self.clock, 1e-9)
        self.clock = now
        self.training.update(step=event["step"], epoch=event["epoch"])
        entry = {name: event[name] for name in ("step", "epoch", "loss", "contrast", "unimodal", "query", "lr",
                                                "gradient_norm", "duplicates", "skipped", "repaired", "dropped")}
        if event["nonfinite"] is not None:
            entry |= {"nonfinite": event["nonfinite"], "recordings": event["indices"]}
            self.training["nonfinite"] += 1
        self._write({**entry, "samples_per_s": round(rate, 3)})
        self.shown.update(loss=f"{event['loss']:.4f}", samples_per_s=f"{rate:.1f}")

    def _validated(self, trainer, event):
        loss = event["loss"]
        self._write({"step": event["step"], "epoch": event["epoch"], "val_loss": loss,
                     "val_contrast": event["contrast"], "val_unimodal": event["unimodal"],
                     "val_query": event["query"], "skipped": event["skipped"]})
        self.shown.update(val_loss=f"{loss:.4f}")
        self.training.update(validated=event["step"], val_loss=loss if math.isfinite(loss) else None)
        best = self.training["best_val_loss"]
        if math.isfinite(loss) and (best is None or loss < best):
            self.training.update(best_step=event["step"], best_val_loss=loss)
            self._save(trainer, BEST)
        self._save(trainer, LAST)
        self.clock = time.monotonic()

    def _save(self, trainer, name):
        """last.safetensors holds the optimiser's state too; best.safetensors only what answers need."""
        if self.out is None:
            return
        moments = None
        if name == LAST:
            state = trainer.state()
            self.training.update(step=state["step"], validated=state["validated"], nonfinite=state["passed"])
            moments = {"m": state["m"], "v": state["v"]}
            self.saved = time.monotonic()
        if self.log is not None:
            os.fsync(self.log.fileno())     # a checkpoint is never ahead of its log
        self.model._checkpoint(dict(self.training), moments).write(self.path(name))
