# One virtual environment in .venv with everything, hash-locked; see `make help`.

# Named once, PYTHON=python3.12 stays: afterwards it is the Python that .venv was made from.
PYTHON ?= $(shell $(BIN)/python -c 'import sys; print(sys._base_executable)' 2>/dev/null || echo python3)
DOCKER ?= docker
IMAGE ?= job:local
BASE_IMAGE ?=
WEIGHTS ?= none
OUTPUT ?= s3://my-bucket/study
DATA ?= s3://my-bucket/data
VENV := .venv
BIN := $(VENV)/bin
AUDIT := .venv-audit

# What is done leaves a file that names the Python it was done with: another Python, like another lock, begins anew.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
LOCKED := $(VENV)/.locked-$(PYTHON_VERSION)
READY := $(VENV)/.ready-$(PYTHON_VERSION)
AUDIT_READY := $(AUDIT)/.ready-$(PYTHON_VERSION)

# A lock is installed as it stands, by whatever pip the Python brings. Without --no-deps pip resolves it anew: where a
# package asks for another one's extra, it takes the newest release of the day and refuses it for lack of a hash
# (https://github.com/pypa/pip/issues/9644). Without --only-binary it may build a package, with the newest build tools.
PYTHONS := 3.11 3.12 3.13
INSTALL := -m pip install --quiet --no-deps --only-binary :all: --require-hashes

# For deploy and push-image; PARAMETERS takes more of the template's, like "MaxVcpus=128 BudgetAmount=200".
STACK ?= job
TAG ?= $(shell git describe --always --abbrev=12 --exclude '*' --dirty)

.DEFAULT_GOAL := help
.PHONY: help install run test quick soak check format docs lock upgrade manifests sbom image smoke-docker bench bench-compare gpu-check audit committed deploy push-image destroy clean

help:     ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

install: $(READY)  ## make the virtual environment

# From nothing, so that no package of an earlier lock and nothing half-installed stays.
$(LOCKED): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	    "$(PYTHON) is Python %d.%d; job needs 3.11 or later: make install PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python $(INSTALL) -r requirements/dev.txt
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check || { echo "requirements/dev.txt is not what pyproject.toml asks for: make lock" >&2; exit 1; }
	@touch $@

run: $(READY)  ## train the smoke manifest on this machine into ./runs and write its report
	$(BIN)/job run --manifest manifests/jobs/smoke.json --output runs
	$(BIN)/job report runs

# One process a core: a test trains with one thread.
test: $(READY)  ## run all tests that this machine can run, with coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --maxprocesses 8 --dist worksteal
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

# Those in whose file neither torch nor what needs it, draws or serves is named: the others take minutes.
QUICK = $(shell grep -LE 'torch|job\.training|plots|moto' tests/unit/test_*.py)

quick: $(READY)  ## lint, types, layers, and the tests that need neither training nor containers: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not slow and not docker" $(QUICK)

docs: $(READY)  ## write docs/manifest.md and docs/optimizers.md anew from the manifest's models, and freeze timm's arguments
	$(BIN)/python -m tests.library_signatures
	$(BIN)/python -m tests.manifest_page
	$(BIN)/python -m tests.optimizers_page

format: $(READY)  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# From .locked, not from .ready: a requirement that is only in pyproject.toml yet must not stand in the way.
lock: $(LOCKED)  ## lock what pyproject.toml asks for; a version that is locked and still fits stays
	$(eval COMPILE := $(BIN)/uv pip compile --quiet $(UPGRADE) --generate-hashes --universal --python-version 3.11 --no-header)
	$(COMPILE) pyproject.toml --extra train --extra report --extra kubernetes --extra optimizers --extra onnx \
	    --extra tensorboard --extra mlflow --extra wandb --extra dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml --constraint requirements/dev.txt --extra train -o requirements/train.txt
	$(COMPILE) pyproject.toml --constraint requirements/dev.txt --extra report -o requirements/report.txt
	echo hatchling | $(COMPILE) - --constraint requirements/dev.txt -o requirements/build.txt
	echo checkov | $(COMPILE) - -o requirements/audit.txt
	@echo 'is there a wheel of each package for Python $(PYTHONS)?'
	@set -e; for version in $(PYTHONS); do for lock in dev audit; do \
	    $(BIN)/uv pip install --quiet --dry-run --no-deps --only-binary :all: --require-hashes --target build/none \
	        --python-version $$version --python-platform linux -r requirements/$$lock.txt; \
	done; done

