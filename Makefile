# make serve | doctor | models | export | test | bench | up      (PORT=, HOST=, PYTHON=, ARGS=, TESTS= may be given)
PYTHON ?= python3
BIN := .venv/bin
HELM := .cache/kubernetes/helm
TEST_PROCESSES ?= 4

# Some containers set it. Nothing is compiled at the installation, so each of a thousand processes of the tests would
# compile what it imports: the service 1.6 s of a processor, PyTorch 7 s.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve cuda doctor models reload warm key export inspect test image-python check lint types layers tests again format spelling coverage lowest reference samples docs kubernetes mutants families large chaos soak cluster-soak corpora fuzz zoo audit sbom bench capacity bench-gpu bench-cluster up clean

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Settings given as `make serve FOVEAL_DEVICE=cpu` go into the environment of the commands, as those of the shell do.
serve: .venv/.serve ## Start the service on http://localhost:8000 with the models in models/
	@echo "Starting: the first line of the log comes when the libraries are loaded."
	@exec $(BIN)/foveal serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

doctor: .venv/.serve ## Say which devices work here, and whether each model's certificate holds
	@$(BIN)/foveal doctor $(ARGS)

models: .venv/.serve ## List the models in models/ and what an image costs
	@$(BIN)/foveal models $(ARGS)

reload: .venv/.serve ## Let a running service serve what its folder of models says now (ARGS='--url URL --key-file FILE')
	@$(BIN)/foveal reload $(ARGS)

warm: .venv/.serve ## Load every model once, so that what a device compiles is there before the service starts
	@$(BIN)/foveal warm $(ARGS)

key: .venv/.serve ## Make an API key (ARGS='ada --scope infer --scope explain')
	@$(BIN)/foveal key new $(ARGS)

export: .venv/.export ## Export a trained network into models/ (ARGS='torchvision:resnet50 --task classify --name resnet50')
	@$(BIN)/foveal-export $(ARGS)

inspect: .venv/.serve ## Show the card, the cost and the certificate of a file (ARGS=models/lenet5/1/model.onnx)
	@$(BIN)/foveal-export inspect $(ARGS)

test: check ## Run every check and every test
	@$(MAKE) --no-print-directory image-python
check: lint types layers tests

lint: .venv/.test spelling ## Run ruff (its rules and its format) and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.test ## Run mypy
	$(BIN)/mypy

layers: .venv/.test ## Check which module imports which
	$(BIN)/lint-imports

OUTCOMES := -o cache_dir=.cache/outcomes
# Four processes keep two cores busy: many files wait much of their time, see tests/file_order.py.
# PyTorch's threads would only wait for each other.
tests: .venv/.test $(HELM) ## Run the tests alone (TESTS=tests/service)
	@command -v chromium >/dev/null || echo "The tests of the playground are skipped: they need Chromium (apt-get install chromium)."
	@command -v firefox-esr firefox >/dev/null || echo "The playground is not tried in Firefox: that needs it (apt-get install firefox-esr)."
	@command -v promtool >/dev/null || echo "The alerts and the dashboard are not tried: that needs promtool (apt-get install prometheus)."
	OMP_NUM_THREADS=1 $(BIN)/pytest $(OUTCOMES) --cache-clear \
		-n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS) || { [ $$? -eq 1 ] && $(MAKE) --no-print-directory again; }

# See docs/decisions/0058. Status 1 is that of failed tests; any other ends `make tests` at once.
again: .venv/.test ## Run the tests that failed once more, alone: at most three
	@[ $$(grep -c :: .cache/outcomes/v/cache/lastfailed) -le 3 ]
	@echo "Once more, alone. Whatever passes now is unsteady: find out why, in the test or in the product."
	OMP_NUM_THREADS=1 $(BIN)/pytest $(OUTCOMES) -n 0 -rA --last-failed --last-failed-no-failures none $(TESTS)

format: .venv/.test ## Format the code and correct what ruff can correct
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

spelling: .venv/.test ## Check the spelling: American English
	git ls-files -z | xargs -0 $(BIN)/codespell

# Processes and threads write data files of their own, empty ones if they are killed; a measured test takes longer than
# a plain one.
coverage: .venv/.test ## Measure branch coverage, which has a floor (TESTS=tests/service)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --timeout=120 $(TESTS)
	find .cache/coverage -name 'data.*' -empty -delete
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report $(if $(TESTS),--fail-under=0)

