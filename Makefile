# One virtual environment in .venv with everything, hash-locked; see `make help`.
PYTHON ?= python3
DOCKER ?= docker
IMAGE ?= job:local
WEIGHTS ?= none
OUTPUT ?= s3://my-bucket/study
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
AUDIT := .venv-audit

# For deploy and push-image; PARAMETERS takes more of the template's, like "MaxVcpus=128 BudgetAmount=200".
STACK ?= job
TAG ?= $(shell git describe --always --abbrev=12 --exclude '*' --dirty)

.DEFAULT_GOAL := help
.PHONY: help install run test soak check format lock manifests sbom image smoke-docker bench audit deploy push-image clean

help:     ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

install: $(READY)  ## make the virtual environment

$(READY): requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY)  ## train the smoke manifest on this machine into ./runs and write its report
	$(BIN)/job run --manifest manifests/jobs/smoke.json --output runs
	$(BIN)/job report runs

test: $(READY)  ## run all tests that this machine can run, with coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: $(READY)  ## 200 small runs against a local S3 server, killed and cheated at random; SOAK="--runs 20" for fewer
	$(BIN)/python -m tests.soak $(SOAK)

check: $(READY)  ## lint, format, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

format: $(READY)  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY)  ## renew the locked requirements
	$(eval COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-header)
	echo hatchling | $(COMPILE) - -o requirements/build.txt
	$(COMPILE) pyproject.toml -o requirements/base.txt
	$(COMPILE) pyproject.toml --extra train -o requirements/train.txt
	$(COMPILE) pyproject.toml --extra train --extra kubernetes --extra dev -o requirements/dev.txt
	echo checkov | $(COMPILE) - -o requirements/audit.txt

image:    ## build the container image IMAGE (default job:local); WEIGHTS=imagenet bakes the weights in
	DOCKER_BUILDKIT=1 $(DOCKER) build --tag $(IMAGE) --build-arg WEIGHTS=$(WEIGHTS) \
	    --build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' job/__init__.py) \
	    --build-arg GIT_SHA=$$(git describe --always --abbrev=40 --exclude '*' --dirty) .

smoke-docker: $(READY) image  ## run the smoke manifest in a container against an S3 server, and show what it left
	$(BIN)/python -m tests.container.smoke $(IMAGE)

manifests: $(READY)  ## render manifests/*.yaml anew from the sweep optimizers.json; IMAGE and OUTPUT as you have them
	$(BIN)/job submit --manifest manifests/sweeps/optimizers.json --to kubernetes --dry-run \
	    --image registry.example.com/job:0.1.0 --output $(OUTPUT) 2>/dev/null \
	    | awk '/^# [0-9]/ {file = "manifests/" $$2; print "# Rendered by make manifests from sweeps/optimizers.json." > file; next} \
	           !/^---$$/ {print > file}'

sbom: $(READY)  ## write sbom.json: what the image's Python packages are (CycloneDX)
	$(BIN)/cyclonedx-py requirements requirements/train.txt --output-file sbom.json

# checkov pins another boto3 than ours, so it lives apart.
$(AUDIT)/.ready: requirements/audit.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --require-hashes -r requirements/audit.txt
	@touch $@

bench: $(READY)  ## measure speed, profiles, concurrency and start-up on this device, into build/bench; BENCH takes options
	$(BIN)/python -m tests.benchmarks.speed $(BENCH)

audit: $(AUDIT)/.ready  ## check the CloudFormation templates with checkov; asks nothing of the network once it is installed
	$(AUDIT)/bin/checkov -f infra/batch.yaml infra/pod-role.yaml --compact --quiet --skip-download

deploy:   ## create or update the AWS stack STACK (default job); the first time with BUDGET_EMAIL=you@example.com
	aws cloudformation deploy --template-file infra/batch.yaml --stack-name $(STACK) --capabilities CAPABILITY_IAM \
	    --no-fail-on-empty-changeset --tags project=job \
	    --parameter-overrides ImageTag=$(TAG) $(if $(BUDGET_EMAIL),BudgetEmail=$(BUDGET_EMAIL)) $(PARAMETERS)

push-image:  ## push IMAGE to the repository of STACK, under the TAG that its job definition names
	repository=$$(aws cloudformation describe-stacks --stack-name $(STACK) --output text \
	    --query "Stacks[0].Outputs[?OutputKey=='RepositoryUri'].OutputValue") \
	&& aws ecr get-login-password | $(DOCKER) login --username AWS --password-stdin $${repository%%/*} \
	&& $(DOCKER) tag $(IMAGE) $$repository:$(TAG) \
	&& $(DOCKER) push $$repository:$(TAG)

clean:    ## remove the virtual environment and what tools left
	rm -rf $(VENV) $(AUDIT) build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
