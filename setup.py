"""Builds the compiled scanners; everything else stands in pyproject.toml.

`python setup.py build_ext --inplace` by hand; with CORVUS_DEBUG=1 the undefined-behaviour sanitiser
watches them, and the first finding ends the process. They then scan eight bytes at a time, as on a
processor without SSE2.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

COMPILE = ["-O3", "-fno-strict-aliasing"]
LINK: list[str] = []
if os.environ.get("CORVUS_DEBUG") == "1":
    LINK = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined"]
    COMPILE = ["-O1", "-g", "-fno-strict-aliasing", "-DCORVUS_PORTABLE", *LINK]

# Other flags are a reason to build again, which distutils would not see.
FLAGS = Path("build", "flags")
if not FLAGS.exists() or FLAGS.read_text() != " ".join(COMPILE):
    FLAGS.parent.mkdir(exist_ok=True)
    FLAGS.write_text(" ".join(COMPILE))

EXTENSIONS = [
    Extension(
        f"corvus_proxy._fast.{name}",
        [f"corvus_proxy/_fast/{name}.pyx"],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
        depends=[str(FLAGS)],
    )
    for name in ("body", "resp", "stream")
]

setup(ext_modules=cythonize(EXTENSIONS, build_dir="build", language_level=3))
