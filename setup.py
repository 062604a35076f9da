"""The only build logic: compiler flags, OpenMP, BLAS, the C tests.

Environment variables (an unknown value is an error):

    KMERL_BLAS      builtin (default but on 64-bit ARM Linux), openblas (from scipy-openblas32), system
    KMERL_OPENMP    1: required, 0: off, unset: used where the compiler has it
    KMERL_REAL      float (default), double (the build that the tests compare with)
    KMERL_WERROR    1: warnings are errors (the project's own builds), 0 (default)
    KMERL_BASELINE  1: one version of the vector loops, for any processor; 0 (default): several, chosen at run time

Commands of its own: ``python setup.py test_c [--sanitize | --races | --valgrind] [--only NAME]`` builds and runs
tests/c and the fuzz targets of tests/fuzz on their corpus.
"""

import glob
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import setuptools
from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, ExecError, LibError, SetupError

if int(setuptools.__version__.split(".")[0]) < 77:
    raise SystemExit(f"kmerl builds with setuptools 77 or newer, this is {setuptools.__version__}: "
                     "pip install -U setuptools")

HERE = os.path.dirname(os.path.abspath(__file__))
LINUX = sys.platform.startswith("linux")
MACOS = sys.platform == "darwin"
JOBS = min(2, os.cpu_count() or 1)

# -ffp-contract=off: the same bits from every compiler and instruction set; products that want FMA say so.
CFLAGS = ["-std=c11", "-O3", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math",
          "-ffp-contract=off", "-Wall", "-Wextra"]
ALLOCATORS = ["-Wl," + ",".join(f"--wrap={name}" for name in ("malloc", "calloc", "realloc", "aligned_alloc", "free"))]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
RACES = ["-O1", "-g", "-fsanitize=thread"]


def option(name, default, allowed):
    """The value of a KMERL_* build variable; only the listed values exist."""
    value = os.environ.get(name) or default
    if value is not None and value not in allowed:
        raise SetupError(f"{name} is {value!r}; allowed values are {', '.join(allowed)}")
    return value


def default_blas():
    """The built-in products, faster than OpenBLAS on x86-64 (docs/performance.md); on ARM they are plain vectors."""
    return "openblas" if LINUX and platform.machine() == "aarch64" else "builtin"


BLAS = option("KMERL_BLAS", default_blas(), ("openblas", "system", "builtin"))
OPENMP = option("KMERL_OPENMP", None, ("0", "1"))
REAL = option("KMERL_REAL", "float", ("float", "double"))
WERROR = option("KMERL_WERROR", "0", ("0", "1"))
BASELINE = option("KMERL_BASELINE", "0", ("0", "1"))


