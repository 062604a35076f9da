"""Training and zero-shot answers of ViT-tiny against the same work in PyTorch: the table of docs/performance.md.

    python benchmarks/bench_train.py [--model kmerl] [--only infer] [--rounds 5] [--seconds 1.5] [--cpu-time] [--compile]

Training: masks given (1 to 3 visible leads, 37 of 50 segments each), forward, both losses, backward, AdamW;
277 entities. infer: 12 leads, 50 segments each, 277 classes, batch 8. answer: one recording of 12 leads, 5 classes,
one thread. Both sides get the same arrays and parameters. PyTorch's side is tests/parity/reference.py: a padded batch
with a key-padding mask, `scaled_dot_product_attention`, the fused AdamW; padding the batch is not counted. bf16 there
is `torch.autocast`, in inference that or weights in bfloat16, whichever is faster; --compile tries `torch.compile` too
(minutes). The part of the query network that does not see the ECG is computed once a step on both sides.

--model merl-vit or merl-resnet: the baselines of SPEC 10 in place of it, on twelve whole leads, without dropout; of
training and inference alone, without targets and share of the peak.

Each side runs in a process of its own. Rounds alternate, each side first in every other one; what is printed is the
median of the rounds, the ratio of the two medians, and the smallest and largest ratio within one round. `peak`: useful
operations a second (counted from the model, without padding and without what is computed twice) as a share of the
fastest product of the built-in kernels, measured at the start. On a busy machine --cpu-time counts the processor's
seconds instead of the clock's, which means something for one thread only.
"""

import argparse
import ctypes
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

TEXT_WIDTH = 768
# What a side is asked for: recordings, visible leads in turn, segments of each, classes.
TASKS = {"train": ((1, 2, 3), 37, 277), "infer": ((12,), 50, 277), "answer": ((12,), 50, 5)}
PRECISIONS = ("float32", "bf16")
AVX2 = {"KMERL_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


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


def make_batch(config, B, visible, kept, Q, seed=0):
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
        labels=(rng.random((B, Q)) < 0.05).astype(np.float32),
        entities=normal(Q, TEXT_WIDTH),
    )


def whole_batch(config, B, Q, seed=0):
    """B recordings of twelve leads, every segment."""
    batch = make_batch(dict(config, segment_samples=12 * 50), B, (1,), 8, Q, seed)
    rng, M = np.random.default_rng(seed), round(config["fs"] * config["seconds"]) // 50
    return dict(
        batch,
        patches=rng.standard_normal((B * M, 12 * 50), np.float32),
        lead=np.zeros(B * M, np.int32),
        segment=np.tile(np.arange(M, dtype=np.int32), B),
        offset=M * np.arange(B + 1, dtype=np.int32),
    )


def problem(task, B, precision="float32"):
    changes = dict(MODELS[model()], precision=PRECISIONS.index(precision))
    config = dict(model_cases.DEFAULTS, text_width=TEXT_WIDTH, **changes)
    values = {name: x.astype(np.float32) for name, x in model_cases.parameters(config).items()}
    running = {name: x.astype(np.float32) for name, x in model_cases.statistics(config).items()}
    batch = make_batch(config, B, *TASKS[task]) if model() == "kmerl" else whole_batch(config, B, TASKS[task][2])
    return config, values, running, batch


def useful_operations(task, B):
    """Multiplications and additions of one step's products: a training step's backward pass is two more of each."""
    c, _, _, batch = problem(task, B)
    n = np.diff(batch["offset"]).astype(float)
    T, Q = n.sum(), len(batch["entities"])
    C, F, W, G, J = c["width"], c["mlp_width"], c["query_width"], c["query_mlp_width"], c["projection_width"]
    A, L, P, D = 64 * c["query_heads"], c["query_layers"], c["segment_samples"], TEXT_WIDTH
    encoder = T * (P * C + c["depth"] * (4 * C * C + 2 * C * F)) + c["depth"] * 2 * (n**2).sum() * C
    memory = T * (C * W + L * 2 * W * A)
    queries = B * Q * (L * (2 * W * A + 2 * W * G) + (L - 1) * (4 * W * A + 2 * Q * A) + W) + L * 2 * Q * T * A
    once = Q * (D * W + 4 * W * A + 2 * Q * A)
    projectors = B * (C * J + D * J + 2 * J * J)
    return 2 * (encoder + memory + queries + once + projectors) * (3 if task == "train" else 1)


