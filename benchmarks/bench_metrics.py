"""Time of the patient bootstrap: 1,000 resamples of 20,000 recordings by 38 classes, each metric.

    python benchmarks/bench_metrics.py
"""

import time

import numpy as np

from kmerl import metrics

N, CLASSES, PATIENTS, RESAMPLES = 20_000, 38, 15_000, 1_000


def main():
    rng = np.random.default_rng(0)
    y = rng.random((N, CLASSES)) < 0.05
    p = rng.random((N, CLASSES))
    patients = rng.integers(0, PATIENTS, N)
    for metric in metrics.METRICS:
        threshold = 0.5 if metric == "f1" else None
        begun = time.perf_counter()
        metrics.bootstrap(y, p, groups=patients, n=RESAMPLES, metric=metric, threshold=threshold)
        print(f"{metric:<28} {time.perf_counter() - begun:6.2f} s")


if __name__ == "__main__":
    main()