class Toolchain:
    """What the compiler can do and what it gets: found by trying, kept for the whole build."""

    def __init__(self, compiler, sanitize=None):
        if compiler.compiler_type != "unix":
            raise SetupError(f"kmerl builds with gcc or clang, not with {compiler.compiler_type!r}")
        self.cc = list(compiler.compiler_so)
        self.sanitize = sanitize
        self.cflags = list(CFLAGS)
        self.ldflags = []
        self.macros = []
        if WERROR == "1":
            self.cflags.append("-Werror")
        if REAL == "double":
            self.macros.append(("KM_DOUBLE", None))
        if sanitize is not None:
            self.cflags += sanitize
            self.ldflags += sanitize
        self._openmp()
        # Resolvers of multi-versioned functions run before a sanitizer is ready.
        if BASELINE == "1" or sanitize is not None or not self.can_build(CLONES):
            self.macros.append(("KM_BASELINE", None))
        self._blas()

    def can_build(self, source, flags=()):
        """Whether a shared library can be made from the C source with the flags."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "probe.c")
            with open(path, "w") as file:
                file.write(source)
            command = [*self.cc, "-Icsrc", "-fPIC", "-shared", path, *flags, "-o", os.path.join(folder, "probe.so")]
            try:
                return subprocess.run(command, capture_output=True).returncode == 0
            except OSError as error:
                raise SetupError(f"the C compiler {self.cc[0]!r} cannot be run: {error}") from error

    def _openmp(self):
        self.openmp = False
        if OPENMP == "0" or self.sanitize is RACES:      # csrc/core/threads.c has threads of its own then
            return
        candidates = [(["-fopenmp"], ["-fopenmp"])]
        if MACOS:
            candidates.append((["-Xpreprocessor", "-fopenmp"], ["-lomp"]))
        for cflags, ldflags in candidates:
            if self.can_build("#include <omp.h>\nint f(void) { return omp_get_max_threads(); }\n", cflags + ldflags):
                self.openmp = True
                self.cflags += cflags
                self.ldflags += ldflags
                return
        if OPENMP == "1":
            raise SetupError(f"KMERL_OPENMP is 1, but {self.cc[0]!r} cannot build an OpenMP program")

    def _blas(self):
        self.library = None     # OpenBLAS's shared library, to travel inside the package
        if BLAS == "openblas":
            self.library, self.licence = find_openblas()
            self.macros.append(("KM_BLAS_OPENBLAS", None))
        elif BLAS == "system":
            self.macros.append(("KM_BLAS_SYSTEM", None))
            self.ldflags += self._system_blas()
        else:
            self.macros.append(("KM_BLAS_BUILTIN", None))

    def _system_blas(self):
        candidates = [["-framework", "Accelerate"]] if MACOS else []
        for name in ("openblas", "cblas", "blas"):
            try:
                found = subprocess.run(["pkg-config", "--libs", name], capture_output=True, text=True)
            except OSError:
                break
            if found.returncode == 0:
                candidates.append(shlex.split(found.stdout))
        candidates += [["-lopenblas"], ["-lcblas", "-lblas"], ["-lcblas"], ["-lblas"]]
        probe = "void cblas_sgemm(void);\nint main(void) { cblas_sgemm(); return 0; }\n"
        for flags in candidates:
            if self.can_build(probe, [*flags, "-Wl,-undefined,error" if MACOS else "-Wl,--no-undefined"]):
                return flags
        raise SetupError("KMERL_BLAS is system, but no BLAS with the C interface (cblas_sgemm) was found by pkg-config "
                         "or as -lopenblas, -lcblas, -lblas; install one (Debian: libopenblas-dev) or use another KMERL_BLAS")

    def key(self):
        """Names the folder of object files: objects of another configuration are never reused."""
        parts = [REAL, BLAS, "openmp" if self.openmp else "serial"]
        parts += ["werror"] * (WERROR == "1") + ["baseline"] * (("KM_BASELINE", None) in self.macros)
        parts += ["sanitize"] * (self.sanitize is SANITIZE) + ["races"] * (self.sanitize is RACES)
        return "-".join(parts)


# Loops compiled for several processors: not every C library can choose at run time.
CLONES = """
#include "core/real.h"
KM_VECTOR void scale(float *x, int n) { for (int i = 0; i < n; i++) x[i] *= 2; }
"""


BUNDLE = ("libkmerl_openblas.so", "LICENSE-OpenBLAS.txt")


def find_openblas():
    """The shared library of scipy-openblas32 and its licence."""
    try:
        import scipy_openblas32
    except ImportError:
        raise SetupError("KMERL_BLAS is openblas, which needs the package scipy-openblas32 at build time: "
                         "pip install scipy-openblas32, or set KMERL_BLAS=builtin or KMERL_BLAS=system") from None
    from importlib.metadata import files

    library = os.path.join(scipy_openblas32.get_lib_dir(), scipy_openblas32.get_library(fullname=True))
    licences = [str(file.locate()) for file in files("scipy-openblas32") or [] if "LICENSE" in file.name.upper()]
    if not licences:
        raise SetupError("scipy-openblas32 comes without its licence file; kmerl cannot redistribute it")
    return library, licences[0]


def bundle_openblas(library, licence, folder):
    """A private copy of OpenBLAS in folder: its own file name and, of the same length, its own soname, so that
    the loader never takes another package's libscipy_openblas.so for ours, nor ours for theirs."""
    old, new = b"libscipy_openblas.so", b"libkmerl_openblas.so"
    with open(library, "rb") as file:
        content = file.read()
    if content.count(old + b"\0") != 1:
        raise SetupError(f"{library} is not the library that kmerl knows: its soname is not {old.decode()}")
    os.makedirs(folder, exist_ok=True)
    target, terms = (os.path.join(folder, name) for name in BUNDLE)
    with open(target + ".new", "wb") as file:
        file.write(content.replace(old + b"\0", new + b"\0"))
    os.chmod(target + ".new", 0o755)
    os.replace(target + ".new", target)
    shutil.copyfile(licence, terms)
    return target


