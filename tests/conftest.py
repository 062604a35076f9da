"""Fixtures that every test file may use: the extension as it ships, and its double build."""

import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A shell's background job ignores Ctrl-C, and so does what it starts; the tests of Ctrl-C need Python's own handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _load(path):
    loader = importlib.machinery.ExtensionFileLoader("_kmerl", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_kmerl", loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def core():
    """The extension that ships: float."""
    import kmerl._kmerl

    return kmerl._kmerl


@pytest.fixture(scope="session")
def core64(core):
    """The double build of the same sources with the same BLAS, built once under build/double."""
    if not (ROOT / "csrc").is_dir():
        pytest.skip("the double build needs the source tree")
    info = core.build_info()
    variables = {"KMERL_REAL": "double", "KMERL_BLAS": info["blas"], "KMERL_OPENMP": str(int(info["openmp"]))}
    digest = hashlib.sha256(repr((sorted(variables.items()), sys.version)).encode())
    for path in sorted([*ROOT.glob("csrc/**/*.[ch]"), ROOT / "setup.py"]):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    cache = ROOT / "build" / "double"
    folder = cache / digest.hexdigest()[:16]
    name = "_kmerl" + importlib.machinery.EXTENSION_SUFFIXES[0]
    if not (folder / "kmerl" / name).exists():
        for old in cache.glob("*") if cache.is_dir() else ():
            shutil.rmtree(old, ignore_errors=True)
        command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder) + ".new"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
        assert done.returncode == 0, f"the double build failed:\n{done.stdout}\n{done.stderr}"
        os.replace(str(folder) + ".new", folder)
    return _load(folder / "kmerl" / name)
