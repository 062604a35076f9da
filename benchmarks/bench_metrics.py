"""Time of the patient bootstrap: 1,000 resamples of 20,000 recordings by 38 classes, each metric, and two models.

    python benchmarks/bench_metrics.py

Processor seconds are the sum over threads: on a machine that does nothing else, the time it takes is about that
divided by the cores.
"""

import time

import numpy as np

from kmerl import metrics

N, CLASSES, PATIENTS, RESAMPLES = 20_000, 38, 15_000, 1_000


def main():
    rng = np.random.default_rng(0)
    y = rng.random((N, CLASSES)) < 0.05
    first, second = rng.random((2, N, CLASSES))
    options = {"groups": rng.integers(0, PATIENTS, N), "n": RESAMPLES}
    print(f"{'':<28} {'elapsed':>9} {'processor':>10}")
    for metric in metrics.METRICS:
        threshold = 0.5 if metric == "f1" else None
        _timed(metric, metrics.bootstrap, y, first, metric=metric, threshold=threshold, **options)
    _timed("two models, roc_auc", metrics.paired_bootstrap, y, first, second, **options)


def _timed(name, function, *arguments, **options):
    begun, used = time.perf_counter(), time.process_time()
    function(*arguments, **options)
    print(f"{name:<28} {time.perf_counter() - begun:7.2f} s {time.process_time() - used:8.2f} s")


if __name__ == "__main__":
    main()
