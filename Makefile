# Every target sets itself up: a virtual environment in .venv with exactly the files that the
# *.lock name, each checked by its SHA-256.
# `make tune` is the main job, `make test` passes the tests. Nothing but Python 3.11+ and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Bytecode is compiled here once: without it every Ray worker pays for it at each start.
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes

.PHONY: tune test pytest cluster-lab fuzz kills check coverage format docs licences sbom wheel lock clean
.DELETE_ON_ERROR:

tune: $(STAMP)
	$(BIN)/python launch.py tune $(ARGS)

# The checks run beside the tests: while Ray starts, a core is free.
test: $(STAMP)
	$(MAKE) --no-print-directory -j 2 check pytest

# Two processes of one thread each; a file stays in one process.
pytest: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# Three hosts on this machine, and everything that can happen to them. Needs root; half an hour.
cluster-lab: $(STAMP)
	OMP_NUM_THREADS=1 CLUSTER_LAB_TABLE=docs/cluster-lab.md \
		$(BIN)/python -m pytest -m cluster_lab tests/cluster/hosts $(ARGS)

# Damaged and hostile files, as many as wanted: make fuzz ARGS="--inputs 3000 --seed 1".
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --page docs/guides/operations.md $(ARGS)

# Without the tests that start other processes: those are not followed.
coverage: $(STAMP)
	$(BIN)/python -m pytest -m "not cluster and not slow" --cov --cov-report=term:skip-covered $(ARGS)

# Commands killed at random moments and given again: make kills ARGS="--kills 40 -k 'import or copy'".
kills: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults/test_killed.py --timeout 0 --kills 40 \
		--kills-page docs/guides/operations.md $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site is in site/: open site/index.html, or `python3 -m http.server -d site` for its search.
docs: $(VENV)/.docs-installed
	$(BIN)/python -m docs.generate
	$(BIN)/zensical build --clean --strict

licences: $(STAMP)
	$(BIN)/python -m docs.licences

# What the lock installs, each file with its SHA-256, as CycloneDX 1.6.
SBOM := sbom.cdx.json
sbom: $(STAMP)
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
		--output-reproducible --output-file $(SBOM)

# What the hosts of a cluster install, in cluster/wheel/: for an image, or to copy to a login node.
wheel: $(STAMP)
	$(BIN)/python -c 'from pathlib import Path; from daam.cluster.wheel import prepare_wheel as w; print(w(Path()))'

$(VENV)/.docs-installed: $(STAMP) requirements-docs.lock
	$(INSTALL) -r requirements-docs.lock
	touch $@

$(STAMP): requirements.lock requirements-dev.lock requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "daam needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-uv.lock
	$(INSTALL) -r requirements.lock -r requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# What is pinned stays pinned; `make lock UPGRADE=--upgrade` takes the newest versions in range.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
	--generate-hashes $(UPGRADE)

lock: $(STAMP)
	$(LOCK) requirements.txt -o requirements.lock
	$(LOCK) requirements-dev.txt -o requirements-dev.lock
	$(LOCK) requirements-docs.txt -o requirements-docs.lock
	$(LOCK) requirements-uv.txt -o requirements-uv.lock
	$(LOCK) requirements-gcp.txt -o requirements-gcp.lock

clean:
	rm -rf $(VENV)
