.DEFAULT_GOAL := help
PYTEST := .venv/bin/pytest

##@ Run
run: .venv ## Run the whole pipeline on this machine, without containers; EMBEDDINGS=openai embeds with OpenAI
	@.venv/bin/sluice-local up $(if $(filter openai,$(EMBEDDINGS)),--openai) $(ARGS)
demo: .venv ## Upload a few documents to what 'make run' runs, and search them
	@.venv/bin/sluice-local demo
status: .venv ## Show what 'make run' runs, and where
	@.venv/bin/sluice-local status
stop: .venv ## Stop what 'make run' runs
	@.venv/bin/sluice-local stop
doctor: .venv ## Check this machine, the stores and the provider
	@.venv/bin/sluice-local doctor

##@ Run in containers
images: ## Build the images of all services; DOCKER_BUILD_FLAGS is added to each build
	@python3 scripts/check_engine.py build
	@sh scripts/build_images.sh
sbom: .venv ## Write what is in each built image to build/sbom, in CycloneDX
	@.venv/bin/python scripts/make_sbom.py
up: startable images ## Start everything in containers, until a document can be uploaded through nginx and found; ARGS are compose's
	@python3 scripts/compose_up.py $(ARGS)
startable: ## Say what is missing to start everything in containers, before minutes are spent on images
	@python3 scripts/check_engine.py start
down: ## Stop and remove the containers; the data stay
	$$(docker compose version > /dev/null 2>&1 && echo docker compose || echo docker-compose) \
	  --profile local-embeddings --profile monitoring down
backup-compose: ## Copy the tables and the originals of the containers to the folder TO, while they run
	@python3 scripts/compose_backup.py backup "$(or $(TO),$(error name a folder: make backup-compose TO=folder))"
restore-compose: ## Put the backup in the folder FROM into new containers, and start them; ARGS are the restore's
	@python3 scripts/compose_backup.py restore "$(or $(FROM),$(error name a folder: make restore-compose FROM=folder))" $(ARGS)

##@ Check
check: lint types imports test-unit ## Check everything that needs no server
test: .venv ## Run every test that this machine can; SLUICE_CORPUS names a folder of real documents
	@.venv/bin/python scripts/run_tests.py $(PYTEST)
lint: .venv ## Look for mistakes and for other than the one format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
types: .venv ## Check the types of every package
	.venv/bin/mypy --strict libs/*/src services/*/src
imports: .venv ## Check who imports whom
	.venv/bin/lint-imports
test-unit: .venv ## Run the fast tests; choose with T=path
	$(PYTEST) $(or $(T),tests/unit)
test-model: .venv ## Explore the large worlds of the state model; ARGS=--plants tells how each protection is missed
	@PYTHONPATH=tests .venv/bin/python -m model.explore $(ARGS)
test-contracts: .venv ## Run every adapter against the promises of its port; choose with T=path
	$(PYTEST) $(or $(T),tests/contracts tests/migrations)
test-acceptance: .venv ## Run the whole local stack over HTTP; choose with T=path
	$(PYTEST) $(or $(T),tests/acceptance)
test-faults: .venv ## Break everything while documents go through; SEED chooses the order, T=path the tests
	$(PYTEST) $(or $(T),tests/faults)
test-faults-long: .venv ## The same until 1,000 faults and 4,000 documents; SEED, FAULTS and DOCUMENTS choose
	FAULTS=$(or $(FAULTS),1000) DOCUMENTS=$(or $(DOCUMENTS),4000) \
	  $(PYTEST) --timeout=14400 tests/faults/test_faults.py -k every_part
test-promises: .venv ## The proofs of single promises and of the providers at their full numbers, which takes hours
	LONG=1 $(PYTEST) --timeout=7200 $(or $(T),tests/faults/promises tests/faults/test_providers.py tests/faults/test_store_outage.py)
test-planted: .venv ## Take one protection away at a time; a test must notice each
	PLANTED=all $(PYTEST) --timeout=7200 tests/faults/planted
test-orders: .venv ## Try 2,000 random orders of all moves, and 10,000 filters; repeat one run with SEED=number
	HYPOTHESIS_PROFILE=long $(PYTEST) --timeout=14400 tests/faults/protocol/test_every_order.py \
	  tests/contracts/test_vector_store.py -k "no_order or no_filter"
