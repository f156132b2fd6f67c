# The entry point: `make run` shows a forecast on a page, `make test` checks everything.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# Targets share ports, one uv and Debian's package manager.
.NOTPARALLEL:

# Everything that runs here binds loopback; ports and data are yours to choose.
PAGE_PORT ?= 7860
SERVER_PORT ?= 9000
GRPC_PORT ?= 9500
METRICS_PORT ?= 6000
PAGE_METRICS_PORT ?= 7861
DATA ?= notebooks/data/electricity.csv
MODEL_URI ?= models/forecaster.onnx
# Where the protected page is, over TLS
GATEWAY_PORT ?= $(or $(DOOR_PORT),8443)
# Where `make lab` shows its runs; the default where it is free
KFP_PORT ?=
# Another notebook than forecast_pipeline, to compile or to run: NOTEBOOK=notebooks/mine.ipynb
NOTEBOOK ?=
# Pipeline parameters for `make run` and `make pipeline`, such as PARAMS="epochs=10 horizon=24"
PARAMS ?=

workbench := .venv/workbench/bin/python
kalecast := .venv/workbench/bin/kalecast
with_params = $(foreach parameter,$(PARAMS),--param $(parameter))

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##### The main job #####

.PHONY: run
run: install-run  ## Train where there is no model yet, start server and page (DATA=my.csv, STORE=models/lab, RETRAIN=1)
	@exec $(kalecast) run --data "$(DATA)" $(if $(STORE),--store "$(STORE)") $(if $(RETRAIN),--retrain) \
		--page-port $(PAGE_PORT) --server-port $(SERVER_PORT) --grpc-port $(GRPC_PORT) \
		--metrics-port $(METRICS_PORT) --page-metrics-port $(PAGE_METRICS_PORT) $(with_params)

.PHONY: pipeline
pipeline: install-workbench  ## Run the compiled pipeline on this machine (DATA=my.csv, PARAMS="epochs=10", NOTEBOOK=)
ifeq ($(NOTEBOOK),)
	@exec $(kalecast) run --train-only --data "$(DATA)" $(with_params)
else
	@exec $(kalecast) pipeline --notebook "$(NOTEBOOK)" \
		$(if $(filter-out file,$(origin DATA)),--param "data=$(DATA)") $(with_params)
endif

.PHONY: compile
compile: install-workbench  ## Compile the pipelines' notebooks with Kale into kale/ (NOTEBOOK=: that one)
	@$(kalecast) compile $(if $(NOTEBOOK),"$(NOTEBOOK)")

.PHONY: compile-check
compile-check: install-workbench  ## Fail where a notebook and its compiled pipeline have drifted apart (NOTEBOOK=)
	@$(kalecast) compile --check $(if $(NOTEBOOK),"$(NOTEBOOK)")

.PHONY: notebooks
notebooks: install-all  ## Run all notebooks, small, with papermill and nbval (JOBS=2)
	@$(kalecast) execute-notebooks $(if $(JOBS),--jobs $(JOBS))

.PHONY: check-notebooks
check-notebooks: install-workbench  ## Check notebooks without running them: tags, names, paths, outputs
	@$(kalecast) check-notebooks

