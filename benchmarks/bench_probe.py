"""Time of a linear probe against the same loop in PyTorch: forward, BCE, backward, fused AdamW, validation.

    python benchmarks/bench_probe.py [--recordings 20000] [--validation 2000] [--width 192] [--classes 38]
                                     [--epochs 100] [--rounds 3] [--threads 1]

Batch 16 on both sides, the same features, outcomes and learning rates. Each epoch ends with the validation's macro
AUROC, by kmerl's own metric on both sides. Processor seconds, which mean the same on a busy machine, where there is
one thread; the clock's otherwise. Rounds alternate; printed are medians, the ratio of the two, and the smallest and
largest ratio within one round.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from kmerl import _kmerl, metrics

BATCH, WARMUP, LR = 16, 5, 1e-3


def in_c(train, validation, epochs, threads):
    nothing = train[0][:0], train[1][:0]
    found = _kmerl.probe_fit(*train, *validation, *nothing, seeds=np.zeros(1, np.uint64), epochs=epochs, batch_size=BATCH,
                             warmup_steps=WARMUP, lr=LR, beta1=0.9, beta2=0.999, eps=1e-8, threads=threads,
                             hook=lambda done: None)  # fmt: skip
    return found[3][0].max()


def in_torch(train, validation, epochs, threads):
    torch.set_num_threads(threads)
    x, y = (torch.from_numpy(a.astype(np.float32)) for a in train)
    held = torch.from_numpy(validation[0])
    layer = torch.nn.Linear(x.shape[1], y.shape[1])
    optimiser = torch.optim.AdamW(layer.parameters(), lr=LR, weight_decay=0, fused=True)
    loss_of = torch.nn.BCEWithLogitsLoss()
    total, step, best = epochs * -(-len(x) // BATCH), 0, 0.0
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            cosine = (1 + np.cos(np.pi * (step - WARMUP) / (total - WARMUP))) / 2
            optimiser.param_groups[0]["lr"] = LR * ((step + 1) / WARMUP if step < WARMUP else cosine)
            loss = loss_of(layer(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
        with torch.no_grad():
            best = max(best, metrics.roc_auc_score(validation[1], layer(held).numpy()))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("recordings", 20_000), ("validation", 2_000), ("width", 192), ("classes", 38),
                        ("epochs", 100), ("rounds", 3), ("threads", 1)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(arguments.width, arguments.classes))

    def part(n):
        x = rng.standard_normal((n, arguments.width), np.float32)
        return x, (x @ truth + 20 * rng.normal(size=(n, arguments.classes)) > 30).astype(np.uint8)

    train, validation = part(arguments.recordings), part(arguments.validation)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    times = {in_c: [], in_torch: []}
    for i in range(arguments.rounds):
        for side in (in_c, in_torch) if i % 2 == 0 else (in_torch, in_c):
            begun = clock()
            best = side(train, validation, arguments.epochs, arguments.threads)
            times[side].append(clock() - begun)
            print(f"{side.__name__:<8} {times[side][-1]:7.2f} s   best macro AUROC {best:.4f}", flush=True)
    ratios = [t / c for c, t in zip(times[in_c], times[in_torch], strict=True)]
    c, t = (statistics.median(times[side]) for side in (in_c, in_torch))
    print(
        f"{arguments.recordings:,} recordings, width {arguments.width}, {arguments.classes} classes, {arguments.epochs} "
        f"epochs, {arguments.threads} thread: kmerl {c:.2f} s, PyTorch {t:.2f} s: "
        f"{t / c:.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f})"
    )


if __name__ == "__main__":
    main()
