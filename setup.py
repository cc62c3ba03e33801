"""Builds the two compiled scanners; everything else stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = ["-O3", "-fno-strict-aliasing"]
if os.environ.get("CORVUS_DEBUG") == "1":
    FLAGS = ["-O1", "-g", "-fsanitize=undefined"]

EXTENSIONS = [
    Extension(
        f"corvus_proxy._fast.{name}", [f"corvus_proxy/_fast/{name}.pyx"], extra_compile_args=FLAGS
    )
    for name in ("body", "stream")
]

setup(ext_modules=cythonize(EXTENSIONS, build_dir="build", language_level=3))
