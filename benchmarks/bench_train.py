"""Training and zero-shot inference of ViT-tiny: samples/s against the same step in PyTorch eager, float32.

    python benchmarks/bench_train.py [--model kmerl] [--batch 16 64] [--threads 1 2] [--rounds 7]
                                     [--memory-batch 512] [--cpu-time]

Training: masks given (1 to 3 visible leads, 37 of 50 segments each), forward, both losses, backward, AdamW;
277 entities. Inference: 12 leads, 50 segments each, 277 classes, batch 8. Both sides get the same arrays and
parameters. PyTorch's side is tests/parity/reference.py: a padded batch with a key-padding mask,
`scaled_dot_product_attention`, the fused AdamW; padding the batch is not counted. The part of the query
network that does not see the ECG is computed once a step on both sides.

--model merl-vit or merl-resnet: the baselines of SPEC 10 in place of it, on twelve whole leads, without dropout.

Each side runs in a process of its own. Rounds alternate, each side first in every other one; what is printed
is the median of the rounds, the ratio of the two medians, and the smallest and largest ratio within one
round. On a busy machine --cpu-time counts the processor's seconds instead of the clock's, which means
something for one thread only.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "parity")]

import model_cases  # noqa: E402

TEXT_WIDTH, ENTITIES = 768, 277


MERL = dict(
    tokenisation=1, lead_embedding=0, segment_samples=50, unimodal_weight=1.0, unimodal_dropout=0.0, query_weight=0.0
)
MODELS = {
    "kmerl": {},
    "merl-vit": dict(MERL, token_bias=1, final_norm=1),
    "merl-resnet": dict(
        MERL, encoder=1, width=512, depth=0, heads=0, mlp_width=0, temporal_embedding=0, projection_norm=2
    ),
}


def model():
    """Which of MODELS the workers run."""
    return os.environ.get("KMERL_BENCH_MODEL", "kmerl")


def make_batch(config, B, visible, kept, seed=0):
    """B recordings of as many visible leads as the cycle `visible` says, `kept` of the segments each."""
    rng = np.random.default_rng(seed)
    segments = round(config["fs"] * config["seconds"]) // config["segment_samples"]
    lead, segment, offset = [], [], [0]
    for b in range(B):
        for name in np.sort(rng.choice(12, visible[b % len(visible)], replace=False)):
            lead += [name] * kept
            segment += list(np.sort(rng.choice(segments, kept, replace=False)))
        offset.append(len(lead))

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    return dict(
        patches=normal(len(lead), config["segment_samples"]),
        lead=np.array(lead, np.int32),
        segment=np.array(segment, np.int32),
        offset=np.array(offset, np.int32),
        report=normal(B, TEXT_WIDTH),
        report_id=np.arange(B),
        labels=(rng.random((B, ENTITIES)) < 0.05).astype(np.float32),
        entities=normal(ENTITIES, TEXT_WIDTH),
    )


def whole_batch(config, B, seed=0):
    """B recordings of twelve leads, every segment."""
    batch = make_batch(dict(config, segment_samples=12 * 50), B, (1,), 8, seed)
    rng, M = np.random.default_rng(seed), round(config["fs"] * config["seconds"]) // 50
    return dict(
        batch,
        patches=rng.standard_normal((B * M, 12 * 50), np.float32),
        lead=np.zeros(B * M, np.int32),
        segment=np.tile(np.arange(M, dtype=np.int32), B),
        offset=M * np.arange(B + 1, dtype=np.int32),
    )


def problem(task, B):
    config = dict(model_cases.DEFAULTS, text_width=TEXT_WIDTH, **MODELS[model()])
    values = {name: x.astype(np.float32) for name, x in model_cases.parameters(config).items()}
    running = {name: x.astype(np.float32) for name, x in model_cases.statistics(config).items()}
    if model() != "kmerl":
        batch = whole_batch(config, B)
    else:
        batch = make_batch(config, B, (1, 2, 3), 37) if task == "train" else make_batch(config, B, (12,), 50)
    return config, values, running, batch


def kmerl_step(task, B, threads):
    """A function that does one step with kmerl."""
    from kmerl import _kmerl as core

    config, values, running, batch = problem(task, B)
    model = core.Model(config)
    model.set_parameters(values)
    model.set_statistics(running)
    optimiser = core.Optimiser(model)
    if task == "train":
        return lambda: optimiser.step(batch, 1e-5, threads=threads)
    return lambda: model_cases.forward(model, batch, threads)


def torch_step(task, B, threads):
    """A function that does one step with PyTorch."""
    import torch
    from reference import Reference, pad

    torch.set_num_threads(threads)
    config, values, running, batch = problem(task, B)
    model, batch = Reference(config, values, running, torch.float32), pad(batch, torch.float32)
    optimiser = torch.optim.AdamW(list(model.weights.values()), lr=1e-5, weight_decay=1e-5, fused=True)

    def train():
        optimiser.zero_grad(set_to_none=True)
        model.losses(batch)["total"].backward()
        optimiser.step()

    def infer():
        with torch.inference_mode():
            model.forward(batch)

    return train if task == "train" else infer


def work(side, task, B, threads):
    """The worker's loop: a number of steps comes in on stdin, the seconds they took go out."""
    step = {"kmerl": kmerl_step, "torch": torch_step}[side](task, B, threads)
    for line in sys.stdin:
        clock = time.process_time if os.environ.get("KMERL_BENCH_CPU_TIME") else time.perf_counter
        start = clock()
        for _ in range(int(line)):
            step()
        seconds = clock() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
        print(json.dumps([seconds, peak]), flush=True)


