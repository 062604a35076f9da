"""Whether costs grow as they should: `python benchmarks/bench_scale.py [--counts 100 50000] [--rounds 5]`.

    flat      building a store and training on it, a recording, in a small store and in a large one
    leads     features of a 12-lead recording against what its tokens predict from those of a 1-lead one
    reading   how much of a training step is reading the batch from the store
    memory    importing kmerl, loading kmerl-tiny and answering one recording, at the peak

One thread, CPU seconds, what is compared in alternating rounds; medians, and the smallest and largest ratio of a round.
The stores are made up: noise, two leads of 10 s, a fifth of the reports new. Training is by differences: a fit of many
steps less one of few, so that what is done once (printed apart) is in neither.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from bench_store import records  # noqa: E402
from small import TINY, HashEncoder  # noqa: E402

import kmerl  # noqa: E402


def cpu_seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def compared(one, other, rounds):
    """Medians of two functions' results in alternating rounds, and the ratios other / one of the rounds."""
    pairs = [(one(), other()) if r % 2 == 0 else (other(), one())[::-1] for r in range(rounds)]
    return *(statistics.median(p) for p in zip(*pairs, strict=True)), sorted(b / a for a, b in pairs)


def verdict(value, target):
    return f"target {target:g}: {'met' if value <= target else 'missed'}"


def make_store(path, count, leads):
    """A store of made-up recordings to train on, all of them; CPU seconds a recording that building it takes."""
    made = cpu_seconds(lambda: list(zip(records(count, leads, 10), range(count), strict=True)))
    built = cpu_seconds(
        lambda: kmerl.Store.create(path, records(count, leads, 10), validation=0, progress=False)
    )
    store = kmerl.Store.open(path)
    store.label(kmerl.Vocabulary.default(), progress=False)
    store.embed(HashEncoder(), progress=False)
    return store, (built - made) / count


def step_seconds(store, options, few, many):
    """CPU seconds of a training step, and of all that is done once."""
    model = kmerl.KMERL(**{**options, "epochs": 10_000})
    short = cpu_seconds(lambda: model.fit(store, max_steps=few, progress=False))
    long = cpu_seconds(lambda: model.fit(store, max_steps=many, progress=False))
    step = (long - short) / (many - few)
    return step, short - few * step


def flat(counts, rounds, folder):
    options = {**TINY, "batch_size": 64}
    stores = {}
    for count in counts:
        stores[count], built = make_store(os.path.join(folder, f"flat{count}"), count, 2)
        print(f"flat     {count:6,} recordings: building {1e3 * built:.2f} ms each", flush=True)
    once = {}

    def training(count):
        step, once[count] = step_seconds(stores[count], options, 2, 12)
        return step / 64

    small, large, ratios = compared(lambda: training(counts[0]), lambda: training(counts[-1]), rounds)
    print(f"flat     training, a small model: {1e3 * small:.3f} ms a sample of {counts[0]:,}, {1e3 * large:.3f} of "
          f"{counts[-1]:,}, ratio {large / small:.3f} ({ratios[0]:.2f} to {ratios[-1]:.2f})  "
          f"{verdict(large / small, 1.1)}; once a fit: {1e3 * once[counts[0]]:.0f} and {1e3 * once[counts[-1]]:.0f} ms",
          flush=True)


def encoder_operations(c, leads):
    """Multiplications and additions of an encoder's products for one recording: what its tokens predict."""
    T = leads * (round(c.fs * c.seconds) // c.segment_samples)
    token = 2 * c.segment_samples * c.width + c.depth * (8 * c.width**2 + 4 * c.width * c.mlp_width)
    return T * token + c.depth * 4 * T * T * c.width


def leads(rounds):
    model = kmerl.KMERL()
    model.initialize(24)
    rng = np.random.default_rng(0)
    one = rng.standard_normal((12, 1, 5000), np.float32)
    twelve = rng.standard_normal((1, 12, 5000), np.float32)

    def encode(x):
        names = kmerl.leads.LEADS[: x.shape[1]]
        return cpu_seconds(lambda: model.encode(x, leads=names, fs=500)) / len(x)

    encode(one), encode(twelve)
    a, b, ratios = compared(lambda: encode(one), lambda: encode(twelve), rounds)
    c = model.config_
    predicted = encoder_operations(c, 12) / encoder_operations(c, 1)
    print(f"leads    features: 1 lead {1e3 * a:.2f} ms, 12 leads {1e3 * b:.2f} ms: {b / a:.2f} times (12 times the tokens,"
          f" {predicted:.2f} times the operations); over the prediction {b / a / predicted:.3f} "
          f"({ratios[0] / predicted:.2f} to {ratios[-1] / predicted:.2f})  {verdict(b / a / predicted, 1.1)}", flush=True)


def reading(rounds, folder):
    store, _ = make_store(os.path.join(folder, "reading"), 256, 12)
    rng = np.random.default_rng(0)
    for name, options in (("ViT-tiny, bf16", {"precision": "bf16", "batch_size": 16}),
                          ("a small model", {**TINY, "batch_size": 64})):
        config, size = kmerl.Config(**options), options["batch_size"]

        def read(config=config, size=size):
            indices = rng.integers(0, len(store), size)
            return cpu_seconds(lambda: kmerl.sample_batch(store, indices, config=config, threads=1))

        read()
        a, b, ratios = compared(lambda options=options: step_seconds(store, options, 1, 3)[0], read, rounds)
        print(f"reading  {name}: {1e3 * b:.2f} ms of a step of {1e3 * a:.0f} ms, batch {size}: {100 * b / a:.2f} % "
              f"({100 * ratios[0]:.2f} to {100 * ratios[-1]:.2f})", flush=True)


ANSWER = """
import resource, sys
import numpy
import kmerl
model = kmerl.load_model("kmerl-tiny")
signal = numpy.random.default_rng(0).normal(0, 0.5, (12, 5000)).astype(numpy.float32)
model.predict_proba(kmerl.Record(signal, 500, kmerl.leads.LEADS), ["normal ECG", "atrial fibrillation"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def memory():
    # Through a shell of its own: where memory is shared with the parent until exec, Linux counts the parent's peak.
    command = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, ANSWER]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    peak = float(run.stdout)
    print(f"memory   answer one recording, from import on: {peak:.0f} MiB  {verdict(peak, 150)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs=2, default=[100, 50_000], metavar=("SMALL", "LARGE"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to build the stores (removed afterwards); 20 KB a recording")
    given = parser.parse_args()
    memory()
    leads(given.rounds)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        reading(given.rounds, folder)
        flat(given.counts, given.rounds, folder)


if __name__ == "__main__":
    main()
