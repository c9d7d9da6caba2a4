# `make` lists the targets. They run from .venv, which is made again when envs/ or pyproject.toml changes.
SHELL := /bin/bash
CORES ?= $(shell nproc)
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# What a shell sets for other Pythons does not reach these; a user without a home or a name gets both.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX MPLBACKEND
export USER := $(or $(USER),$(LOGNAME),$(shell id -un 2> /dev/null),nobody)
export HOME := $(shell [ -w "$$HOME" ] && echo "$$HOME" || echo "$(CURDIR)/.snakemake/home")
# Configuration for Snakemake: make paper CONFIG="device=cpu 'budget={epochs: 1}'"
CONFIG ?=
CUT = $(if $(findstring budget,$(CONFIG)),-truncated)
# The suite of `make report`, `make arxiv` and `make verify-rerun`: its name or file.
SUITE ?= published
NAME_OF = import pathlib, sys; from crossres.suites.suite import load_suite; print(load_suite(pathlib.Path(sys.argv[1])).suite)
NAME = $(if $(filter %.yaml %.yml,$(SUITE)),$$(python -c '$(NAME_OF)' $(SUITE)),$(SUITE))
REPORT = results/$(NAME)$(CUT)/report.html
# Of `make lite`: seeds 1 to this one.
SEEDS ?= 1
# Empty, unless all its records are given.
GIVEN := $(or $(filter published,$(SUITE)),$(findstring records=shipped,$(CONFIG)))
# Targets that only build the report need no torch: they use .venv if it is there, and otherwise a lighter environment.
LIGHT := $(if $(wildcard .venv/ready),.venv,.venv-report)
published verify verify-rerun docs: export PATH := $(CURDIR)/$(LIGHT)/bin:$(PATH)
ifneq ($(GIVEN),)
report arxiv: export PATH := $(CURDIR)/$(LIGHT)/bin:$(PATH)
endif

# Tests that neither train, nor export, nor run Snakemake.
QUICK := tests/suites tests/claims tests/records tests/report tests/tools/test_docs.py $(wildcard tests/test_*.py)

# A target whose every test is skipped, for want of something, fails; with `make STRICT= TARGET` it does not.
STRICT := --some-must-run

.PHONY: help demo published lite paper verify verify-rerun report arxiv docs quick test test-cifar100 test-container test-kill test-report test-slurm lint format bench image bundle clean lock setup light
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1 | /p' $(MAKEFILE_LIST) | column -t -s '|'

demo: setup  ## the whole workflow on generated images: three minutes on two CPU cores
	@$(call build,demo)

published: light  ## the thesis's own figures: every table, figure and the PDF, without training
	@$(call build,published)

