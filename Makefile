# What a newcomer needs: `make demo` and `make test`. Both set up everything by themselves in .venv.
PYTHON ?= python3
STORE ?= mlruns
BIN := .venv/bin

.PHONY: help setup demo test test-slow soak check format bench docs-images lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready  ## make .venv from the locked requirements

.venv/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit((3, 11) > v or v > (3, 13))' \
		|| { echo "expected Python 3.11 to 3.13, got $$($(PYTHON) --version); name another with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: STUDY := demo-$(shell date +%Y%m%d-%H%M%S)
demo: setup  ## run a small study on synthetic radiographs, promote its best trial, predict one image
	$(BIN)/tune run --space demo --data demo --store "$(STORE)" --study $(STUDY)
	$(BIN)/tune promote $(STUDY) --store "$(STORE)" || [ $$? -eq 1 ] # run again, it is the champion's own model: refused
	$(BIN)/tune predict "$(STORE)/data/demo-0/chest_xray/test/PNEUMONIA/person1_bacteria_1.jpeg" \
		--store "$(STORE)" --model demo@champion
	@echo "See the trials side by side: $(BIN)/tune ui $(STUDY) --store $(STORE)"

test: setup  ## run the tests
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: setup  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

soak: setup  ## kill studies at random moments, compare their results with those of undisturbed ones (about an hour)
	$(BIN)/python tests/faults/soak.py

check: setup  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## measure, and write the figures to docs/performance.md; DATA=folder, FULL=--full for all of it
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/head.py
	$(BIN)/python benchmarks/memory.py $(FULL)
	$(BIN)/python benchmarks/instant.py
	$(BIN)/python benchmarks/workers.py $(if $(DATA),--data "$(DATA)")
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/frozen_layers.py $(if $(DATA),--data "$(DATA)") $(FULL)

docs-images: setup  ## make the pictures of docs/tour.md from real studies (needs Chromium); DATA=folder, WORK=folder to keep them
	$(BIN)/python docs/make_images $(if $(DATA),--data "$(DATA)") $(if $(WORK),--work "$(WORK)")

lock:  ## resolve requirements.txt anew (needs uv)
	uv pip compile pyproject.toml --extra dev --extra onnx --extra server --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet --upgrade -o requirements.txt

clean:  ## remove the environment and all caches, but no study
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info build dist
