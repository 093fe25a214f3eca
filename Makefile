# make serve | test | check | mutants | bench | up      (PORT=, HOST=, PYTHON= may be given)
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help serve test check lint types layers tests mutants bench bench-gpu up clean

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

serve: .venv/.serve ## Start the service on http://localhost:8000 with the models in models/
	@exec $(BIN)/foveal serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

test: check ## Run every check and every test
check: lint types layers tests

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.test
	$(BIN)/mypy

layers: .venv/.test
	$(BIN)/lint-imports

tests: .venv/.test
	@command -v chromium >/dev/null || echo "The tests of the playground are skipped: they need Chromium (apt-get install chromium)."
	$(BIN)/pytest

mutants: .venv/.test ## Change the core modules in one place at a time; do their tests notice? (MUTANTS=150 MODULES=…)
	$(BIN)/python -m mutants --sample $(or $(MUTANTS),0) $(MODULES)

bench: .venv/.bench ## Measure beside the machine's limit and the peers (BENCH=--quick)
	$(BIN)/python -m benchmarks $(BENCH)

bench-gpu: .venv/.bench ## The same on CUDA and TensorRT, without the peers
	$(BIN)/python -m benchmarks --gpu $(BENCH)

up: ## Start the service, Prometheus and Grafana in containers
	docker compose up --build

clean: ## Remove what the targets above made
	rm -rf .venv .cache build dist *.egg-info .*_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Foveal needs Python 3.11 or newer; say which: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.serve: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[exporter,test]'
	@touch $@ .venv/.serve

.venv/.bench: .venv/.test benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@