# With EXTRAS=test PyTorch is not installed, and the tests that need it are left out. An old release may warn that an
# interface goes away, which is no reason to raise a lower bound.
EXTRAS ?= exporter,test
LOWEST := .cache/lowest
NEED_TORCH = $(shell grep -rlE '^(from|import) (torch|exporter|tests\.exporter)\b' tests --include='test_*.py')
lowest: ## Run the tests with the lowest versions that pyproject.toml allows (EXTRAS=test: without PyTorch)
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[$(EXTRAS)]'
	$(LOWEST)/bin/python -m pytest -W ignore::DeprecationWarning \
		$(if $(findstring exporter,$(EXTRAS)),,$(addprefix --ignore=,$(NEED_TORCH))) $(TESTS)

reference: .venv/.serve ## Write docs/openapi.json and the pages of reference from the code
	$(BIN)/foveal openapi > docs/openapi.json
	for page in card errors metrics settings tasks; do $(BIN)/foveal reference $$page > docs/$$page.md || exit 1; done
	$(BIN)/foveal-export reference > docs/recipe.md

samples: .venv/.export ## Make the playground's sample video again
	$(BIN)/python -m exporter.training.sample_video service/playground/samples

docs: .venv/.docs ## Build the documentation as a site, in build/site (its search needs a web server)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/site/index.html"

kubernetes: .venv/.test $(HELM) ## Write the Kustomize bases in docker/k8s from the Helm chart
	$(BIN)/python docker/k8s/render.py $(HELM)

# helm and kubectl, for Linux on x86-64. Where they can not be had, the tests that need them are skipped.
$(HELM): docker/k8s/tools.py .venv/bin/python
	@$(BIN)/python docker/k8s/tools.py $(@D) || echo "No helm and kubectl: the tests of the chart are skipped."

families: .venv/.test ## Export every family of network that the tests know, not one of each kind: some minutes
	FAMILIES=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile tests/exporter/test_networks.py \
		tests/exporter/sources/test_transformers_detectors.py tests/exporter/sources/test_transformers_segmenters.py

large: .venv/.test ## Export and serve a network above 2 GiB: 9 GiB of memory, 7 GiB in TMPDIR, some minutes
	$(BIN)/pytest -n 0 tests/exporter/large.py

mutants: .venv/.test ## Change the core modules in one place at a time; do their tests notice? (MUTANTS=150 MODULES=…)
	$(BIN)/python -m mutants --sample $(or $(MUTANTS),0) $(MODULES)

# Each attack of the tests, several times as large. It needs 4 GB of memory and `ulimit -n 4096`.
CHAOS ?= 5
chaos: .venv/.test ## Attack the service on a real socket, for some minutes (CHAOS=5)
	ulimit -n 4096; CHAOS=$(CHAOS) $(BIN)/pytest --timeout=300 \
		tests/e2e/test_slow_clients.py tests/e2e/test_hostile_heads.py tests/e2e/test_large_bodies.py \
		tests/e2e/test_model_uploads.py tests/e2e/test_mixed_floods.py

# Everything goes to 127.0.0.1. It needs 4 GiB of memory; FOVEAL_WORKERS=2 and other settings are passed on.
SOAK ?= 60
soak: .venv/.bench ## Load the service with every kind of request; does anything grow? (SOAK=60 minutes)
	$(BIN)/python -m benchmarks.soak --minutes $(SOAK)

CLUSTER_SOAK ?= 10
cluster-soak: .venv/.bench ## Kill replicas on a local Ray under load; is every request answered? (CLUSTER_SOAK=10 minutes)
	$(BIN)/python -m benchmarks.cluster soak --minutes $(CLUSTER_SOAK)

bench-cluster: .venv/.bench ## Measure one process and a local Ray, per second of a core
	$(BIN)/python -m benchmarks.cluster throughput

