"""Builds the extension modules; everything else about the project is said in pyproject.toml.

Switches, read from the environment:

KHRONOS_DEBUG=1                     no optimisation, debug symbols, C assertions, Cython's own checks, and prefixes that
                                    collide all the time
KHRONOS_COVERAGE=1                  no optimisation, gcov's counters, and a mark in the C at each line of Cython, for
                                    tools/cython_coverage.py (GCC only)
KHRONOS_SANITIZE=address,undefined  the compiler's sanitizers (what the list holds goes to -fsanitize=); with
                                    fuzzer-no-link, clang's, the branches report to a fuzzer
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("KHRONOS_DEBUG") == "1"
COVERAGE = os.environ.get("KHRONOS_COVERAGE") == "1"
SANITIZE = os.environ.get("KHRONOS_SANITIZE", "")
MSVC = sys.platform == "win32"

# GCC puts small functions in place only until a file has grown by 40 %, and which ones that leaves out is luck: with
# more room the look-ups of the core's largest file are all in place (a hit: 193 instructions, else 222). Clang has no
# such limit and ignores this.
compile_args = ["/O2"] if MSVC else ["-O3", "-Wno-unused-function", "--param=inline-unit-growth=100"]
link_args = []
macros = []
directives = {
    "language_level": 3,
    "freethreading_compatible": True,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    # Real method descriptors: the interpreter's specialised call paths know them, and do not know cyfunctions.
    "binding": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
    "autotestdict": False,
    "auto_pickle": False,
    "linetrace": COVERAGE,
}

if DEBUG and not MSVC:
    compile_args = ["-O0", "-g3", "-UNDEBUG", "-fno-strict-aliasing"]
if COVERAGE:
    # What nobody calls is kept, so that it counts as not run.
    compile_args = ["-O0", "--coverage", "-fkeep-static-functions", "-Wno-unused-function"]
    link_args += ["--coverage"]
if DEBUG:
    macros += [("KF_WEAK_HASH", "1")]
if SANITIZE:
    # With -O3 the compiler spends minutes on the checks.
    compile_args += ["-O1", f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g"]
    link_args += [f"-fsanitize={SANITIZE}"]
if COVERAGE:
    # The marks are Cython's calls of a tracer, which are to be no calls: a tracer makes an object at each function, so
    # that the garbage collector, and with it any code, would run where the core relies on none to run.
    macros += [("CYTHON_PROFILE", "0"), ("CYTHON_TRACE", "0"), ("CYTHON_INLINE", "")]

sources = sorted(Path("khronos_fast").rglob("*.pyx"))
extensions = [
    Extension(
        ".".join(source.with_suffix("").parts),
        [source.as_posix()],
        define_macros=macros,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for source in sources
]

# Builds of another kind have C files of their own: they differ.
build_dir = "build/cython" + "-debug" * DEBUG + "-coverage" * COVERAGE


class TranslateAndBuild(build_ext):
    """Translates to C only when something is compiled: a source distribution needs no translation, and holds no C."""

    def run(self):
        translated = cythonize(self.extensions, compiler_directives=directives, build_dir=build_dir)
        for extension, in_c in zip(self.extensions, translated, strict=True):
            extension.sources, extension.depends = in_c.sources, in_c.depends
        super().run()


setup(ext_modules=extensions, cmdclass={"build_ext": TranslateAndBuild})