lite: setup  ## seed 1 of suite `lite` again, compared with the shipped records: four hours of one core; SEEDS=5 for five seeds
	@given=$$(cd paper/records && ls lite/*/seed[1-$(SEEDS)].json) && \
	echo "$$(wc -l <<< "$$given") runs, about $$((4 * $(SEEDS))) hours of one core; stopped, it goes on where it was" && \
	snakemake --cores $(CORES) --config suite=lite device=cpu $(CONFIG) -- $$(sed 's|.*|results/&|; s|\.json$$|/record.json|' <<< "$$given") && \
	python -m crossres compare paper/records/lite results/lite --html results/lite/rerun.html

paper: setup  ## the thesis's seven runs, recomputed: needs a CUDA device (46.7 hours on that of the thesis)
	@$(call build,paper)

verify: light  ## build `published` and fail unless every claim has the verdict on record
	@$(call build,published)
	@python -m crossres claims --suite published --recorded

verify-rerun: SUITE = paper
verify-rerun: light  ## compare the records that you computed with the shipped ones: make verify-rerun SUITE=mini
	@suite=$(NAME) && python -m crossres compare paper/records/$(if $(filter paper,$(SUITE)),published,$$suite) \
		results/$$suite --require equivalent --html results/$$suite/rerun.html

report: $(if $(GIVEN),light,setup)  ## one HTML file with all of a suite, which needs no network: make report SUITE=demo
	@targets=$$(bash envs/tex.sh || echo "-- figures tables source pages"); \
	snakemake --cores $(CORES) --config suite=$(SUITE) $(CONFIG) $$targets && \
	report=$(REPORT) && snakemake --config suite=$(SUITE) $(CONFIG) --report $$report $$targets && echo $$report

arxiv: $(if $(GIVEN),light,setup)  ## the source of a suite's report, as arXiv and Overleaf take it: make arxiv SUITE=demo
	@bash envs/tex.sh
	@snakemake --cores $(CORES) --config suite=$(SUITE) $(CONFIG) -- arxiv && \
	folder=results/$(NAME)$(CUT) && echo $$folder/arxiv.tar.gz $$folder/overleaf.zip

docs: light  ## write the generated files: reference of the keys, JSON Schemas, results in the README
	@python -m crossres docs

quick: setup  ## what a contributor runs before a commit: lint and the fast tests, in about a minute
	@$(call lint)
	@python -m pytest --quiet --numprocesses 2 --dist loadfile -m "not workflow and not slow" $(QUICK)

test: setup lint  ## lint, unit tests, dry runs, the published build, the demo, runs that are killed
	@bash envs/tex.sh
	@python -m pytest --numprocesses 2 --dist loadfile

test-kill: setup  ## kill the workflow 150 times at random moments, with power losses: nothing may differ (half an hour)
	@python -m pytest $(STRICT) --kills 150 --capture=no tests/workflow/test_kill.py

test-container: setup  ## build the image from nothing, or take it from ~/.cache/crossres, and run the workflow in it
	@bash envs/tex.sh
	@python -m pytest $(STRICT) -m container --capture=no

test-report: setup  ## check the HTML report of `published` in Chromium, without a network
	@bash envs/browser.sh
	@CROSSRES_SCREENSHOTS=results/screenshots python -m pytest $(STRICT) -m browser

test-cifar100: setup  ## run the tests that need the real CIFAR-100: CROSSRES_CIFAR100=FOLDER names the folder that holds cifar-100-python/
	@python -m pytest $(STRICT) -m cifar100

# Not part of `make test`, since it installs and starts system daemons as root.
test-slurm: setup  ## run the workflow on a real Slurm of one node, which it starts and stops (as root)
	@bash tests/slurm.sh
	@python -m pytest $(STRICT) -m slurm --verbose tests/workflow/test_slurm.py

lint: setup  ## ruff, mypy, the directions of imports, snakefmt, snakemake --lint
	@$(call lint)
	@snakemake --lint --config suite=demo > /dev/null

format: setup  ## format the code
	@ruff check --fix --quiet . ; ruff format --quiet . ; snakefmt Snakefile workflow 2> /dev/null

bench: setup  ## measure this machine: ratios, start-up, memory, and what `crossres plan` estimates with
	@python -m benchmarks && python -m benchmarks report

image:  ## the container image (dependencies and TeX), and docker/crossres.sif where Apptainer is
	@bash docker/build

bundle:  ## a folder that builds without a network: make bundle FOLDER=../crossres-bundle, with LOCK=report.lock for a small one
	@PYTHON=$(PYTHON) bash envs/bundle.sh $(or $(FOLDER),../crossres-bundle) $(LOCK)

clean:  ## remove results, generated data and caches; keep .venv
	rm -rf results/*/ data/shapes .snakemake .ruff_cache .mypy_cache .hypothesis

lock: setup  ## resolve envs/*.in into the lock files, and list what the image holds (SBOM)
	@cd envs && constraint= && for name in requirements report uv tools; do \
		../.venv/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--custom-compile-command 'make lock' $$name.in -o $$name.lock $$constraint; \
		constraint="--constraint requirements.lock"; \
	done
	@sed -i "s/sha256 .*/sha256 $$(sha256sum < envs/requirements.lock | cut -c 1-64)/" envs/environment.post-deploy.sh
	@bash envs/sbom.sh

setup:  ## .venv, with everything
	@PYTHON=$(PYTHON) bash envs/setup.sh .venv requirements.lock

light:  ## .venv-report, enough to build the report and without torch; not needed beside .venv
	@PYTHON=$(PYTHON) bash envs/setup.sh $(LIGHT) $(if $(filter .venv,$(LIGHT)),requirements,report).lock

define lint
ruff check --quiet . && ruff format --check --quiet . && mypy && { said=$$(lint-imports --no-cache) || { echo "$$said"; false; }; } && \
snakefmt --check --compact-diff Snakefile workflow
endef

# Without TeX everything but the PDF is built, and the last line names what is missing.
define build
if bash envs/tex.sh 2> /dev/null; then \
	snakemake --cores $(CORES) --config suite=$(1) $(CONFIG) && echo "results/$(1)$(CUT)/report.pdf"; \
else \
	snakemake --cores $(CORES) --config suite=$(1) $(CONFIG) -- figures tables source && bash envs/tex.sh; \
fi
endef