# The container image has a newer Python than many machines have, and its packages are pinned.
IMAGE_PYTHON := $(shell sed -n 's/^ARG PYTHON_IMAGE=python:\([0-9]*\.[0-9]*\).*/\1/p' docker/Dockerfile)
IMAGE_PYTHON_COMMAND ?= python$(IMAGE_PYTHON)
ON_IMAGE_PYTHON := .cache/python-$(IMAGE_PYTHON)
IMAGE_PYTHON_TESTS ?= tests/service/test_log_writer.py tests/service/test_logs.py $(addprefix tests/e2e/test_,$(addsuffix .py,\
	classify detect segment embed explain signals metrics))
IS_IMAGE_PYTHON = $(shell $(IMAGE_PYTHON_COMMAND) --version 2>/dev/null)
image-python: $(if $(IS_IMAGE_PYTHON),$(ON_IMAGE_PYTHON)/.installed) ## Start the service with the container image's Python and packages, and try it
	$(if $(IS_IMAGE_PYTHON),\
		$(ON_IMAGE_PYTHON)/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile $(IMAGE_PYTHON_TESTS),\
		@echo "The service is not tried with the Python of the container image: there is no $(IMAGE_PYTHON_COMMAND).")

$(ON_IMAGE_PYTHON)/.installed: pyproject.toml docker/constraints.txt docker/Dockerfile
	$(IMAGE_PYTHON_COMMAND) -m venv --clear $(ON_IMAGE_PYTHON)
	$(ON_IMAGE_PYTHON)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--constraint docker/constraints.txt --editable . \
		pytest pytest-timeout pytest-xdist anyio httpx hypothesis psutil scikit-image scikit-video pyyaml
	@touch $@

# Test files of other projects, as their source distributions on PyPI have them; none is committed. pip builds no wheel,
# but some packages need their build dependencies before it can read their names.
CORPORA := .cache/corpora
CORPUS_PACKAGES = pillow==13.0.0 hachoir==3.4.0 mutagen==1.48.1 pymediainfo==7.0.1
corpora: .venv/.test $(CORPORA)/.fetched ## Post the test files of Pillow and others to the service: no 5xx, no long or large work
	$(BIN)/python -m tests.corpora $(CORPORA)

$(CORPORA)/.fetched: .venv/bin/python
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-binary :all: --no-deps --dest $(CORPORA) $(CORPUS_PACKAGES)
	@touch $@

# atheris has wheels for Linux and CPython 3.11 to 3.13. It gets an environment of its own.
FUZZ := .cache/fuzz
FUZZ_SECONDS ?= 180
FUZZ_TARGETS ?= image video form json inflated card
fuzz: $(FUZZ)/.installed ## Fuzz each reader of foreign bytes, guided by coverage (FUZZ_SECONDS=180 FUZZ_TARGETS=image)
	@for target in $(FUZZ_TARGETS); do \
		$(FUZZ)/venv/bin/python -m tests.fuzz $$target $(FUZZ)/found -max_total_time=$(FUZZ_SECONDS) || exit 1; done

$(FUZZ)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(FUZZ)/venv
	$(FUZZ)/venv/bin/python -m pip install --quiet --disable-pip-version-check --editable . 'atheris>=3,<4'
	@touch $@

# Both read the packages of the container image. Their tools have an environment of their own.
AUDIT := .cache/audit
# pip-audit asks PyPI, and takes the answer of a mirror that has no such data for "none are known". So a release with known
# vulnerabilities is looked up first.
KNOWN_BAD := pillow==9.0.0
PIP_AUDIT = $(AUDIT)/bin/pip-audit --strict --progress-spinner off --no-deps --disable-pip
audit: $(AUDIT)/.installed ## Look for known vulnerabilities in the packages of the container image; asks PyPI
	@echo '$(KNOWN_BAD)' > $(AUDIT)/known-bad.txt
	@$(PIP_AUDIT) --requirement $(AUDIT)/known-bad.txt 2>/dev/null | grep -qE 'PYSEC-|GHSA-|CVE-' || { \
		echo "NOTHING WAS AUDITED. PyPI's data on vulnerabilities can not be reached: it names none for $(KNOWN_BAD),"; \
		echo "which has many. A mirror without that data, or no network, answers so. Run this where pypi.org can be reached."; \
		exit 1; }
	$(PIP_AUDIT) --requirement docker/constraints.txt