.PHONY: clear-outputs
clear-outputs: install-workbench  ## Take the outputs out of the notebooks, before a commit
	@.venv/workbench/bin/jupyter nbconvert --clear-output --inplace --log-level=ERROR notebooks/*.ipynb

.PHONY: serve
serve: .venv/server/.installed  ## Serve a model file (MODEL_URI=models/forecaster.onnx)
	@exec .venv/server/bin/kalecast serve --model-uri "$(MODEL_URI)" --port $(SERVER_PORT) \
		--grpc-port $(GRPC_PORT) --metrics-port $(METRICS_PORT)

.PHONY: page
page: .venv/page/.installed  ## Show the page for a server that runs already
	@MODEL_SERVER_URL=http://127.0.0.1:$(SERVER_PORT) KALECAST_PAGE_PORT=$(PAGE_PORT) \
		KALECAST_METRICS_PORT=$(PAGE_METRICS_PORT) SAMPLE_DATA="$(DATA)" exec .venv/page/bin/kalecast page

.PHONY: protect
protect: install-workbench install-gateway  ## Run nginx + ModSecurity in front of the page of make run (PROTECT_ARGS=)
	@exec $(kalecast) protect --page 127.0.0.1:$(PAGE_PORT) --port $(GATEWAY_PORT) \
		--operators-port $$(( $(GATEWAY_PORT) + 1 )) --signatures-port $$(( $(GATEWAY_PORT) + 2 )) \
		--list-port $$(( $(GATEWAY_PORT) + 3 )) $(PROTECT_ARGS)

.PHONY: lab
lab: install-workbench .venv/seldon/.installed  ## Open JupyterLab with Kale; Run works here, or on KFP_HOST (KFP_PORT=8780, LAB_ARGS=)
	@exec $(kalecast) lab $(if $(KFP_PORT),--kfp-port $(KFP_PORT)) -- $(LAB_ARGS)

##### Benchmarks #####

# TRAIN= is a long table (unique_id, ds, y) or a wide one, a series a row; TEST= its next hours.
TRIALS ?= 20

# The sample's scores are the report's, and RESULTS= names a file for those of other data.
of_sample := $(if $(TRAIN)$(filter-out file,$(origin DATA)),,1)
accuracy_results = $(or $(RESULTS),$(if $(of_sample),report/figures/accuracy.json))

.PHONY: benchmark-accuracy
benchmark-accuracy: install-workbench  ## Accuracy beside classical forecasts (TRAIN=, TEST=, SLOW=1, RESULTS=)
	@exec $(workbench) -m benchmarks.accuracy.score "$(or $(TRAIN),$(DATA))" $(if $(TEST),--test "$(TEST)") \
		$(if $(SLOW),--slow) $(if $(of_sample),--origins 7 --weeks 8) $(ACCURACY_ARGS) \
		$(if $(accuracy_results),--results "$(accuracy_results)" \
		--command "make benchmark-accuracy$(if $(TRAIN), TRAIN=$(notdir $(TRAIN)))$(if $(SLOW), SLOW=1)$(if $(RESULTS), RESULTS=$(RESULTS))")

.PHONY: benchmark-pipeline
benchmark-pipeline: install-workbench  ## Figures of the newest run with the sample and the defaults, or of a new one (NEW=1)
	@exec $(workbench) -m benchmarks.accuracy.pipeline_results $(if $(NEW),--new)

.PHONY: benchmark-forward
benchmark-forward: install-workbench  ## Windows a second of a model file on one core
	@exec $(workbench) -m benchmarks.accuracy.forward_pass "$(MODEL_URI)"

.PHONY: benchmark-memory
benchmark-memory: install-workbench  ## Train on 10,000 generated series of 10,000 hours from disk
	@exec $(workbench) -m benchmarks.accuracy.training_memory $(MEMORY_ARGS)

.PHONY: benchmark-serving
benchmark-serving: install-run .venv/seldon/.installed .venv/mlserver/.installed  ## The server beside Seldon Core's, MLServer and ONNX Runtime
	@exec $(workbench) -m benchmarks.serving.compare "$(MODEL_URI)" $(SERVING_ARGS)

USERS ?= 5000

.PHONY: load-test
load-test: install-run $(if $(PROTECTED)$(FAULTS),install-gateway)  ## Thousands at once against server and page (USERS=5000, PROTECTED=1, FAULTS=1)
	@exec $(workbench) -m benchmarks.load.load_test --users $(USERS) --model "$(MODEL_URI)" \
		$(if $(PROTECTED),--protected) $(if $(FAULTS),--faults) $(LOAD_ARGS)

.PHONY: benchmark-protection
benchmark-protection: install-run .venv/workbench/.installed-test install-debian install-gateway  ## Attacks, benign requests and floods at the gateway (CRS_TESTS=folder)
	@exec $(workbench) -m benchmarks.protection.prove --model "$(MODEL_URI)" \
		$(if $(CRS_TESTS),--crs-tests "$(CRS_TESTS)") $(PROTECTION_ARGS)

.PHONY: simulate
simulate: install-run .venv/workbench/.installed-test  ## Autoscaling by simulation: a day of 50,000 customers (REAL=1 measures here)
	@exec $(workbench) -m benchmarks.autoscaling.simulate --model "$(MODEL_URI)" $(if $(REAL),--real) $(SIMULATE_ARGS)

.PHONY: licences
licences: install-all .venv/mlserver/.installed .venv/report/.installed  ## Licences of all packages, as their metadata say
	@exec $(workbench) -m benchmarks.licences

.PHONY: tune
tune: install-workbench  ## Search hyper-parameters, resumable (DATA=my.csv, TRIALS=20)
	@exec $(kalecast) tune search "$(DATA)" --trials $(TRIALS)

##### The report #####

.PHONY: report
report: install-report  ## Render the report from results (RESULTS=folder, REPORT_ARGS="--only 3-model")
	@exec .venv/report/bin/python -m report.build --results "$(or $(RESULTS),report/figures)" $(REPORT_ARGS)

.PHONY: report-links
report-links: install-report  ## Check the outside links of the rendered report (needs internet)
	@exec .venv/report/bin/python -m report.build --outside-links

##### On Kubernetes #####

.PHONY: manifests
manifests: install-workbench  ## Render every overlay into build/manifests/, write rules and dashboard anew
	@$(kalecast) manifests
	@$(kalecast) alert-rules
	@$(kalecast) dashboard

.PHONY: cluster-run
cluster-run: install-workbench  ## Run the pipeline on KFP_HOST (NOTEBOOK=, PARAMS=, DATA=s3://…, RUN=, STOP=1, EVERY=24h, CRON=, STOP_RECURRING=1)
	@exec $(kalecast) cluster-run \
		$(if $(NOTEBOOK),--notebook "$(NOTEBOOK)",--results report/figures/cluster-run.json) \
		$(if $(RUN),--run "$(RUN)") $(if $(STOP),--stop) \
		$(if $(EVERY),--every "$(EVERY)") $(if $(CRON),--cron "$(CRON)") $(if $(STOP_RECURRING),--stop-recurring) \
		$(if $(filter-out file,$(origin DATA)),--param "data=$(DATA)") $(with_params)

.PHONY: cluster-query
cluster-query: install-workbench install-kubectl  ## Query the cluster's model server (NAMESPACE=, DATA=, SERIES=, URL=, PROTOCOL=rest)
	@PATH="$$PATH:$(CURDIR)/.venv/kubectl" exec $(kalecast) query --data "$(DATA)" $(if $(NAMESPACE),--namespace "$(NAMESPACE)") \
		$(if $(SERIES),--series "$(SERIES)") $(if $(URL),--url "$(URL)") $(if $(PROTOCOL),--protocol $(PROTOCOL))

.PHONY: cluster-test
cluster-test: install-workbench  ## Test an overlay on the cluster of KUBECONFIG (OVERLAY=, SERVER_IMAGE=, PAGE_IMAGE=, KEEP=1)
	@exec $(workbench) -m benchmarks.cluster_test \
		$(if $(OVERLAY),--overlay "$(OVERLAY)") $(if $(NAMESPACE),--namespace "$(NAMESPACE)") \
		$(if $(SERVER_IMAGE),--server-image "$(SERVER_IMAGE)") $(if $(PAGE_IMAGE),--page-image "$(PAGE_IMAGE)") \
		$(if $(PULL_SECRET),--pull-secret "$(PULL_SECRET)") $(if $(MODEL),--model "$(MODEL)") \
		$(if $(PODS),--pods "$(PODS)") $(if $(QUIET),--quiet "$(QUIET)") $(if $(TIMEOUT)$(PATIENCE),--timeout "$(or $(TIMEOUT),$(PATIENCE))") \
		$(if $(REQUIRE),--require "$(REQUIRE)") $(if $(ONLY),--only "$(ONLY)") \
		$(if $(KEEP),--keep) $(if $(DRY_RUN),--dry-run)

.PHONY: images
images: .venv/workbench/.installed-test  ## Build the images, look into them, write their bills (IMAGES=, REGISTRY=, PUSH=1)
	@exec $(kalecast) images $(IMAGES) --registry "$(REGISTRY)" --tag "$(TAG)" \
		--base "$(PYTHON_IMAGE)" --debian "$(DEBIAN_IMAGE)" --builder "$(BUILDER)" $(if $(PUSH),--push) $(IMAGE_ARGS)

.PHONY: policies
policies: install-all  ## Hold every manifest against checkov's policies, and list the exceptions
	@$(kalecast) policies

.PHONY: audit
audit: install-workbench  ## Look up known vulnerabilities of all locked packages (needs internet; LOCKS=)
	@$(workbench) requirements/audit.py $(LOCKS)

##### Checks #####

# Files of tests side by side, in the order of tests/conftest.py.
pytest := .venv/workbench/bin/pytest -q -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: check-notebooks lint test-fast test-slow  ## Check everything

.PHONY: test-fast
test-fast: install-tests  ## The quick tests
	@$(pytest) -m "not slow"

.PHONY: test-slow
test-slow: install-tests  ## Real pipelines, servers, notebooks and browsers
	@$(pytest) -m slow --durations=25

# What the report shows; the trained model and the newest run of the pipeline, not a test's own.
SCREENSHOTS := tests/test_tour_browser.py \
	tests/test_lab_browser.py::test_the_notebook_opens_annotated_and_compiles_with_one_click \
	tests/test_lab_browser.py::test_a_run_of_an_earlier_lab_is_still_there

.PHONY: screenshots
screenshots: install-all install-debian install-gateway  ## Leave the report's screenshots in report/figures (after make pipeline)
	@ls "$(MODEL_URI)" runs/*/summary.json > /dev/null || { echo "Nothing to show yet: make pipeline first." >&2; exit 1; }
	@KALECAST_SCREENSHOTS=report/figures KALECAST_MODEL="$(MODEL_URI)" \
		KALECAST_RUN="$$(dirname "$$(ls -t runs/*/summary.json | head -n 1)")" \
		.venv/workbench/bin/pytest -q $(SCREENSHOTS)

.PHONY: lint
lint: .venv/workbench/.installed-test  ## Ruff, mypy, and which package may import which
	@.venv/workbench/bin/ruff check .
	@.venv/workbench/bin/ruff format --check .
	@.venv/workbench/bin/mypy
	@.venv/workbench/bin/lint-imports

##### Environments #####

.PHONY: install install-workbench install-run install-all install-tests
install: install-run  ## Install what `make run` needs
install-workbench: .venv/workbench/.installed
install-run: .venv/workbench/.installed .venv/server/.installed .venv/page/.installed
install-all: install-run .venv/seldon/.installed .venv/policies/.installed .venv/workbench/.installed-test
install-tests: install-all install-report install-debian install-gateway install-kubectl

# What was installed for a Python that is gone is not installed.
.SECONDEXPANSION:
.venv/%/.installed: requirements/%.txt requirements/install.sh pyproject.toml $$(if $$(realpath .venv/$$*/bin/python),,gone)
	@requirements/install.sh $*
	@touch $@

.venv/workbench/.installed-test: requirements/test.txt .venv/workbench/.installed
	@requirements/install.sh workbench test
	@touch $@

.PHONY: gone
gone:

# Debian's packages come and go without us: looked for each time, which takes milliseconds.
.PHONY: install-debian install-report install-gateway install-kubectl
install-debian:
	@tests/install_debian.sh

install-report: .venv/report/.installed
	@report/install_debian.sh

install-gateway:
	@cluster-setup/6-protection/install.sh

install-kubectl: .venv/workbench/.installed
	@$(kalecast) manifests --kubectl

.PHONY: hooks
hooks: .venv/workbench/.installed-test  ## Have git check notebooks and code before each commit
	@.venv/workbench/bin/pre-commit install

.PHONY: lock
lock: install-workbench  ## Write the locks and environment.yml anew (LOCK_ARGS=--upgrade)
	@requirements/lock.sh $(LOCK_ARGS)

.PHONY: clean
clean:  ## Remove runs, models and caches; the environments stay
	@rm -rf runs models build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
