# The entry point: `make run` shows a forecast on a page, `make test` checks everything.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# Targets share ports, one uv and Debian's package manager.
.NOTPARALLEL:
.SECONDEXPANSION:
.PHONY: help run pipeline compile notebooks check-notebooks lab serve page protect load-test report \
	manifests policies cluster-run cluster-query cluster-test images lint test clean gone

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
# Customers at the same time, in a load test
USERS ?= 5000

kalecast := .venv/workbench/bin/kalecast
python := .venv/workbench/bin/python
with_params = $(foreach parameter,$(PARAMS),--param $(parameter))
own_data = $(if $(filter-out file,$(origin DATA)),--param "data=$(DATA)")

# What a target needs. Packages of Debian and kubectl come and go without us: they are looked for
# each time, which takes milliseconds.
workbench := .venv/workbench/.installed
running := $(workbench) .venv/server/.installed .venv/page/.installed
testing := $(running) .venv/seldon/.installed .venv/policies/.installed .venv/report/.installed .venv/test/.installed
gateway := cluster-setup/6-protection/install.sh
kubectl := $(kalecast) manifests --kubectl
debian := tests/install_debian.sh && report/install_debian.sh && $(gateway) && $(kubectl)

help:  ## List the targets
	@awk -F ':.*## ' '/^[$$()a-z-]+:.*## / {sub(/.*benchmarks./, "benchmark-NAME", $$1); printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##### The main job #####

run: $(running)  ## Train where there is no model yet, start server and page (DATA=my.csv, STORE=models/lab, RETRAIN=1)
	@exec $(kalecast) run --data "$(DATA)" $(if $(STORE),--store "$(STORE)") $(if $(RETRAIN),--retrain) \
		--page-port $(PAGE_PORT) --server-port $(SERVER_PORT) --grpc-port $(GRPC_PORT) \
		--metrics-port $(METRICS_PORT) --page-metrics-port $(PAGE_METRICS_PORT) $(with_params)

pipeline: $(workbench)  ## Run the compiled pipeline on this machine (DATA=my.csv, PARAMS="epochs=10", NOTEBOOK=)
	@exec $(kalecast) $(if $(NOTEBOOK),pipeline --notebook "$(NOTEBOOK)" $(own_data),run --train-only --data "$(DATA)") \
		$(with_params)

compile: $(workbench)  ## Compile the pipelines' notebooks with Kale into kale/ (NOTEBOOK=: that one, CHECK=1: compare alone)
	@$(kalecast) compile $(if $(CHECK),--check) $(if $(NOTEBOOK),"$(NOTEBOOK)")

notebooks: $(testing)  ## Run all notebooks, small, with papermill and nbval (JOBS=2)
	@$(kalecast) execute-notebooks $(if $(JOBS),--jobs $(JOBS))

check-notebooks: $(workbench)  ## Check notebooks without running them: tags, names, paths, outputs
	@$(kalecast) check-notebooks

lab: $(workbench) .venv/seldon/.installed  ## Open JupyterLab with Kale; Run works here, or on KFP_HOST (KFP_PORT=8780, LAB_ARGS=)
	@exec $(kalecast) lab $(if $(KFP_PORT),--kfp-port $(KFP_PORT)) -- $(LAB_ARGS)

serve: .venv/server/.installed  ## Serve a model file (MODEL_URI=models/forecaster.onnx)
	@exec .venv/server/bin/kalecast serve --model-uri "$(MODEL_URI)" --port $(SERVER_PORT) \
		--grpc-port $(GRPC_PORT) --metrics-port $(METRICS_PORT)

page: .venv/page/.installed  ## Show the page for a server that runs already
	@MODEL_SERVER_URL=http://127.0.0.1:$(SERVER_PORT) KALECAST_PAGE_PORT=$(PAGE_PORT) \
		KALECAST_METRICS_PORT=$(PAGE_METRICS_PORT) SAMPLE_DATA="$(DATA)" exec .venv/page/bin/kalecast page

protect: $(workbench)  ## Run nginx + ModSecurity in front of the page of make run (GATEWAY_PORT=8443, PROTECT_ARGS=)
	@$(gateway) && exec $(kalecast) protect --page 127.0.0.1:$(PAGE_PORT) --port $(GATEWAY_PORT) \
		--operators-port $$(( $(GATEWAY_PORT) + 1 )) --signatures-port $$(( $(GATEWAY_PORT) + 2 )) \
		--list-port $$(( $(GATEWAY_PORT) + 3 )) $(PROTECT_ARGS)