test-bounds: .venv ## Fill, flood and enlarge everything to its promised bounds; choose with T=path
	BOUNDS=full $(PYTEST) --timeout=14400 $(or $(T),tests/bounds)
test-monitoring: .venv ## Check rules and dashboards on a real Prometheus and Alertmanager; choose with T=path
	$(PYTEST) $(or $(T),tests/deploy/monitoring)
test-alerts: .venv ## Provoke every alert in a running stack; K=name chooses one
	LONG=1 $(PYTEST) --timeout=3600 tests/deploy/monitoring/test_provoked.py $(if $(K),-k $(K))
test-deploy: .venv ## All that this machine can check of a deployment, containers included; choose with T=path
	$(PYTEST) --timeout=3600 $(or $(T),tests/deploy tests/deploy/containers)
test-containers: .venv ## Build the images, start, kill, scale and roll everything in containers
	$(PYTEST) --timeout=3600 tests/deploy/containers
test-deploy-long: .venv ## Lose and restore an installation with many documents of SLUICE_CORPUS, and fail Redis over
	LONG=1 $(PYTEST) --timeout=1800 tests/deploy/backup tests/deploy/sentinel
test-upgrade: ## Run the acceptance tests of an earlier release on the tables of this one; FROM=tag or commit, T=path
	@sh scripts/test-upgrade.sh "$(FROM)" "$(T)"
test-browser: .venv ## Use the web page in a real browser; choose with T=path
	$(PYTEST) $(or $(T),tests/browser)

bench: .venv ## Measure how long one page takes on an idle stack, and where that goes
	@.venv/bin/python benchmarks/idle_latency.py $(ARGS)
bench-extraction: .venv build/readers/done ## Compare our readers with others over the documents in SLUICE_CORPUS
	@.venv/bin/python benchmarks/extraction/compare.py $(ARGS)
bench-garbling: .venv build/readers/done ## Measure how well garbled text is noticed, over PDFs damaged on purpose and SLUICE_CORPUS
	build/readers/bin/python benchmarks/garbling/damaged.py build/damaged
	@.venv/bin/python benchmarks/garbling/measure.py build/damaged
build/readers/done: benchmarks/extraction/requirements.txt # the other readers, in an environment of their own
	python3 -m venv build/readers
	build/readers/bin/pip install --quiet -r benchmarks/extraction/requirements.txt
	@touch build/readers/done

##@ Keep
migrate: .venv ## Bring the tables of SLUICE_DATABASE__URL to this release
	.venv/bin/python -m sluice_common.migrations
dashboards: .venv ## Write the JSON of the dashboards from their description
	.venv/bin/python deploy/grafana/make_dashboards.py
rules: .venv ## Write the rules of Prometheus as an object for Kubernetes
	.venv/bin/python deploy/kubernetes/make_rules.py
backup: .venv ## Copy the tables and the originals to the folder TO, while the service runs
	@.venv/bin/sluice-local exec .venv/bin/python -m sluice_api.backup all "$(or $(TO),$(error name a folder: make backup TO=folder))"
restore: .venv ## Put the backup in the folder FROM into an empty home; nothing may run there
	@.venv/bin/sluice-local exec --parts .venv/bin/python -m sluice_api.restore all "$(or $(FROM),$(error name a folder: make restore FROM=folder))"
rebuild-index: .venv ## Fill an empty or damaged Qdrant from the table, while the service runs
	@.venv/bin/sluice-local exec .venv/bin/python -m sluice_api.rebuild_index
lock: ## Write requirements.lock anew from the packages' needs; needs uv
	uv lock
	uv export --frozen --all-packages --all-groups --no-emit-workspace --no-header --quiet -o requirements.lock
	python3 scripts/lock_images.py
clean: ## Remove what can be made again: the environment and the caches, never documents
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find libs services tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: # every package in an environment of its own; ends at once when nothing has changed
	@sh scripts/install.sh

help: ## Show this list
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z][a-z-]*:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: help run demo status stop doctor check test lint types imports test-unit test-model test-contracts test-acceptance \
  test-faults test-faults-long test-promises test-planted test-orders test-bounds test-monitoring test-alerts test-deploy \
  test-containers test-deploy-long test-upgrade test-browser images sbom startable up down backup-compose \
  restore-compose bench bench-extraction bench-garbling migrate backup restore rebuild-index dashboards rules lock clean .venv