def peak(precision):
    """Operations a second of the built-in product on one core, the second-level cache full of it: best of many."""
    from kmerl import _kmerl as core

    M, N, K = 280, 512, 256
    a, b, y = (np.random.default_rng(0).standard_normal(n, np.float32) for n in (M * K, K * N, M * N))
    integer, pointer, real = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
    kind = ctypes.CFUNCTYPE(None, *[pointer, integer, pointer, integer, integer, pointer], *[integer] * 5, real, real,
                            pointer, pointer)
    call = kind(core.gemm_kernels(precision == "bf16")[core.build_info()["isa"]])
    best = np.inf
    for _ in range(200):
        start = time.perf_counter()
        call(y.ctypes.data, N, a.ctypes.data, K, 0, b.ctypes.data, N, 0, M, N, K, 1.0, 0.0, None, None)
        best = min(best, time.perf_counter() - start)
    return 2.0 * M * N * K / best


def kmerl_step(task, B, threads, precision="float32", compiled=False):
    """A function that does one step with kmerl."""
    from kmerl import _kmerl as core

    config, values, running, batch = problem(task, B, precision)
    network = core.Model(config)
    network.set_parameters(values)
    network.set_statistics(running)
    optimiser = core.Optimiser(network)
    if task == "train":
        return lambda: optimiser.step(batch, 1e-5, threads=threads)


    def infer():
        classes = network.classes(batch["entities"]) if config["query_weight"] else None
        network.evaluate(batch, classes, embeddings=True, threads=threads)

    return infer


def torch_step(task, B, threads, precision="float32", compiled=False):
    """A function that does one step with PyTorch: of several ways to do it the fastest here."""
    import torch
    from reference import Reference, pad

    torch.set_num_threads(threads)
    config, values, running, batch = problem(task, B)

    def way(dtype, compile_it):
        network, given = Reference(config, values, running, dtype), pad(batch, dtype)
        forward, losses = network.forward, lambda given: network.losses(given)["total"]
        if compile_it:
            forward, losses = torch.compile(forward), torch.compile(losses)
        optimiser = torch.optim.AdamW(list(network.weights.values()), lr=1e-5, weight_decay=1e-5, fused=True)
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16" and dtype == torch.float32)

        def train():
            optimiser.zero_grad(set_to_none=True)
            with autocast:
                loss = losses(given)
            loss.backward()
            optimiser.step()

        def infer():
            with torch.inference_mode(), autocast:
                forward(given)

        return train if task == "train" else infer

    dtypes = (torch.float32, torch.bfloat16) if precision == "bf16" and task != "train" else (torch.float32,)
    ways = [way(dtype, compile_it) for dtype in dtypes for compile_it in ((False, True) if compiled else (False,))]

    def seconds(step):
        step()
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    return ways[0] if len(ways) == 1 else min(ways, key=seconds)


def work(side, task, B, threads, precision, compiled):
    """The worker's loop: a number of steps comes in on stdin, the seconds they took go out."""
    step = {"kmerl": kmerl_step, "torch": torch_step}[side](task, B, threads, precision, compiled)
    clock = time.process_time if os.environ.get("KMERL_BENCH_CPU_TIME") else time.perf_counter
    for line in sys.stdin:
        start = clock()
        for _ in range(int(line)):
            step()
        seconds = clock() - start
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
        print(json.dumps([seconds, most]), flush=True)


class Worker:
    """One side in a process of its own."""

    def __init__(self, side, task, B, threads, precision="float32", compiled=False, environment=()):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
        command = [sys.executable, __file__, "--worker", side, task, str(B), str(threads), precision, str(int(compiled))]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**inherited, "OMP_NUM_THREADS": str(threads), **dict(environment)},
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


def alternate(workers, rounds, seconds):
    """Steps a second of each worker in each round, after two to warm up; each is first in every other round."""
    steps = []
    for worker in workers:
        worker.run(1)
        steps.append(max(1, round(seconds / worker.run(1))))
    rates = [[] for _ in workers]
    for r in range(rounds):
        for i in sorted(range(len(workers)), reverse=r % 2):
            rates[i].append(steps[i] / workers[i].run(steps[i]))
    for worker in workers:
        worker.close()
    return rates


