"""The only build logic: compiler flags, OpenMP, BLAS."""

import glob
import os

import numpy
from setuptools import Extension, setup

real = os.environ.get("KMERL_REAL", "float")
flags = ["-std=c11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-fno-math-errno", "-fno-trapping-math", "-fopenmp"]
setup(
    ext_modules=[
        Extension(
            "kmerl._kmerl",
            sources=sorted(glob.glob("csrc/**/*.c", recursive=True)),
            include_dirs=["csrc", numpy.get_include()],
            depends=glob.glob("csrc/**/*.h", recursive=True),
            define_macros=[("KM_DOUBLE", None)] if real == "double" else [],
            extra_compile_args=flags,
            extra_link_args=["-fopenmp"],
        )
    ]
)