def is_current(target, command_line):
    """Whether target was made by this command line and is newer than all files its compiler read (target.d)."""
    try:
        with open(target + ".cmd") as file:
            if file.read() != command_line:
                return False
        with open(os.path.splitext(target)[0] + ".d") as file:
            inputs = re.sub(r"\\\n", " ", file.read()).split(":", 1)[1].split()
        made = os.path.getmtime(target)
        return all(os.path.getmtime(path) < made for path in inputs)
    except OSError:
        return False


def compile_all(compile_one, jobs):
    """Runs compile_one over jobs (two at a time); returns the results in order."""
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(compile_one, jobs))


class BuildExt(build_ext):
    """Flags by toolchain, two compilers at a time, only what changed, OpenBLAS beside the extension."""

    def finalize_options(self):
        super().finalize_options()
        self.force = True       # linking is quick, and setuptools cannot see that a KMERL_* variable changed

    def openblas_folder(self):
        return os.path.join(self.build_lib, "kmerl", "_openblas")

    def build_extension(self, ext):
        import numpy

        tools = Toolchain(self.compiler)
        ext.include_dirs += ["csrc", numpy.get_include()]
        ext.define_macros += tools.macros
        ext.extra_compile_args += [*tools.cflags, "-MMD"]
        ext.extra_link_args += tools.ldflags
        if LINUX:
            ext.extra_link_args += ["-Wl,--version-script=csrc/python/module.map"]
        elif MACOS:
            ext.extra_link_args += ["-Wl,-exported_symbol,_PyInit__kmerl"]
        folder = self.openblas_folder()
        if tools.library is not None:
            library = bundle_openblas(tools.library, tools.licence, folder)
            ext.extra_link_args += [library, "-Wl,-rpath,$ORIGIN/_openblas"]
        else:
            shutil.rmtree(folder, ignore_errors=True)       # left by an earlier build of another kind
        # Kept between builds, whichever way they were started (pip uses a throw-away build_temp).
        tag = f"{self.plat_name}-{sys.implementation.cache_tag}"
        self.build_temp = os.path.join("build", "objects", tag, tools.key())

        compile_original = self.compiler.compile

        def compile_parallel(sources, **arguments):
            def compile_one(source):
                target = self.compiler.object_filenames([source], output_dir=arguments["output_dir"])[0]
                line = repr((self.compiler.compiler_so, arguments))
                if not is_current(target, line):
                    compile_original([source], **arguments)
                    with open(target + ".cmd", "w") as file:
                        file.write(line)
                return target

            return compile_all(compile_one, sources)

        self.compiler.compile = compile_parallel
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_original

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        if BLAS != "openblas":
            package = self.get_finalized_command("build_py").get_package_dir("kmerl")
            shutil.rmtree(os.path.join(package, "_openblas"), ignore_errors=True)
        for built, target in self.bundle():
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(built, target + ".new")
            os.replace(target + ".new", target)     # a running process keeps the old file

    def get_outputs(self):
        return super().get_outputs() + [path for path, _ in self.bundle()]

    def get_output_mapping(self):
        return {**super().get_output_mapping(), **(dict(self.bundle()) if self.inplace else {})}

    def bundle(self):
        """(built file, its place in the source tree) of what travels beside the extension."""
        if BLAS != "openblas":
            return []
        package = self.get_finalized_command("build_py").get_package_dir("kmerl")
        return [(os.path.join(self.openblas_folder(), name), os.path.join(package, "_openblas", name)) for name in BUNDLE]


