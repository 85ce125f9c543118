# One command each; `make` alone prints them.

.DEFAULT_GOAL := help
VENV := .venv/bin

.PHONY: help venv test lint format man clean

help: ## print this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: ## make or refresh .venv, with what developers need
	@bin/make_venv dev

test: ## set up what the tests need, then lint and run all tests
	@bin/test

lint: venv ## check style, types and import layers
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-logo

format: venv ## format the code, and repair what can be repaired
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

man: venv ## build the man pages, and say how to read them
	@$(VENV)/python setup.py -q build_manpages --directory man
	@echo "man -l man/jobrunner.1"

clean: ## remove what was built and cached, but not .venv
	rm -rf build dist man *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