class Worker:
    """One side in a process of its own."""

    def __init__(self, side, task, B, threads):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
        environment["OMP_NUM_THREADS"] = str(threads)
        command = [sys.executable, __file__, "--worker", side, task, str(B), str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.peak = 0.0

    def run(self, steps):
        """Seconds of so many steps."""
        print(steps, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the worker died; its message is above")
        seconds, self.peak = json.loads(line)
        return seconds

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def label(task, B, threads):
    return f"{model():11} {task:6} batch {B:3}  {threads} thread{'s' if threads > 1 else ' '}"


def compare(task, B, threads, rounds, seconds):
    """Prints one line: samples/s of both sides and their ratio."""
    sides = {"kmerl": Worker("kmerl", task, B, threads), "torch": Worker("torch", task, B, threads)}
    steps = {}
    for side, worker in sides.items():
        worker.run(1)
        steps[side] = max(1, round(seconds / worker.run(1)))
    rates = {side: [] for side in sides}
    for r in range(rounds):
        for side in sorted(sides, reverse=r % 2):
            rates[side].append(B * steps[side] / sides[side].run(steps[side]))
    for worker in sides.values():
        worker.close()
    ours, theirs = (statistics.median(rates[side]) for side in ("kmerl", "torch"))
    ratios = [a / b for a, b in zip(rates["kmerl"], rates["torch"], strict=True)]
    print(
        f"{label(task, B, threads)}  kmerl {ours:7.1f}/s  PyTorch {theirs:7.1f}/s  "
        f"ratio {ours / theirs:.2f} ({min(ratios):.2f} to {max(ratios):.2f})  "
        f"peak memory {sides['kmerl'].peak:.0f} and {sides['torch'].peak:.0f} MiB",
        flush=True,
    )


def alone(task, B, threads, rounds, seconds):
    """Prints samples/s of kmerl where PyTorch is not installed."""
    worker = Worker("kmerl", task, B, threads)
    worker.run(1)
    steps = max(1, round(seconds / worker.run(1)))
    rates = [B * steps / worker.run(steps) for _ in range(rounds)]
    worker.close()
    print(
        f"{label(task, B, threads)}  kmerl {statistics.median(rates):7.1f}/s "
        f"({min(rates):.1f} to {max(rates):.1f})  peak memory {worker.peak:.0f} MiB",
        flush=True,
    )


def memory(B, threads):
    worker = Worker("kmerl", "train", B, threads)
    worker.run(2)
    worker.close()
    print(
        f"{label('train', B, threads)}  kmerl's peak memory {worker.peak:.0f} MiB (the whole process)",
        flush=True,
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=MODELS, help="default: kmerl")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=None, help="default: 1 and all processors")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a side runs in a round")
    parser.add_argument("--memory-batch", type=int, default=512, help="0: no measurement of memory")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds; one thread only")
    given = parser.parse_args(arguments)
    if given.model:
        os.environ["KMERL_BENCH_MODEL"] = given.model  # for the workers
    if given.cpu_time:
        os.environ["KMERL_BENCH_CPU_TIME"] = "1"  # for the workers
        given.threads = [1]
    if given.worker:
        side, task, B, threads = given.worker
        return work(side, task, int(B), int(threads))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        import torch

        print(f"PyTorch {torch.__version__}, {processors} processors, float32")
        measure = compare
    except ImportError:
        print("PyTorch is not installed (pip install torch): kmerl alone")
        measure = alone
    for threads in given.threads or sorted({1, processors}):
        for B in given.batch:
            measure("train", B, threads, given.rounds, given.seconds)
        measure("infer", 8, threads, given.rounds, given.seconds)
    if given.memory_batch:
        memory(given.memory_batch, processors)


if __name__ == "__main__":
    main()
