"""Recordings a second into a store, per core, against the loop that one writes otherwise.

    python benchmarks/bench_import.py [--records 512] [--rounds 5]

Both sides read the same WFDB records (format 16, 12 leads, 10 s) at 500 Hz and at 100 Hz, in one process, and count
its CPU seconds. The peers' loop: wfdb.rdsamp, scipy.signal.resample_poly where the rate is not 500 Hz, mean and
deviation by NumPy, float32 into one array. kmerl's: Store.create, which also checks, names leads, stores the reports
and makes it durable.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

import kmerl  # noqa: E402


def write_records(folder, count, fs, wfdb):
    """`count` records of noise with a heartbeat's bandwidth; paths without extension."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        signal = np.cumsum(rng.standard_normal((10 * fs, 12)), axis=0)
        signal = 0.5 * (signal - signal.mean(0)) / signal.std(0)
        name = f"r{fs}_{i:05d}"
        wfdb.wrsamp(name, fs, ["mV"] * 12, list(kmerl.leads.LEADS), signal, fmt=["16"] * 12, write_dir=folder)
        paths.append(os.path.join(folder, name))
    return paths


def peers(paths, wfdb, resample_poly):
    out = np.empty((len(paths), 12, 5000), np.float32)
    for i, path in enumerate(paths):
        signal, fields = wfdb.rdsamp(path)
        if fields["fs"] != 500:
            signal = resample_poly(signal, 500, fields["fs"], axis=0)
        out[i] = ((signal - signal.mean()) / (signal.std() + 1e-6)).T
    return out


def cpu_seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(fs, target, given, wfdb, resample_poly):
    with tempfile.TemporaryDirectory() as folder:
        paths = write_records(folder, given.records, fs, wfdb)
        rates = [], []
        for r in range(given.rounds):
            store = os.path.join(folder, f"store{r}")
            ours = cpu_seconds(lambda store=store: kmerl.Store.create(store, paths, progress=False))
            theirs = cpu_seconds(lambda: peers(paths, wfdb, resample_poly))
            rates[0].append(len(paths) / ours)
            rates[1].append(len(paths) / theirs)
    ratios = [a / b for a, b in zip(*rates, strict=True)]
    ratio = statistics.median(rates[0]) / statistics.median(rates[1])
    print(f"store  {fs} Hz  kmerl {statistics.median(rates[0]):7.0f}/s  wfdb, SciPy, NumPy {statistics.median(rates[1]):7.0f}/s"
          f"  ratio {ratio:5.2f} ({min(ratios):.2f} to {max(ratios):.2f})  target {target}: "
          f"{'met' if ratio >= target else 'missed'}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    try:
        import wfdb
        from scipy.signal import resample_poly
    except ImportError as error:
        sys.exit(f"bench_import needs wfdb and SciPy: {error}")
    compare(500, 20, given, wfdb, resample_poly)
    compare(100, 8, given, wfdb, resample_poly)


if __name__ == "__main__":
    main()