class TestC(Command):
    """Builds every tests/c/*.c and tests/fuzz/fuzz_*.c against the core (without csrc/python) and runs it."""

    description = "build and run the C tests"
    user_options = [
        ("sanitize", None, "with AddressSanitizer and UndefinedBehaviorSanitizer"),
        ("races", None, "with ThreadSanitizer, without the fuzz targets and the tests of allocations and forks"),
        ("valgrind", None, "run under valgrind"),
        ("only=", None, "only the test of this name"),
    ]
    boolean_options = ["sanitize", "races", "valgrind"]

    def initialize_options(self):
        self.sanitize = 0
        self.races = 0
        self.valgrind = 0
        self.only = None

    def finalize_options(self):
        if bool(self.sanitize) + bool(self.races) + bool(self.valgrind) > 1:
            raise SetupError("test_c takes one of --sanitize, --races and --valgrind")

    def run(self):
        compiler = self.get_finalized_command("build_ext")
        from setuptools._distutils.ccompiler import new_compiler
        from setuptools._distutils.sysconfig import customize_compiler

        compiler = new_compiler()
        customize_compiler(compiler)
        tools = Toolchain(compiler, sanitize=SANITIZE if self.sanitize else RACES if self.races else None)
        folder = os.path.join("build", "c", tools.key())
        os.makedirs(folder, exist_ok=True)
        macros = [f"-D{name}" for name, _ in tools.macros]
        core = [path for path in csrc() if not path.startswith(os.path.join("csrc", "python"))]
        # Fuzz targets are run on their corpus; `bash tests/fuzz/run` goes beyond it.
        tests = sorted(glob.glob("tests/c/*.c") + glob.glob("tests/fuzz/fuzz_*.c"))
        if not LINUX:       # allocations fail by the linker's --wrap
            tests = [path for path in tests if "test_allocation" not in path]
        if self.races:      # one thread; the C library's own allocation; a fork that ThreadSanitizer refuses to follow
            tests = [path for path in tests if not re.search("fuzz_|allocation", path)]
        if self.only is not None:
            tests = [path for path in tests if os.path.basename(path) == self.only + ".c"]
            if not tests:
                raise SetupError(f"tests/c and tests/fuzz have no test named {self.only!r}")

        def compile_one(source):
            target = os.path.join(folder, os.path.splitext(source)[0] + ".o")
            command = [*tools.cc, "-Icsrc", "-Itests/c", *tools.cflags, "-UNDEBUG", "-MMD", *macros, "-c", source, "-o", target]
            if not is_current(target, repr(command)):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if subprocess.run(command).returncode != 0:
                    raise CompileError(f"{source} does not compile")
                with open(target + ".cmd", "w") as file:
                    file.write(repr(command))
            return target

        objects = compile_all(compile_one, core + tests + ["tests/fuzz/replay.c"])
        libraries = list(tools.ldflags)
        if tools.library is not None:
            libraries += [tools.library, "-Wl,-rpath," + os.path.dirname(tools.library)]
        failed = []
        # An allocation that must be refused is part of the tests: ThreadSanitizer would end there.
        environment = {**os.environ, "TSAN_OPTIONS": "allocator_may_return_null=1"} if self.races else None
        for source, program_object in zip(tests, objects[len(core):-1], strict=True):
            program = os.path.splitext(program_object)[0]
            name = os.path.basename(program)
            fuzz, inputs = name.startswith("fuzz_"), []
            if fuzz:
                inputs = sorted(glob.glob(f"tests/fuzz/corpus/{name.removeprefix('fuzz_')}/*"))
            wrapped = ALLOCATORS if name.startswith("test_allocation") else []
            link = [*tools.cc, "-o", program, program_object, *objects[-1:] * fuzz, *objects[:len(core)], *wrapped,
                    *libraries, "-lm", "-lpthread"]
            if subprocess.run(link).returncode != 0:
                raise LibError(f"{source} does not link")
            command = [os.path.abspath(program), *inputs]
            if self.valgrind:
                command = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full",
                           "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", *command]
            try:
                code = subprocess.run(command, timeout=600, env=environment).returncode
            except OSError as error:
                raise ExecError(f"{command[0]} cannot be run: {error}") from error
            print(f"{source}: {'passed' if code == 0 else f'FAILED (exit {code})'}", flush=True)
            if code != 0:
                failed.append(source)
        if failed:
            raise ExecError("C tests failed: " + ", ".join(failed))


def csrc():
    return sorted(glob.glob("csrc/**/*.c", recursive=True))


os.chdir(HERE)
setup(
    ext_modules=[Extension("kmerl._kmerl", sources=csrc(), depends=glob.glob("csrc/**/*.h", recursive=True))],
    cmdclass={"build_ext": BuildExt, "test_c": TestC},
)
