"""What the build promises: one symbol, a small import, clear errors for its variables."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kmerl._kmerl as extension
import numpy as np
import pytest

import kmerl

ROOT = Path(__file__).resolve().parent.parent
source_tree = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the source tree")


def python(code, **environment):
    """Runs code in a new interpreter that finds this kmerl."""
    path = os.pathsep.join([str(Path(kmerl.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": path, **environment})


def test_build_info():
    info = kmerl.build_info()
    assert set(info) == {"version", "real", "openmp", "compiler", "blas", "blas_details", "isa", "threads", "processors"}
    assert info["version"] == kmerl.__version__
    assert info["real"] == "float32"
    assert info["openmp"] in (True, False)
    assert info["blas"] in ("openblas", "system", "builtin")
    assert info["isa"] in extension.gemm_kernels()
    assert re.match(r"(gcc|clang) \d+\.", info["compiler"])
    assert info["threads"] >= 1
    if info["blas"] == "openblas":
        assert info["blas_details"].startswith("OpenBLAS ")


def test_threads_follow_the_environment():
    done = python("import kmerl; print(kmerl.build_info()['threads'])", OMP_NUM_THREADS="3")
    assert done.stdout.strip() == ("3" if kmerl.build_info()["openmp"] else "1"), done.stderr


def test_the_double_build(core64):
    assert core64.build_info()["real"] == "float64"
    assert core64.build_info()["blas"] == kmerl.build_info()["blas"]


def test_import_loads_numpy_only():
    done = python("import sys, numpy; before = set(sys.modules); import kmerl; print(*sorted(set(sys.modules) - before))")
    assert done.returncode == 0, done.stderr
    new = {module.split(".")[0] for module in done.stdout.split()} - {"kmerl", "numpy"}
    assert new <= set(sys.stdlib_module_names), sorted(new - set(sys.stdlib_module_names))
    heavy = {"sqlite3", "multiprocessing", "concurrent", "asyncio", "unittest", "email", "http", "tkinter"}
    before = set(python("import sys, numpy; print(*sys.modules)").stdout.split())
    assert not (heavy - before) & new


def test_import_is_quick():
    # Processor time beside NumPy's own import: neither other processes nor a slow machine count.
    code = ("import time; start = time.process_time(); import numpy; middle = time.process_time(); import kmerl; "
            "print((time.process_time() - middle) / (middle - start))")
    assert min(float(python(code).stdout) for _ in range(5)) < 4


def test_an_unknown_instruction_set_is_an_error():
    done = python("import kmerl", KMERL_ISA="sse9")
    assert "ValueError: KMERL_ISA is 'sse9'; allowed values are plain, avx2, avx512" in done.stderr


@pytest.mark.parametrize("isa", sorted(extension.gemm_kernels()))
def test_a_lower_instruction_set_can_be_asked_for(isa):
    assert python("import kmerl; print(kmerl.build_info()['isa'])", KMERL_ISA=isa).stdout.strip() == isa


def test_one_exported_symbol():
    nm = shutil.which("nm")
    if nm is None or not sys.platform.startswith("linux"):
        pytest.skip("needs nm on Linux")
    listing = subprocess.run([nm, "-D", "--defined-only", extension.__file__], capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in listing.stdout.splitlines()] == ["PyInit__kmerl"]


def test_the_host_keeps_its_threads():
    """Neither loading kmerl nor its first product touches the OpenBLAS inside NumPy or SciPy."""
    code = """
import ctypes, sys
import numpy as np
try:
    import scipy.linalg
except ImportError:
    pass
def counts():
    found = []
    for line in open("/proc/self/maps"):
        path = line.split()[-1]
        if "openblas" in path and "kmerl" not in path.rsplit("/", 1)[-1] and path not in [f[0] for f in found]:
            library = ctypes.CDLL(path)
            for name in ("scipy_openblas_get_num_threads64_", "scipy_openblas_get_num_threads", "openblas_get_num_threads"):
                if hasattr(library, name):
                    found.append((path, getattr(library, name)()))
                    break
    return found
before = counts()
import kmerl, kmerl._kmerl as core
p, i, r = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
gemm = ctypes.CFUNCTYPE(None, p, i, p, i, i, p, i, i, i, i, i, r, r)(core.operations()["gemm"])
a = np.ones((300, 300), np.float32); y = np.empty_like(a)
gemm(y.ctypes.data, 300, a.ctypes.data, 300, 0, a.ctypes.data, 300, 0, 300, 300, 300, 1, 0)
assert (y == 300).all() and (a @ a == 300).all()
after = counts()
assert before == after, (before, after)
print(len(before))
"""
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("needs /proc")
    if kmerl.build_info()["blas"] == "system":
        pytest.skip("a system's BLAS is the host's")
    done = python(code, OPENBLAS_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr


@source_tree
@pytest.mark.parametrize("variable, allowed", [
    ("KMERL_BLAS", "openblas, system, builtin"),
    ("KMERL_OPENMP", "0, 1"),
    ("KMERL_REAL", "float, double"),
    ("KMERL_WERROR", "0, 1"),
    ("KMERL_BASELINE", "0, 1"),
])
def test_an_unknown_build_value_is_an_error(variable, allowed):
    done = subprocess.run([sys.executable, "setup.py", "-q", "--version"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, variable: "Yes"})
    assert done.returncode != 0
    assert f"{variable} is 'Yes'; allowed values are {allowed}" in done.stderr


@source_tree
def test_the_makefile_installs_what_pyproject_requires():
    pyproject = (ROOT / "pyproject.toml").read_text()
    required = [line.split(";")[0] for line in re.findall(r'"(.+)"', re.search(r"requires = \[(.*?)\n\]", pyproject, re.S)[1])]
    makefile = " ".join(re.findall(r"^BUILD_REQUIRES [:+]=(.*)$", (ROOT / "Makefile").read_text(), re.M))
    assert re.findall(r'"([^"]+)"', makefile) == required


@source_tree
def test_make_help_lists_every_command():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"\.PHONY: ((?:.*\\\n)*.*)", makefile)[1].replace("\\\n", " ").split()
    listed = re.findall(r"^([a-z-]+):.*## ", makefile, re.M)
    assert set(phony) == set(listed) | {"help"} | {"distclean"}


def test_numpy_two_and_one():
    """Built against NumPy 2, run on 1.24 and later."""
    assert tuple(int(part) for part in np.__version__.split(".")[:2]) >= (1, 24)
    requires = importlib.metadata.requires("kmerl") if _installed() else None
    if requires is None:
        pytest.skip("kmerl is not installed, only on the path")
    assert [line for line in requires if "extra" not in line] == ["numpy>=1.24"]


def _installed():
    try:
        return importlib.metadata.version("kmerl") is not None
    except importlib.metadata.PackageNotFoundError:
        return False
