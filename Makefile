# One command each; `make` alone prints them.

.DEFAULT_GOAL := help
VENV := .venv/bin

.PHONY: help venv test thorough model chaos mutants lint format man clean crash bench bench-full bench-peers

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: ## make or refresh .venv, with what developers need
	@bin/make_venv dev

test: ## set up what the tests need, then lint and run all tests
	@bin/test

thorough: venv ## run the tests that bin/test leaves out, since they take long
	@$(VENV)/pytest -m thorough --numprocesses 2 --dist worksteal

model: venv ## test board and store against the model: MODEL_SEQUENCES=2000 from a new seed on each board (10 minutes)
	@MODEL_SEQUENCES=$${MODEL_SEQUENCES:-2000} $(VENV)/pytest tests/conformance/model/test_model.py --numprocesses 2 \
		--override-ini faulthandler_timeout=3600 -rP

SECONDS := 180
JOBS := 1000
DATABASE := mariadb

chaos: venv ## break everything around conductors at work, and check what must hold (SECONDS, JOBS, SEED, DATABASE)
	@$(VENV)/python -m tests.chaos --seconds $(SECONDS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED)) --database $(DATABASE)

mutants: venv ## break jobrunner itself on purpose, one promise at a time: chaos has to find each out (11 minutes)
	@$(VENV)/python -m tests.chaos.mutants

lint: venv ## check style, types and import layers
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-logo

format: venv ## format the code, and repair what can be repaired
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

crash: venv ## kill a job's owner at every write of the journal, on SQLite, MariaDB and PostgreSQL (5 minutes)
	@$(VENV)/python -m tests.chaos.crash_points

bench: venv ## measure jobrunner beside stock TaskFlow (5 minutes)
	@$(VENV)/python -m bench

bench-full: venv ## the same with what takes long: a million jobs, dead machines (20 minutes)
	@$(VENV)/python -m bench --full

bench-peers: venv bench/.venv/.installed ## measure jobrunner beside Celery, RQ, Dramatiq, Procrastinate and DBOS (10 minutes)
	@$(VENV)/python -m bench.peers

bench/.venv/.installed: bench/requirements.txt
	@test -x bench/.venv/bin/python || $(VENV)/python -m venv bench/.venv
	@bench/.venv/bin/pip install --quiet --disable-pip-version-check --requirement bench/requirements.txt
	@touch $@

man: venv ## build the man pages, and say how to read them
	@$(VENV)/python setup.py -q build_manpages --directory man
	@echo "man -l man/jobrunner.1"

clean: ## remove what was built and cached, but not .venv
	rm -rf build dist man *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path '*/.venv/*' -prune -exec rm -rf {} +
