"""python -m benchmarks: every benchmark, one after the other. Each also runs alone; see its docstring."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

for path in sorted(FOLDER.glob("bench_*.py")):
    print(f"\n{path.stem}", flush=True)
    code = subprocess.run([sys.executable, str(path), *sys.argv[1:]]).returncode
    if code:
        sys.exit(code)