##### Benchmarks and the report #####

load-test: $(running)  ## Thousands at once against server and page (USERS=5000, PROTECTED=1, FAULTS=1)
	@$(if $(PROTECTED)$(FAULTS),$(gateway) &&) exec $(python) -m benchmarks.load.load_test --users $(USERS) \
		--model "$(MODEL_URI)" $(if $(PROTECTED),--protected) $(if $(FAULTS),--faults) $(LOAD_ARGS)

# Accuracy: TRAIN= is a long table (unique_id, ds, y) or a wide one, a series a row; TEST= its next
# steps. The sample's scores are the report's, and RESULTS= names a file for those of other data.
of_sample := $(if $(TRAIN)$(filter-out file,$(origin DATA)),,1)
scores = $(or $(RESULTS),$(if $(of_sample),report/figures/accuracy.json))
given = $(foreach name,TRAIN TEST ORIGINS HORIZON FREQUENCY SEASON FOLDER ONLY SLOW NEURAL,$(if $($(name)),$(name)=$(notdir $($(name)))))
scored = make benchmark-$* $(strip $(given) $(if $(RESULTS),RESULTS=$(RESULTS)))
run_accuracy = accuracy.score "$(or $(TRAIN),$(DATA))" $(if $(TEST),--test "$(TEST)") $(if $(SLOW),--slow $(filter-out 1,$(SLOW))) \
	$(if $(of_sample),--origins 7 --weeks 8) $(if $(ORIGINS),--origins "$(ORIGINS)") $(if $(HORIZON),--horizon "$(HORIZON)") \
	$(if $(FREQUENCY),--frequency "$(FREQUENCY)") $(if $(SEASON),--season "$(SEASON)") $(if $(KNOWN),--known "$(KNOWN)") \
	$(ACCURACY_ARGS) $(if $(scores),--results "$(scores)" --command "$(scored)")
# A folder of tables, each a set of its own; NEURAL=1 installs .venv/neural, gigabytes
run_datasets = accuracy.datasets "$(FOLDER)" $(if $(SLOW),--slow) $(if $(NEURAL),--neural) $(if $(ONLY),--only "$(ONLY)") \
	$(if $(RESULTS),--results "$(RESULTS)") $(ACCURACY_ARGS) --command "$(scored)"
run_pipeline = accuracy.pipeline_results $(if $(NEW),--new)
run_forward = accuracy.forward_pass "$(MODEL_URI)"
run_memory = accuracy.training_memory $(MEMORY_ARGS)
run_serving = serving.compare "$(MODEL_URI)" $(SERVING_ARGS)
run_protection = protection.prove --model "$(MODEL_URI)" $(if $(CRS_TESTS),--crs-tests "$(CRS_TESTS)") $(PROTECTION_ARGS)
run_autoscaling = autoscaling.simulate --model "$(MODEL_URI)" $(if $(REAL),--real) $(SIMULATE_ARGS)
run_licences = licences

needs_accuracy := $(workbench)
needs_datasets := $(workbench) $(if $(NEURAL),.venv/neural/.installed)
needs_pipeline := $(workbench)
needs_forward := $(workbench)
needs_memory := $(workbench)
needs_serving := $(running) .venv/seldon/.installed .venv/mlserver/.installed
needs_protection := $(testing)
needs_autoscaling := $(running) .venv/test/.installed
needs_licences := $(testing) .venv/mlserver/.installed

benchmarks := $(addprefix benchmark-,accuracy datasets pipeline forward memory serving protection autoscaling licences)
.PHONY: $(benchmarks)
$(benchmarks): benchmark-%: $$(needs_$$*)  ## accuracy, datasets, pipeline, forward, memory, serving, protection, autoscaling, licences
	@$(if $(filter protection,$*),$(debian) &&) exec $(python) -m benchmarks.$(run_$*)

report: .venv/report/.installed $(if $(SCREENSHOTS),$(testing))  ## Render the report from results (RESULTS=folder, REPORT_ARGS="--only 3-model", SCREENSHOTS=1: anew)
	@report/install_debian.sh $(if $(SCREENSHOTS),&& $(debian) && report/screenshots.sh "$(MODEL_URI)") && \
		exec .venv/report/bin/python -m report.build --results "$(or $(RESULTS),report/figures)" $(REPORT_ARGS)