def ratio_text(ours, theirs, target):
    """"2.12 (2.01 to 2.20)  target 2.5" of two lists of rates."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ours) / statistics.median(theirs)
    text = f"{ratio:5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return text + (f"  target {target:g}: {'met' if ratio >= target else 'missed'}" if target else "")


def compare(task, B, threads, precision, target, given, peaks, environment=(), note=""):
    """Prints one line: recordings/s of both sides, their ratio, the share of the peak."""
    sides = ("kmerl", "torch") if given.torch else ("kmerl",)
    workers = [Worker(side, task, B, threads, precision, given.compile, environment) for side in sides]
    rates = alternate(workers, given.rounds, given.seconds)
    ours = statistics.median(rates[0])
    line = f"{model():11} {task:6} batch {B:3}  {threads} thread{'s' if threads > 1 else ' '} {precision:7}{note}  kmerl {B * ours:7.1f}/s"
    if given.torch:
        line += f"  PyTorch {B * statistics.median(rates[1]):7.1f}/s  ratio {ratio_text(*rates, target)}"
    if not environment and model() == "kmerl":
        line += f"  {100 * useful_operations(task, B) * ours / (threads * peaks[precision]):.0f} % of peak"
    print(f"{line}  memory {' and '.join(f'{worker.peak:.0f}' for worker in workers)} MiB", flush=True)


def scaling(threads, precision, given):
    """Prints what more threads bring to a training step."""
    workers = [Worker("kmerl", "train", 16, count, precision) for count in (threads, 1)]
    rates = alternate(workers, given.rounds, given.seconds)
    print(f"train  batch  16  {threads} threads against 1 {precision:7}  ratio {ratio_text(*rates, 0.95 * threads)}",
          flush=True)


def memory(B, threads):
    worker = Worker("kmerl", "train", B, threads)
    worker.run(2)
    worker.close()
    print(f"train  batch {B}  {threads} threads  memory {worker.peak:.0f} MiB of the whole process"
          f"  target 1500: {'met' if worker.peak < 1500 else 'missed'}", flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", nargs=6, help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=MODELS, help="default: kmerl")
    parser.add_argument("--only", default="", help="lines whose name holds this: train, infer, answer, avx2, memory")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--threads", type=int, default=None, help="most threads (default: all processors)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="how long a side runs in a round")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds; one thread only")
    parser.add_argument("--compile", action="store_true", help="PyTorch may compile (takes minutes)")
    given = parser.parse_args(arguments)
    if given.model:
        os.environ["KMERL_BENCH_MODEL"] = given.model  # for the workers
    if given.worker:
        side, task, B, threads, precision, compiled = given.worker
        return work(side, task, int(B), int(threads), precision, compiled == "1")
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = given.threads or processors
    if given.cpu_time:
        os.environ["KMERL_BENCH_CPU_TIME"] = "1"  # for the workers
        most = 1
    import kmerl

    info = kmerl.build_info()
    peaks = {precision: peak(precision) for precision in PRECISIONS}
    try:
        import torch

        given.torch = True
        against = f"PyTorch {torch.__version__}{' eager or compiled' if given.compile else ' eager'}"
    except ImportError:
        given.torch = False
        against = "PyTorch is not installed (pip install torch)"
    print(f"kmerl {info['version']} ({info['blas']} {info['isa']}), {against}, {processors} processors; fastest product "
          f"on one core: {peaks['float32'] / 1e9:.0f} GFLOP/s float32, {peaks['bf16'] / 1e9:.0f} bf16", flush=True)

    def wanted(name):
        return given.only in name

    for precision in given.precision:
        training, answering = (2.5, 2.5) if precision == "float32" else (2.0, 2.0)
        if model() != "kmerl":
            training = answering = None
        for B, threads in sorted({(16, 1), (16, most), (64, most)}):
            if wanted("train"):
                compare("train", B, threads, precision, training, given, peaks)
        for threads in sorted({1, most}):
            if wanted("infer"):
                compare("infer", 8, threads, precision, answering, given, peaks)
        if wanted("answer") and model() == "kmerl":
            compare("answer", 1, 1, precision, 3.0, given, peaks)
        if wanted("train") and most > 1 and model() == "kmerl":
            scaling(most, precision, given)
    if wanted("avx2") and model() == "kmerl" and "avx2" in kmerl._kmerl.gemm_kernels():
        for task, B in (("train", 16), ("infer", 8)):
            compare(task, B, most, "float32", 1.5, given, peaks, AVX2.items(), " avx2")
    if wanted("memory"):
        memory(512, most)


if __name__ == "__main__":
    main()
