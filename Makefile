# make demo and make test need nothing but Python 3.11 or newer and a C compiler:
# they make $(VENV), install what is missing and build. Others: see README.md.

PYTHON ?= python3
VENV ?= .venv
BENCH_PYTHON ?= $(VENV)/bin/python
PYTEST_ARGS ?=
# Test processes side by side.
PYTEST_WORKERS ?= 2
BENCH_ARGS ?=
FULL_ARGS ?=
HOSTILE_ARGS ?=
DIST_ARGS ?=
FAULTS_ARGS ?=
# For all targets together, and the compiler that has libFuzzer.
FUZZ_SECONDS ?= 600
FUZZ_CC ?= clang
FUZZ_ARGS ?=
# The sanitizers' runtimes are this compiler's.
ASAN_CC ?= gcc
SANITIZERS ?= address,undefined

# NIGHT=--night: also the cases that by day are left to .ci/nightly (tests/README.md).
NIGHT ?=

# Everything but what needs big packages or much time.
BASE_TESTS := not models and not boosters and not slow
# The large tables of codecs and foreign files, which one Python runs without sanitizers, and what
# one Python runs with and without them. Everything: make test-base MATRIX= ONCE= NIGHT=--night
MATRIX ?= --ignore=tests/load/test_joblib_files.py --ignore=tests/dump/test_joblib_layout.py \
          --ignore=tests/codecs/test_compression.py --ignore=tests/hostile
# C programs of their own, built without sanitizers, and what looks at the project's files.
NO_PYTHON := --ignore=tests/core --deselect=tests/fuzz/test_replay.py::test_core_target \
             --ignore=tests/tools
# Large tables over the project's own files and names, where neither the Python nor a sanitizer has
# shown a difference.
SAME_EVERYWHERE := --ignore=tests/survey/test_survey_names.py \
                   --ignore=tests/codecs/test_compress_forms.py \
                   --ignore=tests/load/test_sidecar_files.py \
                   --ignore=tests/load/test_several_writers.py \
                   --ignore=tests/load/test_rewound_files.py \
                   --ignore=tests/package/test_joblib_namespace.py \
                   --ignore=tests/package/test_documentation.py \
                   --ignore=tests/package/test_serving.py
ONCE ?= --ignore=tests/faults --ignore=tests/targets/test_targets.py \
        --ignore=tests/load/test_streams.py --ignore=tests/codecs/test_stream_kinds.py \
        --ignore=tests/out/test_write_answers.py --ignore=tests/package/test_progress.py \
        --ignore=tests/package/test_cli.py --ignore=tests/package/test_convert.py \
        --ignore=tests/survey/test_survey_bombs.py --ignore=tests/policy/test_attacks.py \
        --ignore=tests/policy/test_mutations.py --ignore=tests/report \
        $(SAME_EVERYWHERE) $(NO_PYTHON)
# What runs under the sanitizers at night only (.ci/nightly). Everything:
# make asan MATRIX= SLOW= NIGHT=--night
SLOW ?= --ignore=tests/targets/test_targets.py --ignore=tests/load/test_streams.py \
        --ignore=tests/codecs/test_stream_kinds.py --ignore=tests/out/test_write_answers.py \
        --ignore=tests/package/test_progress.py --ignore=tests/package/test_cli.py \
        --ignore=tests/package/test_convert.py --ignore=tests/survey/test_survey_bombs.py \
        --ignore=tests/report --ignore=tests/policy/test_attacks.py \
        --ignore=tests/codecs/test_zstd.py $(SAME_EVERYWHERE) $(NO_PYTHON)

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
PIP_INSTALL := $(PIP) install --no-build-isolation --no-deps --force-reinstall --upgrade
# One directory per switch and Python: see setup.py.
TAG = $(shell $(PY) -c 'import sys; print(sys.implementation.cache_tag)')

