"""Every operation of csrc/ops/ops.h on the case list of the tests: microseconds, beside those of its NumPy
form.

    python benchmarks/bench_operations.py [--only attention] [--all]

Without --all, the largest case of each operation: what one training step at batch 16 meets. NumPy's side is
the twin of tests/twins.py in float32; some twins are written to be clear, not fast, and are left out. One
thread each.
"""

import argparse
import os
import sys
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import twins  # noqa: E402
from cases import CASES, GRADIENTS, SIZES, arguments  # noqa: E402
from operations import Operations  # noqa: E402

SLOW_TWINS = {
    "gelu_forward",
    "gelu_backward",
    "layernorm_backward",
    "batchnorm_backward",
    "tokens_backward",
    "infonce",
}


class Recorder(Operations):
    """Keeps the last C call, to be repeated without the guards and copies around it."""

    def call(self, name, *values):
        pointers = []
        for value, (kind, _, _) in zip(values, self.signatures[name][1], strict=True):
            if isinstance(value, np.ndarray):
                value = value.ctypes.data
            pointers.append(None if kind == "km_dropout *" else value)
        self.last = self.functions[name], pointers, values  # values: keeps the arrays alive
        return self.functions[name](*pointers)


def best(function, budget=0.2, repeats=5):
    """Seconds of one call: the least mean over repeats of a part of the budget."""
    start = time.perf_counter()
    function()
    count = max(1, int(budget / repeats / max(time.perf_counter() - start, 1e-7)))
    means = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(count):
            function()
        means.append((time.perf_counter() - start) / count)
    return min(means)


def report(name, case, operations, twin_arguments):
    function, pointers, _ = operations.last
    ours = best(lambda: function(*pointers))
    line = f"{name:20} {str(case)[len(case.operation) + 1 :]:44.44} {1e6 * ours:10.1f} us"
    if name not in SLOW_TWINS:
        theirs = best(lambda: getattr(twins, name)(*twin_arguments))
        line += f"   NumPy {1e6 * theirs:10.1f} us   {theirs / ours:6.1f}x"
    print(line, flush=True)


def run(case, operations):
    given = arguments(case, operations.real)
    outputs = getattr(operations, case.operation)(**given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    report(case.operation, case, operations, given.values())
    if case.operation in GRADIENTS:
        rule = GRADIENTS[case.operation]
        dy = np.ones_like(outputs[0])
        known = dict(given, M=50, **dict(zip(("y",) + rule.saved, outputs, strict=False)))
        values = [dy] + [known[name] for name in rule.takes]
        getattr(operations, rule.backward)(*values)
        report(rule.backward, case, operations, values)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="operations whose name holds this")
    parser.add_argument("--all", action="store_true", help="every case, not the largest alone")
    given = parser.parse_args(arguments)
    import kmerl._kmerl as core

    operations = Recorder(core)
    for case in CASES:
        if given.only in case.operation and (given.all or case.sizes == SIZES[case.operation][-1]):
            run(case, operations)


if __name__ == "__main__":
    main()
