# Two commands: `make run` and `make test`. Each sets up what it needs in .venv, once.
PYTHON ?= python3
UV := $(shell command -v uv || echo .uv/bin/uv)
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-all soak lint docs benchmarks clean

run: .venv/ready
	$(BIN)/creche retrain penguins || test $$? -eq 3
	@echo
	$(BIN)/creche score examples/observations.csv --recipe penguins --out var/predictions

# Two processes; the tests of one file share its fixtures and stay on one of them.
test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-all: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

# An hour: what a killed process or a server that is away comes to, then a month of schedules with faults at random.
soak: .venv/ready
	$(BIN)/python tests/soak/kill_table.py
	$(BIN)/python -m pytest tests/soak

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/dvc dag >/dev/null
	$(MAKE) --no-print-directory docs

# The site works without a network: no fonts, no scripts from elsewhere.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

benchmarks: run
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

# The same wheels as users get, by hash, compiled: without that every import costs two to three times as much.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "creche needs Python 3.11 to 3.13; name one with PYTHON=python3.x"; exit 1; }
	test -d .venv || $(PYTHON) -m venv .venv
	command -v $(UV) >/dev/null || $(PYTHON) -m pip install --quiet --target .uv uv
	$(UV) pip sync --quiet --python .venv --compile-bytecode --require-hashes requirements.lock
	$(UV) pip install --quiet --python .venv --no-deps --editable .
	touch .venv/ready

requirements.lock: pyproject.toml
	command -v $(UV) >/dev/null || $(PYTHON) -m pip install --quiet --target .uv uv
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
	  --no-annotate --no-header pyproject.toml -o requirements.lock

clean:
	rm -rf var experiments .venv .uv .*_cache
