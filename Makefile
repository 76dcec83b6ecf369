# strata.overlay2: every task from a fresh clone. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
CACHE := $(CURDIR)/.cache
IMPORTER := $(CACHE)/galaxy-importer
PYTHON ?=
PYTEST_ARGS ?=
TARGETS ?=
CUTS ?= 30
ROWS ?=
ROUNDS ?=
BENCH_ARGS ?=

export PATH := $(BIN):$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- environment ------------------------------------------------------------------------------------------------------

$(VENV)/bin/python:
	@python=$${PYTHON:-$$(scripts/find_python.sh)}; echo "Virtual environment by $$python"; "$$python" -m venv $(VENV)

$(VENV)/.%-installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

.collections/ansible_collections/strata/overlay2:
	@mkdir -p $(@D) && ln -sfn ../../.. $@

.PHONY: packages-demo packages-test packages-vm packages-bench
packages-demo packages-test packages-vm packages-bench: packages-%:
	@command -v python3 >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv; }
	@$${PYTHON:-python3} scripts/system_packages.py $*

.PHONY: venv
venv: packages-test $(VENV)/.dev-installed .collections/ansible_collections/strata/overlay2 ## Make the environment for development in .venv

# --- the two commands -------------------------------------------------------------------------------------------------

.PHONY: demo
demo: packages-demo $(VENV)/.demo-installed .collections/ansible_collections/strata/overlay2 ## Layers, mounts and diffs on this host (ARCHIVES="a.tar.gz b.tar" takes yours)
	@scripts/as_root.sh $(BIN)/ansible-playbook playbooks/demo.yml $(if $(ARCHIVES),--extra-vars 'demo_archives="$(foreach a,$(ARCHIVES),$(abspath $(a)))"')

.PHONY: test
test: venv ## Everything: lint, docs, sanity, unit and integration tests, the roles, virtual machines (CUTS=8 power cuts)
	@CUTS=$${CUTS:-8} scripts/timed.sh lint docs sanity unit integration molecule test-vm

# --- gates ------------------------------------------------------------------------------------------------------------

.PHONY: lint
lint: venv $(IMPORTER)/.installed ## ruff, types, licences, ansible-lint, module docs, changelog, galaxy-importer
	@status=0; \
	ruff check --output-format concise . || status=1; \
	ruff format --check --quiet . || { echo "Run 'ruff format'."; status=1; }; \
	$(MAKE) types || status=1; \
	reuse --no-multiprocessing lint --quiet || { reuse lint --lines; status=1; }; \
	antsibull-changelog lint || status=1; \
	antsibull-docs lint-collection-docs --plugin-docs . || status=1; \
	ansible-lint --profile production || status=1; \
	$(MAKE) galaxy || status=1; \
	exit $$status

.PHONY: types
types: venv ## mypy over the core, the inspector and the modules
	@mypy
	@MYPYPATH=.collections mypy --package ansible_collections.strata.overlay2.plugins.modules

# An environment of its own, as it asks for older releases of what ours has.
$(IMPORTER)/.installed:
	@$${PYTHON:-$$(scripts/find_python.sh)} -m venv --clear $(IMPORTER)
	@$(IMPORTER)/bin/python -m pip install --quiet 'galaxy-importer>=0.4.30,<1'
	@touch $@

.PHONY: galaxy
galaxy: venv $(IMPORTER)/.installed ## Build the collection's tarball in .cache/galaxy and see that Galaxy would accept it
	@tarball=$$(python scripts/build_collection.py $(CACHE)/galaxy); cd $(CACHE)/galaxy; log=importer.log; \
	PATH=$(IMPORTER)/bin:$$PATH python -m galaxy_importer.main "$$tarball" >$$log 2>&1 || { cat $$log; exit 1; }; \
	if grep -E '^(WARNING|ERROR)' $$log; then exit 1; fi; echo "galaxy-importer accepts $$tarball"

.PHONY: docs
docs: venv $(VENV)/.docs-installed ## Build the collection's site in .cache/docs; warnings are errors
	@python scripts/build_docs.py

.PHONY: sanity
sanity: venv ## ansible-test sanity on the oldest and newest ansible-core claimed, every Python found (CORES="2.19 2.20")
	@$(BIN)/python scripts/ansible_test.py sanity

.PHONY: unit
unit: venv ## Unit tests, also on the oldest and newest Python found here
	@scripts/as_root.sh $(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)
	@scripts/as_root.sh $(BIN)/python scripts/unit_elsewhere.py $(PYTEST_ARGS)

.PHONY: integration
integration: venv ## Integration tests: dockerd, containers-storage, the modules (TARGETS="overlay2_layer ..." for some)
	@scripts/as_root.sh $(BIN)/python -m pytest tests/integration $(PYTEST_ARGS)
	@scripts/as_root.sh $(BIN)/python scripts/ansible_test.py integration $(TARGETS)

.PHONY: bench
bench: packages-bench venv ## The benchmark table (ROWS="apply diff" for some rows, ROUNDS=5, BENCH_ARGS=--help)
	@scripts/as_root.sh $(BIN)/python tests/bench $(ROWS) $(if $(ROUNDS),--rounds $(ROUNDS)) $(BENCH_ARGS)

.PHONY: molecule
molecule: venv $(VENV)/.vm-installed ## The roles on this host, in a scratch home: with root where there is root, and without
	@if [ "$$(id -u)" -eq 0 ]; then molecule test --scenario-name default; fi
	@scripts/rootless.sh $(BIN)/molecule test --scenario-name default

.PHONY: test-vm
test-vm: venv packages-vm $(VENV)/.vm-installed ## The VM scenario: XFS with quota, power cuts (CUTS=30)
	@if [ "$$(id -u)" -eq 0 ] || molecule/vm/vm.py image --built; then POWER_CUTS=$(CUTS) molecule test --scenario-name vm; \
	else echo "*** Left out: the machines' image needs root to be built, once (VM_CACHE says where)."; fi

.PHONY: changelog
changelog: venv ## Render CHANGELOG.rst from changelogs/fragments
	@rm -f changelogs/.plugin-cache.yaml # or modules that are new since the last time are missing
	antsibull-changelog release --update-existing --refresh

.PHONY: clean
clean: ## Remove what the targets above made in this folder
	rm -rf $(VENV) .cache .collections .ansible build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
