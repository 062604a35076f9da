"""Cycles of build, label, embed, train, resume, predict, evaluate and simulate, for as long as is asked; memory and
open files must not grow: ``python tests/reliability/soak.py MINUTES``.

Each cycle's resident memory (MB) and open files are kept. Of what follows the first quarter, in which caches fill, the
least memory of each half is compared: what the C library holds back for later comes and goes by 10 MB, what leaks does
not go. It fails where that floor rises by more than 2 %, or where files grow at all.
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

LEAST = 16      # cycles, however little time is given: fewer tell a floor from chance too seldom


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


def verdict(memory, handles):
    """What grew, in words; empty where nothing did."""
    skip = len(memory) // 4
    half = (skip + len(memory)) // 2
    before, after = min(memory[skip:half]), min(memory[half:])
    faults = []
    if after > 1.02 * before:
        faults.append(f"memory grew from {before:.1f} MB to {after:.1f} MB")
    if handles[-1] > handles[skip]:
        faults.append(f"open files grew from {handles[skip]} to {handles[-1]}")
    print(f"soak: {len(memory)} cycles, memory {memory[0]:.1f} MB after the first, at least {before:.1f} after the "
          f"{skip + 1}th to {half}th, at least {after:.1f} in the rest, at most {max(memory):.1f}; open files "
          f"{handles[skip]} to {handles[-1]}")
    return faults


def main(minutes):
    begun, memory, handles, first = time.monotonic(), [], [], None
    while time.monotonic() - begun < 60 * minutes or len(memory) < LEAST:
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
