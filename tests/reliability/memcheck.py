"""The binding under valgrind: ``python tests/reliability/memcheck.py [CALL ...]``

Runs ``references.py --once`` (all calls, or those whose names begin so) under valgrind's memcheck, on one thread and
with the kernels for AVX2, for valgrind knows no AVX-512. A fault is an invalid read or write, a jump or a call that
depends on what was never written, or a block that nothing leads to any more (definitely lost), with a frame of the core
in its stack. What lies in the interpreter, in NumPy and in the loader alone is counted and printed, and is no fault:
releases of Python are built so that valgrind takes some of their reads for uninitialised ones (python.supp names those
that spread)."""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent


def errors(path):
    """(kind, frames as "function (file:line)", whether one is the core's) of each error in valgrind's XML."""
    found = []
    for error in ElementTree.parse(path).getroot().iter("error"):
        frames, ours = [], False
        for frame in error.iter("frame"):
            place = frame.findtext("file")
            place = f"{place}:{frame.findtext('line')}" if place else os.path.basename(frame.findtext("obj", "?"))
            frames.append(f"{frame.findtext('fn', '?')} ({place})")
            ours |= os.path.basename(frame.findtext("obj", "")).startswith("_kmerl.")
        found.append((error.findtext("kind"), frames, ours))
    return found


def run(names, say=print):
    """Errors in the core: [(kind, frames)]."""
    environment = {**os.environ, "PYTHONMALLOC": "malloc", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                   "KMERL_ISA": "avx2"}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "valgrind.xml"
        command = ["valgrind", "--xml=yes", f"--xml-file={log}", "--error-limit=no", "--num-callers=40",
                   "--leak-check=full", "--show-leak-kinds=definite", f"--suppressions={HERE / 'python.supp'}", sys.executable,
                   str(HERE / "references.py"), "--once", *names]
        status = subprocess.run(command, env=environment).returncode
        found = errors(log)
    if status != 0:
        raise AssertionError(f"references.py ended with {status} under valgrind")
    ours = [(kind, frames) for kind, frames, core in found if core]
    others = Counter(kind for kind, _, core in found if not core)
    elsewhere = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items())) or "none"
    say(f"memcheck: {len(ours)} errors in the core; elsewhere (no fault of kmerl's): {elsewhere}")
    return ours


if __name__ == "__main__":
    if faults := run(sys.argv[1:]):
        raise SystemExit("\n\n".join(f"{kind}:\n  " + "\n  ".join(frames) for kind, frames in faults))
