"""How many simulated recordings a second and thread: 10 s, 12 leads, 500 Hz, and labels and reports alone.

    python benchmarks/bench_simulate.py [recordings]
"""

import sys
import time

from kmerl.simulator import CHUNK, Simulator


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    simulator = Simulator(seed=1, threads=1)
    for what, run in (
        ("signals, labels, reports", lambda chunk: simulator.records(chunk)),
        ("labels and reports alone", lambda chunk: simulator.reports(chunk)),
    ):
        wall, cpu = time.perf_counter(), time.process_time()
        for start in range(0, count, CHUNK):
            run(range(start, min(start + CHUNK, count)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{what}: {count / wall:,.0f} recordings/s by the clock, {count / cpu:,.0f} by processor time")


if __name__ == "__main__":
    main()
