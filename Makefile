# Every command that a person or CI runs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never

# Tests that start torch processes: passive OpenMP waiting (active waiting made runs ten times slower on shared cores),
# one thread a rank, no hub, and DeepSpeed told that there is no accelerator to look for.
TORCH_ENV := OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 DS_ACCELERATOR=cpu HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Rooms of the trainer that must work without torch, numpy and pyarrow.
LIGHT_ROOMS := tests/trainer/scoring $(addprefix tests/trainer/data/test_,$(addsuffix .py,record conversation template tokenizer sample audit layout preview))
DEMO_DIR ?= runs/tiny

# Lane limits in seconds, killed when exceeded: each is about twice what two cores need.
LIMIT_FAST := 120
LIMIT_TRAINER := 1200
LIMIT_MODES := 1200
LIMIT_DEMO_TWICE := 900
LIMIT_CLUSTER := 1500
LIMIT_HELM := 400
LIMIT_BENCH := 960
LIMIT_IMAGES := 600

.PHONY: help init base generate lint types contracts check test test-fast test-house test-base test-trainer test-modes test-cluster test-helm test-images test-demo demo bench-audit bench-operator bench-training-repeat package-chart clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

$(UV):
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet uv==$(UV_VERSION)

.venv/.synced: pyproject.toml uv.lock | $(UV)
	$(UV) sync --quiet --frozen --compile-bytecode --extra trainer --extra operator --extra tracking --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

.venv-base/.synced: pyproject.toml uv.lock | $(UV)
	UV_PROJECT_ENVIRONMENT=.venv-base $(UV) sync --quiet --frozen --no-default-groups --group test --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

init: .venv/.synced ## make the environment (venv, locked packages)

base: .venv-base/.synced ## make the light environment, without torch

generate: init ## write the CRDs and reference docs from the contract, and the chart's table of values
	$(BIN)/python -m llava_contract.crd crds
	$(BIN)/python -m llava_contract.crd helm/llava-operator/files/crds
	$(BIN)/python -m llava_contract.reference docs/reference
	$(BIN)/python helm/values_table.py helm/llava-operator

lint: init
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: init
	$(BIN)/mypy

contracts: init
	$(BIN)/lint-imports

check: lint types contracts ## lint, types, import contracts (under 1 minute)

test: test-fast test-trainer ## every test but the demo's

test-fast: test-house test-base ## house, contract, operator, light commands: no torch, under 1 minute

test-house: init
	timeout $(LIMIT_FAST) $(BIN)/pytest -n 2 tests/house

test-base: base ## contract, operator and light commands where torch cannot be imported
	timeout $(LIMIT_FAST) .venv-base/bin/pytest -n 2 tests/contract tests/operator tests/base $(LIGHT_ROOMS)

test-trainer: init ## the trainer, with torch on the CPU
	$(TORCH_ENV) timeout $(LIMIT_TRAINER) $(BIN)/pytest -n 2 --dist loadfile -m "not modes" tests/trainer tests/examples

test-modes: init ## every way of tuning with every ZeRO stage and offload, and every family, on two ranks
	$(TORCH_ENV) timeout $(LIMIT_MODES) $(BIN)/pytest tests/trainer/engine/test_modes.py tests/trainer/engine/test_families.py

test-cluster: init examples/tiny/data/.made ## the product on the cluster that KUBECONFIG names, else on one from the kit
	.ci/with-cluster timeout $(LIMIT_CLUSTER) $(BIN)/pytest -n 3 --dist loadfile tests/cluster

test-helm: init ## the chart, where helm is on the PATH or named by HELM
	timeout $(LIMIT_HELM) $(BIN)/pytest -n 2 tests/helm

test-images: init ## the Dockerfiles' own install steps, done in a folder
	timeout $(LIMIT_IMAGES) $(BIN)/pytest -n 2 tests/images

bench-audit: init ## llava audit over 665,000 rows and 4,000 images, made for it
	timeout $(LIMIT_BENCH) $(BIN)/python bench/data_audit.py $(BENCH_OPTIONS)

bench-training-repeat: init ## the same training twice, as it comes and deterministic, on this machine's devices
	timeout $(LIMIT_BENCH) $(BIN)/python bench/training_repeat.py $(BENCH_OPTIONS)

package-chart: ## the chart as one file in dist/
	helm package helm/llava-operator --destination dist

bench-operator: init ## a thousand jobs on the API server (without Training Operator) that KUBECONFIG names; up to 15 minutes
	timeout $(LIMIT_BENCH) $(BIN)/python bench/operator_load.py $(BENCH_OPTIONS)

examples/tiny/data/.made: examples/tiny/make_data.py examples/tiny/scenes.py examples/tiny/wording.py | .venv/.synced
	$(BIN)/python examples/tiny/make_data.py
	@touch $@

test-demo: examples/tiny/data/.made ## run the demo twice and compare loss traces and answers to the last bit
	$(TORCH_ENV) timeout $(LIMIT_DEMO_TWICE) $(BIN)/pytest tests/demo

demo: examples/tiny/data/.made ## one YAML file becomes a trained, converted and scored model
	HF_HUB_OFFLINE=1 $(BIN)/llava run examples/tiny/llava-finetune.yaml --dir $(DEMO_DIR)

clean: ## remove what the commands made
	rm -rf .venv .venv-base .uv runs build dist
