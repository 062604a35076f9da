"""What a recording costs in the store, and whether that grows: `python benchmarks/bench_store.py`.

For each number of recordings a fresh process builds a store of made-up recordings (12 leads, 10 s, made as
they are asked for; a fifth of the reports is new, five recordings a patient), another opens it and reads
recordings at random. Printed: milliseconds a recording, the time to open, the largest resident memory of each
process, the size of the database."""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

import kmerl


def records(count, leads, seconds):
    """Noise, made fast: windows of one array."""
    samples = round(500 * seconds)
    noise = np.random.default_rng(0).normal(0, 0.5, (leads, samples + 9973)).astype(np.float32)
    for i in range(count):
        shift = i % 9973
        yield kmerl.Record(
            noise[:, shift : shift + samples],
            fs=500,
            leads=kmerl.leads.LEADS[:leads],
            name=f"r{i:07d}",
            report=f"sinus rhythm. rate {60 + i % 40}. report {i // 5}"
            if i % 5 == 0
            else "sinus rhythm. normal ecg.",
            patient=f"p{i // 5}",
        )


def clocks():
    """Seconds on the wall, and of this process's work."""
    return np.array([time.perf_counter(), time.process_time()])


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(path, count, leads, seconds):
    started = clocks()
    for _ in records(count, leads, seconds):
        pass
    making = clocks() - started
    started = clocks()
    kmerl.Store.create(path, records(count, leads, seconds), progress=False)
    ms, cpu = 1e3 * (clocks() - started - making) / count
    print(json.dumps({"ms": ms, "cpu": cpu, "peak": peak_mb()}))


def read(path, reads):
    started = time.perf_counter()
    store = kmerl.Store.open(path)
    opened = time.perf_counter() - started
    indices = np.random.default_rng(0).integers(0, len(store), reads)
    started = clocks()
    for i in indices:
        store[i]
    ms, cpu = 1e3 * (clocks() - started) / reads
    print(json.dumps({"ms": ms, "cpu": cpu, "peak": peak_mb(), "open": 1e3 * opened}))


def child(*arguments):
    run = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(run.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--leads", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--folder", help="where to build (removed afterwards); 120 KB a recording")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, path = options.child
        if what == "build":
            build(path, options.counts[0], options.leads, options.seconds)
        else:
            read(path, options.reads)
        return

    print(f"{options.leads} leads of {options.seconds:g} s, {options.reads} random reads")
    print("                   build                         read at random")
    print("recordings      ms  cpu ms  peak MB   open ms      ms  cpu ms  peak MB   database MB   total MB")
    for count in options.counts:
        folder = tempfile.mkdtemp(dir=options.folder, prefix="bench_store_")
        try:
            path = os.path.join(folder, "store")
            shape = ["--leads", options.leads, "--seconds", options.seconds, "--reads", options.reads]
            built = child("--child", "build", path, "--counts", count, *shape)
            got = child("--child", "read", path, *shape)
            database = os.path.getsize(os.path.join(path, "store.sqlite")) / 1e6
            total = sum(entry.stat().st_size for entry in os.scandir(path)) / 1e6
            print(
                f"{count:10,} {built['ms']:7.2f} {built['cpu']:7.2f} {built['peak']:8.0f} {got['open']:9.1f} "
                f"{got['ms']:7.3f} {got['cpu']:7.3f} {got['peak']:8.0f} {database:13.1f} {total:10.0f}",
                flush=True,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
