"""Matrix products of a training step: the built-in kernels against the library that km_gemm was built with.

    python benchmarks/bench_gemm.py [--isa avx2]

One thread, float32, CPU time, best of several interleaved rounds. ratio > 1: the built-in kernels are faster. In a
build with KMERL_BLAS=builtin that library is the kernels themselves, of the best instruction set.
"""

import argparse
import ctypes
import os
import time

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):      # would change what is compared
    os.environ.pop(variable, None)

import kmerl._kmerl as core  # noqa: E402
import numpy as np  # noqa: E402

WEIGHTS = [(576, 192), (192, 192), (768, 192), (192, 768), (256, 192), (512, 256), (768, 256), (256, 256),
           (1024, 256), (256, 1024)]


def cases():
    """name, M, N, K, a_transposed, b_transposed, row strides of y, a and b."""
    for T in (37, 150, 600):
        for N, K in WEIGHTS:
            yield f"forward  T {T:3} ({N}, {K})", T, N, K, 0, 1, N, K, K
    for T in (37, 150, 600):
        for N, K in WEIGHTS[:4]:
            yield f"input    T {T:3} ({N}, {K})", T, K, N, 0, 0, K, N, K
            yield f"weight   T {T:3} ({N}, {K})", N, K, T, 1, 0, K, N, K
    for T in (100, 300, 600):
        yield f"q k^T    T {T:3}", 64, T, 64, 0, 1, T, 576, 576
        yield f"p v      T {T:3}", 64, 64, T, 0, 0, 192, T, 576
        yield f"p^T dout T {T:3}", T, 64, 64, 1, 0, 576, T, 192


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--isa", choices=list(core.gemm_kernels()), default=core.build_info()["isa"])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    integer, pointer, real = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
    operation = [pointer, integer, pointer, integer, integer, pointer, *[integer] * 5, real, real]
    library = ctypes.CFUNCTYPE(None, *operation)(core.operations()["gemm"])
    kernel = ctypes.CFUNCTYPE(None, *operation, pointer, pointer)(core.gemm_kernels()[arguments.isa])

    def builtin(*values):
        kernel(*values, None, None)     # no bias, nothing packed before

    info = core.build_info()
    print(f"built-in {arguments.isa} against {info['blas']} {info['blas_details']}")
    print(f"{'':28}{'GFLOP/s built-in':>18}{info['blas']:>12}{'ratio':>8}")
    rng = np.random.default_rng(0)
    buffers = [rng.standard_normal(1024 * 1024).astype(np.float32) for _ in range(3)]
    total = np.zeros(2)
    logs = []
    for name, M, N, K, ta, tb, ldy, lda, ldb in cases():
        flops = 2.0 * M * N * K
        repeat = max(1, int(2e8 / flops))
        y, a, b = (buffer.ctypes.data for buffer in buffers)
        best = [np.inf, np.inf]
        for _ in range(arguments.rounds):
            for which, call in enumerate((builtin, library)):
                start = time.process_time()
                for _ in range(repeat):
                    call(y, ldy, a, lda, ta, b, ldb, tb, M, N, K, 1.0, 0.0)
                best[which] = min(best[which], (time.process_time() - start) / repeat)
        total += best
        logs.append(np.log(best[1] / best[0]))
        print(f"{name:28}{flops / best[0] / 1e9:18.1f}{flops / best[1] / 1e9:12.1f}{best[1] / best[0]:8.2f}")
    print(f"geometric mean of the ratios {np.exp(np.mean(logs)):.2f}; all cases once: built-in {total[0] * 1e3:.2f} ms, "
          f"{info['blas']} {total[1] * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
