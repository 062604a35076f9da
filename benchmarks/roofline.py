"""A roofline of one core of this machine with the model's products in it: docs/figures/roofline.png.

    python benchmarks/roofline.py [OUT.png]

Bandwidth: copying arrays of 256 MiB (memory) and 256 KiB (second-level cache), bytes read and written. Peak: the
fastest built-in product. Points: the products of bench_gemm.py through the built-in kernels with float32 arrays that
were used just before, as they were in a span; intensity counts each factor and the result once. CPU time, best of
several rounds.
"""

import ctypes
import functools
import sys
import time

import kmerl._kmerl as core
import matplotlib
import numpy as np
from bench_gemm import cases
from bench_train import ROOT, peak

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def best(function, repeat=1, rounds=12):
    """Seconds of one call."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(repeat):
            function()
        seconds.append((time.process_time() - start) / repeat)
    return min(seconds)


def bandwidth(size):
    """Bytes a second of a copy of so many bytes."""
    a, b = np.zeros(size // 4, np.float32), np.ones(size // 4, np.float32)
    return 2 * size / best(lambda: np.copyto(a, b), max(1, (64 << 20) // size))


def products(bf16):
    """name, operations a byte, operations a second of each product."""
    integer, pointer, real = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
    kind = ctypes.CFUNCTYPE(None, pointer, integer, pointer, integer, integer, pointer, *[integer] * 5, real, real,
                            pointer, pointer)
    call = kind(core.gemm_kernels(bf16)[core.build_info()["isa"]])
    arrays = [np.random.default_rng(0).standard_normal(1 << 20, np.float32) for _ in range(3)]
    y, a, b = (x.ctypes.data for x in arrays)
    for name, M, N, K, ta, tb, ldy, lda, ldb in cases():
        work = 2.0 * M * N * K
        once = functools.partial(call, y, ldy, a, lda, ta, b, ldb, tb, M, N, K, 1.0, 0.0, None, None)
        yield name, work / (4 * (M * N + M * K + K * N)), work / best(once, max(1, int(5e8 / work)), 5)


def main(path):
    _, axes = plt.subplots(figsize=(7, 4.2))
    x = np.geomspace(0.5, 400, 200)
    memory, cache = bandwidth(256 << 20), bandwidth(256 << 10)
    print(f"copy: {memory / 1e9:.1f} GB/s memory, {cache / 1e9:.1f} GB/s second-level cache")
    for precision, colour in (("float32", "tab:blue"), ("bf16", "tab:orange")):
        top = peak(precision)
        for rate, style in ((memory, "-"), (cache, ":")):
            axes.plot(x, np.minimum(top, rate * x) / 1e9, style, color=colour, lw=1)
        points = list(products(precision == "bf16"))
        shares = np.array([rate / top for _, _, rate in points])
        print(f"{precision}: peak {top / 1e9:.0f} GFLOP/s; products at {100 * np.median(shares):.0f} % of it (median; "
              f"{100 * shares.min():.0f} to {100 * shares.max():.0f})")
        marks = {"forward": "o", "input": "^", "weight": "v", "q k^T": "s", "p v": "D", "p^T dout": "P"}
        for start, mark in marks.items():
            those = [(i, rate / 1e9) for name, i, rate in points if name.startswith(start)]
            axes.plot(*zip(*those, strict=True), mark, color=colour, ms=4, alpha=0.7, mew=0,
                      label=start if precision == "float32" else None)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte (each array once, float32)", ylabel="GFLOP/s",
             title="One core: float32 blue, bf16 orange; memory solid, second-level cache dotted", ylim=(5, 400))
    axes.title.set_fontsize(9)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3, which="both", lw=0.4)
    plt.tight_layout()
    plt.savefig(path, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "figures" / "roofline.png")
