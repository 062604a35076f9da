"""Cycles of build, label, embed, train, resume, predict, evaluate and simulate, for as long as is asked; memory and
open files must not grow: ``python tests/reliability/soak.py MINUTES``.

Each cycle's resident memory (MB) and open files are kept; after the first quarter (at least three cycles), in which
caches fill, a line is fitted through what is left. It fails where memory grows by more than 2 % of itself from the
line's beginning to its end and the growth is three times its standard error, or where files grow at all.
"""

import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from small import TINY, make_store  # noqa: E402

import kmerl  # noqa: E402


def resident():
    """Resident memory of this process, MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def files():
    return len(os.listdir("/proc/self/fd"))


def cycle(folder):
    """One life of a model; what it answers, which must be the same each time."""
    with make_store(folder / "store", 16) as store:
        kmerl.KMERL(**TINY).fit(store, out=folder / "run", max_steps=3, progress=False)
        model = kmerl.KMERL(**TINY).fit(store, out=folder / "run", max_steps=6, progress=False)
        records = store[:8]
    model.save(folder / "model.safetensors")
    model = kmerl.load_model(folder / "model.safetensors")
    classes = ["sinus rhythm", "atrial fibrillation", "left bundle branch block"]
    p = model.predict_proba(records, classes)
    model.attend(records[0], classes[0])
    kmerl.metrics.bootstrap(p[:, 0] > np.median(p[:, 0]), p[:, 0], n=200)
    kmerl.extract([record.report for record in records])
    simulated = kmerl.simulate(4, seed=1)
    z = model.encode(simulated)
    for wrong in (lambda: model.predict_proba(records, ["no such class"]),
                  lambda: model.predict_proba(np.zeros((2, 3)), classes, leads=["I", "II"], fs=500),
                  lambda: kmerl.load_model(folder / "store" / "lock")):
        try:
            wrong()
        except (ValueError, OSError):
            pass
        else:
            raise AssertionError("bad input was taken")
    return p.tobytes() + z.tobytes()


def slope(values):
    """Growth over the whole series by a fitted line, and its standard error."""
    x = np.linspace(0, 1, len(values))
    (a, b), covariance = np.polyfit(x, values, 1, cov=True)
    return a, covariance[0, 0] ** 0.5, b


def verdict(memory, handles):
    """What grew, in words; empty where nothing did."""
    skip = max(3, len(memory) // 4)
    if len(memory) - skip < 4:
        raise SystemExit(f"soak: only {len(memory)} cycles were done, 7 are needed: give it more minutes")
    grown, error, base = slope(memory[skip:])
    faults = []
    if grown > 0.02 * base and grown > 3 * error:
        faults.append(f"memory grew by {grown:.1f} MB (standard error {error:.1f}) from {base:.1f} MB")
    if handles[-1] > handles[skip]:
        faults.append(f"open files grew from {handles[skip]} to {handles[-1]}")
    print(f"soak: {len(memory)} cycles, memory {memory[0]:.1f} MB after the first, {memory[skip]:.1f} after the "
          f"{skip + 1}th, {memory[-1]:.1f} after the last, at most {max(memory):.1f}; growth by the fitted line "
          f"{grown:+.2f} MB, standard error {error:.2f}; open files {handles[skip]} to {handles[-1]}")
    return faults


def main(minutes):
    begun, memory, handles, first = time.monotonic(), [], [], None
    while time.monotonic() - begun < 60 * minutes or len(memory) < 7:
        with tempfile.TemporaryDirectory() as folder:
            answer = cycle(Path(folder))
        first = first or answer
        if answer != first:
            raise SystemExit(f"soak: cycle {len(memory)} answered differently from the first")
        gc.collect()
        memory.append(resident())
        handles.append(files())
        if os.environ.get("SOAK_LOG"):
            with open(os.environ["SOAK_LOG"], "a") as log:
                log.write(json.dumps([round(time.monotonic() - begun, 1), memory[-1], handles[-1]]) + "\n")
    faults = verdict(memory, handles)
    if faults:
        raise SystemExit("soak: " + "; ".join(faults))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20)
