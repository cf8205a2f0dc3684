# `make` lists what there is.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo up down test test-long unit lint scan sbom check format lock lock-jars env-example docs

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv, Java and jars; the second time it only looks
	@$(PYTHON) lab/bootstrap.py

demo: setup ## capture and batch under one load with two kills, proved equal to the oracles (knobs: RATE, DURATION, SEED)
	@$(BIN)/twinpath demo

up: setup ## PostgreSQL, Kafka, Connect, connector and both agents on the standard ports
	@$(BIN)/twinpath up

down: ## stop what `make up` started, keep everything
	@$(BIN)/twinpath down

test: setup ## unit, integration and end-to-end tests on the real services
	@$(BIN)/python -m pytest -m "not long"

test-long: setup ## the longer proofs
	@$(BIN)/python -m pytest -m long

unit: setup ## unit tests only
	@$(BIN)/python -m pytest -q -m "not long" tests/unit

lint: setup scan ## ruff, mypy, scanners
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

scan: setup ## bandit and detect-secrets over what git tracks
	@$(BIN)/bandit -q -c pyproject.toml -r twinpath streaming spark_jobs temperature dags lab docker
	@git ls-files -z | xargs -0 -P 2 -n 300 $(BIN)/detect-secrets-hook --no-verify --baseline .secrets.baseline

sbom: setup ## bill of materials (CycloneDX) of packages and jars, into sbom.cdx.json
	@$(BIN)/python -m lab.bill_of_materials sbom.cdx.json

check: lint unit ## lint, and unit tests (import arrows, settings and README agreement among them)

format: setup ## ruff's formatting
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: setup ## write requirements.lock and requirements.sha256 anew from what is installed
	@$(BIN)/python -m lab.lock_packages

env-example: setup ## write .env.example anew from the settings
	@$(BIN)/python -m twinpath.env_example > .env.example.new && mv .env.example.new .env.example

docs: env-example ## write anew what README, .env.example and the summary's schema take from the code
	@$(BIN)/python -m lab.doctor.readme
	@$(BIN)/python -m lab.report.model > docs/summary.schema.json.new
	@mv docs/summary.schema.json.new docs/summary.schema.json

lock-jars: setup ## fetch all jars and write lab/stack/jars/jars.lock anew
	@$(PYTHON) lab/bootstrap.py --lock-jars