##### On Kubernetes #####

manifests: $(workbench)  ## Render every overlay into build/manifests/
	@$(kalecast) manifests

policies: $(workbench) .venv/policies/.installed  ## Hold every manifest against checkov's policies, and list the exceptions
	@$(kalecast) policies

cluster-run: $(workbench)  ## Run the pipeline on KFP_HOST (NOTEBOOK=, PARAMS=, DATA=s3://…, RUN=, STOP=1, EVERY=24h, CRON=, STOP_RECURRING=1)
	@exec $(kalecast) cluster-run $(if $(NOTEBOOK),--notebook "$(NOTEBOOK)",--results report/figures/cluster-run.json) \
		$(if $(RUN),--run "$(RUN)") $(if $(STOP),--stop) $(if $(EVERY),--every "$(EVERY)") $(if $(CRON),--cron "$(CRON)") \
		$(if $(STOP_RECURRING),--stop-recurring) $(own_data) $(with_params)

cluster-query: $(workbench)  ## Query the cluster's model server (NAMESPACE=, DATA=, SERIES=, URL=, PROTOCOL=rest)
	@$(kubectl) && PATH="$$PATH:$(CURDIR)/.venv/kubectl" exec $(kalecast) query --data "$(DATA)" \
		$(if $(NAMESPACE),--namespace "$(NAMESPACE)") $(if $(SERIES),--series "$(SERIES)") $(if $(URL),--url "$(URL)") \
		$(if $(PROTOCOL),--protocol $(PROTOCOL))

cluster-test: $(workbench)  ## Test an overlay on the cluster of KUBECONFIG (OVERLAY=, SERVER_IMAGE=, PAGE_IMAGE=, KEEP=1)
	@exec $(python) -m benchmarks.cluster_test $(if $(OVERLAY),--overlay "$(OVERLAY)") $(if $(NAMESPACE),--namespace "$(NAMESPACE)") \
		$(if $(SERVER_IMAGE),--server-image "$(SERVER_IMAGE)") $(if $(PAGE_IMAGE),--page-image "$(PAGE_IMAGE)") \
		$(if $(PULL_SECRET),--pull-secret "$(PULL_SECRET)") $(if $(MODEL),--model "$(MODEL)") \
		$(if $(PODS),--pods "$(PODS)") $(if $(QUIET),--quiet "$(QUIET)") $(if $(TIMEOUT)$(PATIENCE),--timeout "$(or $(TIMEOUT),$(PATIENCE))") \
		$(if $(REQUIRE),--require "$(REQUIRE)") $(if $(ONLY),--only "$(ONLY)") $(if $(KEEP),--keep) $(if $(DRY_RUN),--dry-run)

images: .venv/test/.installed  ## Build the images, look into them, write their bills (IMAGES=, REGISTRY=, PUSH=1)
	@exec $(kalecast) images $(IMAGES) --registry "$(REGISTRY)" --tag "$(TAG)" --base "$(PYTHON_IMAGE)" \
		--debian "$(DEBIAN_IMAGE)" --builder "$(BUILDER)" $(if $(PUSH),--push) $(IMAGE_ARGS)

##### Checks #####

lint: .venv/test/.installed  ## Ruff, mypy, and which package may import which
	@.venv/workbench/bin/ruff check . && .venv/workbench/bin/ruff format --check . && \
		.venv/workbench/bin/mypy && .venv/workbench/bin/lint-imports

# Files of tests side by side, in the order of tests/conftest.py.
pytest := .venv/workbench/bin/pytest -q -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(if $(FAST)$(SLOW),,check-notebooks lint) $(testing)  ## Check everything (FAST=1: quick tests alone, SLOW=1: real pipelines, servers, browsers)
	@$(debian) $(if $(SLOW),,&& $(pytest) -m "not slow") $(if $(FAST),,&& $(pytest) -m slow --durations=25)

##### Environments #####

# What was installed for a Python that is gone is not installed.
.venv/%/.installed: requirements/%.txt requirements/install.sh pyproject.toml $$(if $$(realpath .venv/$$*/bin/python),,gone)
	@requirements/install.sh $* && touch $@

clean:  ## Remove runs, models and caches; the environments stay
	@rm -rf runs models build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