upgrade: UPGRADE := --upgrade
upgrade: lock  ## lock the newest versions of everything

image:    ## build the container image IMAGE (default job:local); WEIGHTS=imagenet bakes the weights in, BASE_IMAGE is another Debian
	DOCKER_BUILDKIT=1 $(DOCKER) build --tag $(IMAGE) --build-arg WEIGHTS=$(WEIGHTS) \
	    $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
	    --build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' job/__init__.py) \
	    --build-arg GIT_SHA=$$(git describe --always --abbrev=40 --exclude '*' --dirty) .

smoke-docker: $(READY) image  ## run the smoke manifest in a container against an S3 server, and show what it left
	$(BIN)/python -m tests.container.smoke $(IMAGE)

manifests: $(READY)  ## render manifests/*.yaml anew from the sweep optimizers.json; IMAGE, OUTPUT and DATA as you have them
	$(BIN)/job submit --manifest manifests/sweeps/optimizers.json --to kubernetes --dry-run \
	    --image registry.example.com/job:0.1.0 --output $(OUTPUT) --data $(DATA) 2>/dev/null \
	    | awk '/^# [0-9]/ {file = "manifests/" $$2; print "# Rendered by make manifests from sweeps/optimizers.json." > file; next} \
	           !/^---$$/ {print > file}'

sbom: $(READY)  ## write sbom.json: what the image's Python packages are (CycloneDX)
	$(BIN)/cyclonedx-py requirements requirements/train.txt --output-file sbom.json

# checkov pins another boto3 than ours, so it lives apart.
$(AUDIT_READY): requirements/audit.txt
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/python $(INSTALL) -r requirements/audit.txt
	@touch $@

bench: $(READY)  ## measure speed, peers, profiles, concurrency and start-up on this device, into build/bench; BENCH takes options
	$(BIN)/python -m tests.benchmarks.speed $(BENCH)

bench-compare: $(READY)  ## OLD=a/speed.json NEW=b/speed.json of two commits: fails where a ratio fell by more than a tenth
	$(BIN)/python -m tests.benchmarks.compare $(OLD) $(NEW)

gpu-check: $(READY)  ## all that only a card can show, into build/gpu-check/gpu-check.json to be sent back; GPU_CHECK takes options
	$(BIN)/python -m tests.benchmarks.gpu_check $(GPU_CHECK)

audit: $(AUDIT_READY)  ## check the CloudFormation templates with checkov; asks nothing of the network once it is installed
	$(AUDIT)/bin/checkov -f infra/batch.yaml infra/pod-role.yaml --compact --quiet --skip-download

# A tag is pushed once: the repository would refuse the next image that is -dirty at the same commit.
committed:
	@case '$(TAG)' in *-dirty) \
	    echo 'TAG is $(TAG): the images of a tag must come from one commit; commit your changes, or name a TAG' >&2; \
	    exit 2;; esac

deploy: committed  ## create or update the AWS stack STACK (default job); the first time with BUDGET_EMAIL=you@example.com
	@infra/deploy.sh $(STACK) $(TAG) $(if $(BUDGET_EMAIL),BudgetEmail=$(BUDGET_EMAIL)) $(PARAMETERS)

push-image: committed  ## push IMAGE to the repository of STACK, under the TAG that its job definition names
	repository=$$(aws cloudformation describe-stacks --stack-name $(STACK) --output text \
	    --query "Stacks[0].Outputs[?OutputKey=='RepositoryUri'].OutputValue") \
	&& aws ecr get-login-password | $(DOCKER) login --username AWS --password-stdin $${repository%%/*} \
	&& $(DOCKER) tag $(IMAGE) $$repository:$(TAG) \
	&& $(DOCKER) push $$repository:$(TAG)

destroy:  ## delete the AWS stack STACK with its machines, images and logs; the bucket with the results stays
	@infra/destroy.sh $(STACK)

clean:    ## remove the virtual environment and what tools left
	rm -rf $(VENV) $(AUDIT) build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