C_FILES := $(sort $(wildcard csrc/*.[ch] csrc/*/*.[ch]))
SOURCES := setup.py pyproject.toml $(C_FILES) \
           $(sort $(wildcard $(foreach f,*.py *.pyi py.typed */*.py,pypkg/fastpersist/$f)))
C_FORMATTED := $(C_FILES) $(sort $(wildcard tests/core/*.[ch] tests/fuzz/*.[ch] tests/faults/*.c))
PY_FILES := setup.py $(wildcard pypkg tests benchmarks tools docs/conf.py examples) tools/check_layers

.PHONY: build demo test test-base bench bench-full docs dist lint werror format asan coverage hostile fuzz clean
# Two targets build into the same environment.
.NOTPARALLEL:
.DELETE_ON_ERROR:

# setuptools keeps files in build/ that the sources no longer have.
drop_stale = find build -path '*/fastpersist/*' -name '*.py*' -delete 2>/dev/null || true

# --- set-up -------------------------------------------------------------------

build: $(VENV)/.built

$(VENV)/.made: tools/prepare.sh
	@tools/prepare.sh '$(PYTHON)' '$(VENV)'
	@touch $@

$(VENV)/.built: $(VENV)/.made $(SOURCES)
	@echo 'building fastpersist into $(VENV)'
	@$(drop_stale)
	@$(PIP_INSTALL) .
	@touch $@

# $(VENV)/.with-test-boosters: the extras "test" and "boosters" are installed.
# fastpersist itself is there already, so this only adds what they name.
$(VENV)/.with-%: pyproject.toml | $(VENV)/.built
	@echo 'installing packages: $*'
	@$(PIP) install 'fastpersist[$*]'
	@touch $@

# --- use ----------------------------------------------------------------------

demo: $(VENV)/.built $(VENV)/.with-demo
	@$(PY) -m fastpersist demo --keep build/demo
	@echo 'The chart of the benchmarks: docs/pictures/speed.png (make bench draws build/bench/speed.png)'

test: $(VENV)/.built $(VENV)/.with-test,boosters
	$(PY) -m pytest -n $(PYTEST_WORKERS) $(NIGHT) $(PYTEST_ARGS)

# For further Pythons: .ci/run
test-base: $(VENV)/.built $(VENV)/.with-test-base
	$(PY) -m pytest -n $(PYTEST_WORKERS) $(NIGHT) -m '$(BASE_TESTS)' $(MATRIX) $(ONCE) $(PYTEST_ARGS)

ifeq ($(BENCH_PYTHON),$(VENV)/bin/python)
bench: $(VENV)/.built $(VENV)/.with-bench
endif
bench:
	@$(BENCH_PYTHON) benchmarks/bench.py --json build/bench/rows.json --chart build/bench/speed.png $(BENCH_ARGS)

# All peers that can do the object, and how they grow; hours. FULL_ARGS="--objects 1e3 1e5 --bytes 1e6"
bench-full: $(VENV)/.built $(VENV)/.with-bench-full
	@$(PY) benchmarks/full.py $(FULL_ARGS)

# HTML into build/docs; a warning of Sphinx is an error.
docs: $(VENV)/.built $(VENV)/.with-docs
	$(PY) -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo 'the first page: build/docs/index.html'

# sdist and wheels into dist/, built twice and tried: DIST_ARGS="--python python3.12 --suite"
dist: $(VENV)/.built $(VENV)/.with-dist
	$(PY) tools/dist.py $(DIST_ARGS)

# --- checks -------------------------------------------------------------------

lint: werror $(VENV)/.with-lint $(VENV)/.with-demo
	$(VENV)/bin/clang-format --dry-run -Werror $(C_FORMATTED)
	$(VENV)/bin/ruff check $(PY_FILES)
	$(VENV)/bin/ruff format --check $(PY_FILES)
	tools/check_layers
	$(PY) tools/check_imports.py
	$(VENV)/bin/mypy
	$(PY) -m mypy.stubtest --mypy-config-file pyproject.toml fastpersist._core

# A build in which a warning of the compiler is an error; the same otherwise, so the tests run it.
werror: $(VENV)/.strict

$(VENV)/.strict: $(VENV)/.made $(SOURCES)
	@echo 'building fastpersist into $(VENV), warnings as errors'
	@$(drop_stale)
	@FASTPERSIST_WERROR=1 $(PIP_INSTALL) .
	@touch $@ $(VENV)/.built

format: $(VENV)/.with-lint
	$(VENV)/bin/clang-format -i $(C_FORMATTED)
	$(VENV)/bin/ruff check --fix $(PY_FILES)
	$(VENV)/bin/ruff format $(PY_FILES)

# libstdc++ too: the sanitizer must find __cxa_throw before a package brings it.
ASAN_PRELOAD = $(shell for l in libasan.so libubsan.so libstdc++.so; do \
                   $(ASAN_CC) -print-file-name=$$l; done | tr '\n' ' ')

# --capture=sys: pytest must not swallow a sanitizer's last words.
asan: $(VENV)/.built $(VENV)/.with-test-base
	@$(drop_stale)
	CC='$(ASAN_CC)' FASTPERSIST_SANITIZE=$(SANITIZERS) \
	    $(PIP_INSTALL) --target build/sanitize/$(TAG) .
	LD_PRELOAD='$(strip $(ASAN_PRELOAD))' PYTHONPATH=$(CURDIR)/build/sanitize/$(TAG) \
	    PYTHONMALLOC=malloc \
	    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1 \
	    UBSAN_OPTIONS=print_stacktrace=1 \
	    $(PY) -m pytest -n $(PYTEST_WORKERS) $(NIGHT) --capture=sys -m '$(BASE_TESTS)' $(MATRIX) \
	    $(SLOW) $(PYTEST_ARGS)

# The programs that test the core alone count as well: the second run keeps theirs.
coverage: $(VENV)/.built $(VENV)/.with-test-base $(VENV)/.with-coverage
	@$(drop_stale)
	@find build -name '*.gcda' -delete 2>/dev/null || true
	FASTPERSIST_COVERAGE=1 $(PIP_INSTALL) --target build/coverage/$(TAG) .
	PYTHONPATH=$(CURDIR)/build/coverage/$(TAG) $(PY) -m pytest -n $(PYTEST_WORKERS) --night \
	    -m '$(BASE_TESTS)' $(PYTEST_ARGS)
	CC='$(ASAN_CC) --coverage -fprofile-update=atomic' CFLAGS=-O0 $(PY) -m pytest --basetemp=build/coverage/programs \
	    tests/core tests/fuzz
	$(VENV)/bin/gcovr --root . --filter csrc/ --print-summary --gcov-ignore-parse-errors=negative_hits.warn build/coverage

# --- what takes long ----------------------------------------------------------

# Every cut and every bit, beside joblib, pickle and skops, then failing system calls and
# allocations, kills, races, leaks: tests/hostile/RESULTS.md.
hostile: $(VENV)/.built $(VENV)/.with-test,hostile
	$(PY) tests/hostile/run.py $(HOSTILE_ARGS)
	$(PY) tests/faults/run.py $(FAULTS_ARGS)

# libFuzzer under the sanitizers; what crashes is left in build/fuzz.
fuzz: $(VENV)/.built $(VENV)/.with-test-base
	FUZZ_CC='$(FUZZ_CC)' $(PY) tests/fuzz/targets.py --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

clean:
	tools/newer_pythons clean
	rm -rf build dist .venv .venv-* pypkg/*.egg-info .hypothesis \
	    .mypy_cache .pytest_cache .ruff_cache