sbom: $(AUDIT)/.installed ## List the packages of the container image in CycloneDX: build/foveal.cdx.json
	@mkdir -p build
	@PYTHONWARNINGS=ignore $(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-format JSON --output-file build/foveal.cdx.json docker/constraints.txt

$(AUDIT)/.installed:
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.10,<3' 'cyclonedx-bom>=7.5,<8'
	@touch $@

# Hours; it goes on where it stopped. Transformers, segmentation_models_pytorch and Ultralytics (AGPL, needed by nothing
# else) are installed into an environment of their own.
ZOO := .cache/zoo
zoo: $(ZOO)/.ready ## Export many named networks with random weights, and write the table in exporter/README.md (ZOO_NAMES=timm)
	nice -n 19 $(ZOO)/bin/python -m zoo $(ZOO_NAMES)

$(ZOO)/.ready: pyproject.toml zoo/requirements.txt
	$(PYTHON) -m venv $(ZOO)
	@echo "Installing the exporter and what the zoo needs into $(ZOO): about 7 GB with PyTorch for CUDA."
	$(ZOO)/bin/python -m pip install --disable-pip-version-check --editable '.[exporter]' --requirement zoo/requirements.txt
	@touch $@

bench: .venv/.bench ## Measure beside the machine's limit and the peers (BENCH=--quick)
	$(BIN)/python -m benchmarks $(BENCH)

capacity: .venv/.bench ## Compare a running service with what foveal plan predicts (CAPACITY='--seconds 60')
	$(BIN)/python -m benchmarks.capacity $(CAPACITY)

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

# Python compiles a module when it is first imported: of the 26,000 that the tests' packages have, few are.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile

.venv/.serve: .venv/bin/python pyproject.toml
	@echo "Installing the service into .venv: about 800 MB."
	$(PIP) --editable .
	@touch $@

# On Linux, PyPI's PyTorch is a build with CUDA of 5.3 GB. Where there is no NVIDIA driver, PyTorch's own index has one of
# 0.7 GB. It is asked for there alone, because a torchvision of another index does not load beside it. Where that fails,
# the next step takes PyPI's. TORCH=cuda or TORCH=cpu decides.
TORCH ?= $(if $(or $(shell command -v nvidia-smi),$(filter-out Linux,$(shell uname -s))),cuda,cpu)
TORCH_OF_CPU := env -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null $(PIP) --retries 0 --timeout 15 --index-url https://download.pytorch.org/whl/cpu

cuda: .venv/.serve ## Add CUDA and cuDNN to .venv, for FOVEAL_DEVICE=cuda
	@echo "Installing CUDA and cuDNN into .venv: about 2.5 GB."
	$(PIP) --editable '.[cuda]'

.venv/.torch: .venv/bin/python pyproject.toml
	@$(BIN)/python -c "import tomllib; extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; \
		print(*(one for one in extras['exporter'] if one.startswith('torch')), sep='\n')" > .venv/torch.txt
	@if [ "$(TORCH)" = cpu ] && ! $(BIN)/python -m pip show --quiet torch 2>/dev/null; then \
		echo "Installing PyTorch for CPUs from pytorch.org: 0.7 GB (with CUDA: make TORCH=cuda …)."; \
		$(TORCH_OF_CPU) --requirement .venv/torch.txt >.venv/torch.log 2>&1 || \
			echo "pytorch.org does not answer or has no build that fits (see .venv/torch.log): PyPI's build with CUDA, 5.3 GB, is installed."; \
	fi
	@touch $@

.venv/.export: .venv/.torch
	@echo "Installing the exporter into .venv: at most 1.6 GB beside PyTorch."
	$(PIP) --editable '.[exporter]'
	@touch $@ .venv/.serve

.venv/.docs: .venv/bin/python pyproject.toml
	@echo "Installing what builds the site into .venv."
	$(PIP) --editable '.[docs]'
	@touch $@ .venv/.serve

.venv/.test: .venv/.torch
	@echo "Installing the exporter and the tools of the tests into .venv: 1.6 GB beside PyTorch."
	$(PIP) --editable '.[exporter,test]'
	@touch $@ .venv/.serve .venv/.export

.venv/.bench: .venv/.test benchmarks/requirements.txt
	@echo "Installing the peers of the benchmark into .venv."
	$(PIP) --requirement benchmarks/requirements.txt
	@touch $@
