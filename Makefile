# The two commands are `make demo` and `make test`; each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cksum requirements.lock pyproject.toml clients/python/pyproject.toml | cksum | cut -d' ' -f1)
N ?= 1000
JSON ?=
EFFORT ?= 10
FRAMEWORKS := e2e/scenarios/test_frameworks.py

.DEFAULT_GOAL := help
.PHONY: help setup tools demo test search e2e e2e-frameworks check format generate lock image bench-scale bench-control clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create the virtual environment from the hashed lock

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e clients/python
	@touch $@

tools: setup ## Build the pinned control plane, kwok and Prometheus once (8 to 20 minutes on 2 cores)
	$(BIN)/python -m e2e.harness tools

demo: tools ## Watch the operator keep an agent service inside its objectives (KEEP=1 leaves it up, OPERATOR=off runs without it, REPORT=file.html writes plots, TRACE=file replays a load)
	$(BIN)/python -m e2e.demo

# One processor and rarer garbage collections for each of the many Go servers: a sixth less CPU time each.
test: tools ## All tests but kind's
	GOMAXPROCS=1 GOGC=400 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 6 --dist loadgroup --no-loadscope-reorder

search: setup ## Search the decision core's properties for new faults (EFFORT=20 draws as many more examples)
	EFFORT=$(EFFORT) $(BIN)/python -m pytest --numprocesses 2 --hypothesis-profile=search tests/property tests/unit/test_core_state.py tests/unit/test_core_external.py tests/unit/test_core_schedules.py

e2e: tools ## Scenarios on kind: real containers, a kubelet, the image and the chart (root and docker.io, or a Docker of yours; FULL=1 with those of e2e-frameworks)
	$(BIN)/python -m pytest --capture=sys --verbose --durations=30 $(if $(FULL),,--ignore=$(FRAMEWORKS)) e2e/scenarios

e2e-frameworks: tools ## The agent frameworks' examples and agents on kind, side by side (REPORT=file.md writes what was measured)
	$(BIN)/python -m pytest --capture=sys --verbose $(FRAMEWORKS)

check: setup ## Lint, types, layers and drift of generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m agentscaler.api.crd --check
	$(BIN)/python -m agentscaler.api.reference --check
	$(BIN)/python -m agentscaler.frameworks.docs --check
	$(BIN)/python charts/values.py --check
	$(BIN)/python charts/dashboard.py --check

format: setup ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

generate: setup ## Write the CRD, the reference, the frameworks' page, the chart's values and the dashboard
	$(BIN)/python -m agentscaler.api.crd
	$(BIN)/python -m agentscaler.api.reference
	$(BIN)/python -m agentscaler.frameworks.docs
	$(BIN)/python charts/values.py
	$(BIN)/python charts/dashboard.py

bench-scale: tools ## N objects on a real control plane: create, rest, react (JSON=file writes the rows)
	$(BIN)/python -m benchmarks.scale --objects $(N) $(if $(JSON),--json $(JSON))

bench-control: setup ## Control quality on recorded loads, against baselines and a clairvoyant (JSON=file writes the rows, FULL=1 all variants)
	$(BIN)/python -m benchmarks.control $(if $(JSON),--json $(JSON)) $(if $(FULL),--full)

COMPILE = $(VENV)-lock/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

lock: ## Resolve the dependencies again
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet pip-tools
	$(COMPILE) --extra simulate -o requirements.lock pyproject.toml clients/python/pyproject.toml requirements-dev.in
	$(COMPILE) -c requirements.lock -o requirements-operator.lock pyproject.toml
	$(COMPILE) -c requirements.lock -o e2e/agents/reference/requirements.lock clients/python/pyproject.toml e2e/agents/reference/requirements.in
	$(COMPILE) -o e2e/agents/aiecs/requirements.lock e2e/agents/aiecs/requirements.in
	$(COMPILE) -c requirements.lock --build-deps-for wheel --only-build-deps -o requirements-build.lock pyproject.toml
	rm -rf $(VENV)-lock

image: ## Build the operator's image and print what it adds to its base
	docker build --tag agentscaler.dev/operator:0.1.0 .
	@docker image inspect --format '{{.Size}}' python:3.11-slim-bookworm agentscaler.dev/operator:0.1.0 | xargs | awk '{printf "%.1f MB beyond the base\n", ($$2 - $$1) / 1e6}'

clean: ## Remove the virtual environment and caches of the work tree
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
