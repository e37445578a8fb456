# Two commands do everything: `make demo` and `make test`. `make setup` is part of both.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
DEMO ?=
MUTANTS ?=
FAULTS ?=
SOAK ?= 60

.PHONY: setup demo up test lint types imports check mutants faults downtime soak clean
.DELETE_ON_ERROR:

demo: setup
	$(BIN)/canary demo $(DEMO)

# Everything on this machine, to be used from the browser, until Ctrl-C.
up: setup
	$(BIN)/canary up --prefect

# The real demos come last and three at a time: they mostly wait. One that fails is tried once more, by itself:
# beside others a real service may have been too slow to be judged, but what is wrong fails both times.
test: check
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not e2e"
	$(BIN)/pytest -q -n 3 --dist loadfile -m e2e || $(BIN)/pytest -q -m e2e --last-failed --last-failed-no-failures none

# Not part of `make test`: every fault at every moment (some 40 min; docs/faults.md gets the table), all kinds of requests
# through a promotion and 200 changes of the weights (4 min), and rollouts back to back (SOAK=5 for five minutes).
faults: setup
	$(BIN)/python -m tests.faults.matrix --docs docs/faults.md $(FAULTS)

downtime: setup
	$(BIN)/python -m benchmarks.downtime --requests 100000 --check

soak: setup
	$(BIN)/python -m tests.faults.soak --minutes $(SOAK)

check: setup lint types imports

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

# Whether the tests notice small changes of the modules that decide over a rollout. Long: not a part of `test`.
mutants: setup
	$(BIN)/python -m benchmarks.mutants --check $(MUTANTS)

setup: .venv/.installed .tools/.prometheus

# uv is used where it is, and brought with pip into a folder of its own where it is not.
.venv/.installed: requirements.lock pyproject.toml
	@command -v uv >/dev/null || test -x .tools/uv/bin/uv || \
	  { echo "setup: installing uv into .tools/uv"; $(PYTHON) -m venv .tools/uv && .tools/uv/bin/pip install -q uv; }
	@UV=$$(command -v uv || echo .tools/uv/bin/uv); \
	  echo "setup: Python environment .venv from requirements.lock"; \
	  test -x $(BIN)/python || $$UV venv -q --python '>=3.11,<3.14' .venv; \
	  VIRTUAL_ENV=.venv $$UV pip sync -q --compile-bytecode --require-hashes requirements.lock && \
	  VIRTUAL_ENV=.venv $$UV pip install -q --no-deps --editable .
	@touch $@

# Debian's package is only unpacked: installed, it would start a server of its own.
.tools/.prometheus:
	@mkdir -p .tools
	@if command -v prometheus >/dev/null; then echo "setup: Prometheus found: $$(command -v prometheus)"; \
	elif command -v apt-get >/dev/null; then \
	  echo "setup: unpacking Debian's prometheus package into .tools"; \
	  work=$$(mktemp -d) && chmod 755 $$work && cd $$work && \
	  { apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }; } && \
	  dpkg -x prometheus_*.deb . && cp usr/bin/prometheus usr/bin/promtool $(CURDIR)/.tools/ && rm -rf $$work; \
	else echo "setup: Prometheus is missing; install it (macOS: brew install prometheus)" >&2; exit 1; fi
	@touch $@

clean:
	rm -rf .venv .tools .canary .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache
