# Everything a newcomer, a developer and CI need. Python 3.11 or 3.12 and make are enough to begin.
PYTHON ?= python3
BIN := .venv/bin
DATA ?=
RECIPE ?= tiny
ARGS ?=

.PHONY: help setup pretrain test test-all lint format lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

setup: .venv/.installed  ## create .venv with the pinned dependencies and the package

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

pretrain: setup  ## DICOM in, registered encoder and report out; DATA=/path/to/dicom for your own
	$(BIN)/python jobs/pretrain.py $(RECIPE) $(if $(DATA),--data "$(DATA)") $(ARGS)

test: setup  ## all tests but the slow ones, in two processes (about 12 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)

test-all: setup  ## every test that this machine can run
	$(BIN)/python -m pytest $(ARGS)

lint: setup  ## formatting, lint rules and types (import rules: tests/test_layers.py)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

format: setup  ## rewrite files in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# CUDA's own packages are left out: the torch wheel names their exact versions itself, and a machine
# without CUDA does not need them.
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
	nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx

lock:  ## renew requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra dev --python-version 3.11 --no-annotate --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" $(CUDA:%=--no-emit-package %) \
		-o requirements.lock

clean:  ## remove what the commands above made, except the environment
	rm -rf outputs mlflow.db mlartifacts
