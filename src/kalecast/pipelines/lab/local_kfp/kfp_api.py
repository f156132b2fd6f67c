"""The part of KFP's API (v2beta1) that Kale and `kfp.Client` use to run a pipeline."""

import json
from typing import Any

from kalecast.pipelines.lab.local_kfp.api_errors import ApiError
from kalecast.pipelines.lab.local_kfp.catalogue import Catalogue, Pipeline, PipelineVersion
from kalecast.pipelines.lab.local_kfp.guarded import Guarded
from kalecast.pipelines.lab.local_kfp.packages import (
    check_package,
    parameter_texts,
    pipeline_name,
    read_package,
)
from kalecast.pipelines.lab.local_kfp.run_view import timestamp
from kalecast.pipelines.lab.local_kfp.runs import Runs

PAGE_SIZE = 20
NAME_LENGTH = 256


class ApiHandler(Guarded):
    """What the handlers of the API share."""

    def initialize(self, **options: Any) -> None:
        """Take what the application holds."""
        super().initialize(**options)
        self.catalogue: Catalogue = options["catalogue"]
        self.runs: Runs = options["runs"]

    def body(self) -> dict[str, Any]:
        """The request's JSON object."""
        if not self.request.headers.get("Content-Type", "").startswith("application/json"):
            raise ApiError(415, "Expected Content-Type: application/json.")
        try:
            content = json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"Expected a JSON object ({error}).") from error
        if not isinstance(content, dict):
            raise ApiError(400, "Expected a JSON object.")
        return content

    def package(self) -> list[dict[str, Any]]:
        """The pipeline in an upload's form."""
        files = self.request.files.get("uploadfile", [])
        if len(files) != 1:
            raise ApiError(400, "Expected a form with one file named 'uploadfile'.")
        return read_package(files[0]["body"])

    def answer_page(self, key: str, items: list[dict[str, Any]]) -> None:
        """Answer with one page of those items that match the request's filter."""
        items = [item for item in items if self._matches_filter(item)]
        start = self._number("page_token", 0)
        end = start + (self._number("page_size", PAGE_SIZE) or PAGE_SIZE)
        more = {"next_page_token": str(end)} if end < len(items) else {}
        self.answer({key: items[start:end], "total_size": len(items), **more})

    def _number(self, argument: str, default: int) -> int:
        text = self.get_query_argument(argument, "") or str(default)
        if not (text.isascii() and text.isdigit() and len(text) < 9):
            raise ApiError(400, f"Expected a number as {argument}, received: {text[:100]!r}.")
        return int(text)

    def _matches_filter(self, item: dict[str, Any]) -> bool:
        text = self.get_query_argument("filter", "")
        if not text:
            return True
        try:
            predicates = json.loads(text)["predicates"]
            wanted = {p["key"]: p["stringValue"] for p in predicates if _is_equality(p)}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ApiError(
                400, "Expected a filter of predicates with key and stringValue."
            ) from error
        if len(wanted) != len(predicates) or not wanted.keys() <= {"name", "display_name"}:
            raise ApiError(400, "The stand-in for KFP filters by equal names only.")
        return all(item["display_name"] == value for value in wanted.values())


def _is_equality(predicate: dict[str, Any]) -> bool:
    return predicate["operation"] in ("EQUALS", 1)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > NAME_LENGTH:
        raise ApiError(400, f"Expected {what} of 1 to {NAME_LENGTH} characters.")
    return value


class Health(ApiHandler):
    """GET healthz."""

    def get(self) -> None:
        """One user, whose runs are all of them."""
        self.runs.check()
        self.answer({"multi_user": False})


class Experiments(ApiHandler):
    """GET and POST experiments."""

    def get(self) -> None:
        """List."""
        self.answer_page("experiments", list(self.catalogue.experiments.values()))

    def post(self) -> None:
        """Create."""
        body = self.body()
        name = _text(body.get("display_name"), "a display_name")
        self.answer(self.catalogue.add_experiment(name, str(body.get("description") or "")))


class Experiment(ApiHandler):
    """GET experiments/ID."""

    def get(self, experiment_id: str) -> None:
        """Describe."""
        self.answer(self.catalogue.experiment(experiment_id))


class Pipelines(ApiHandler):
    """GET pipelines."""

    def get(self) -> None:
        """List."""
        pipelines = self.catalogue.pipelines.values()
        self.answer_page("pipelines", [_pipeline(pipeline) for pipeline in pipelines])


class OnePipeline(ApiHandler):
    """GET pipelines/ID."""

    def get(self, pipeline_id: str) -> None:
        """Describe."""
        self.answer(_pipeline(self.catalogue.pipeline(pipeline_id)))


class UploadPipeline(ApiHandler):
    """POST pipelines/upload."""

    def post(self) -> None:
        """Take a new pipeline."""
        package = self.package()
        name = self.get_query_argument("name", "") or pipeline_name(package[0])
        description = self.get_query_argument("description", "")
        pipeline = self.catalogue.add_pipeline(_text(name, "a name"), description, package)
        self.answer(_pipeline(pipeline))


class UploadVersion(ApiHandler):
    """POST pipelines/upload_version."""

    def post(self) -> None:
        """Take a new version of a pipeline."""
        pipeline_id = self.get_query_argument("pipelineid", "")
        pipeline, package = self.catalogue.pipeline(pipeline_id), self.package()
        name = self.get_query_argument("name", "") or f"version {len(pipeline.versions) + 1}"
        description = self.get_query_argument("description", "")
        version = self.catalogue.add_version(
            pipeline_id, _text(name, "a name"), description, package
        )
        self.answer(_version(pipeline, version))


class Versions(ApiHandler):
    """GET pipelines/ID/versions."""

    def get(self, pipeline_id: str) -> None:
        """List, the newest first."""
        pipeline = self.catalogue.pipeline(pipeline_id)
        newest_first = [_version(pipeline, version) for version in reversed(pipeline.versions)]
        self.answer_page("pipeline_versions", newest_first)


class OneVersion(ApiHandler):
    """GET pipelines/ID/versions/ID."""

    def get(self, pipeline_id: str, version_id: str) -> None:
        """Describe."""
        version = self.catalogue.version(pipeline_id, version_id)
        self.answer(_version(self.catalogue.pipeline(pipeline_id), version))


class RunList(ApiHandler):
    """GET and POST runs."""

    def get(self) -> None:
        """List, the newest first."""
        self.answer_page("runs", [_run(view) for view in self.runs.newest()])

    def post(self) -> None:
        """Queue a run of the package in the request, or of an uploaded version."""
        self.runs.check()
        body = self.body()
        package = self._package(body)
        config = body.get("runtime_config") or {}
        parameters = (config.get("parameters") if isinstance(config, dict) else None) or {}
        texts = parameter_texts(package[0], parameters)
        experiment_id = (
            body.get("experiment_id") or self.catalogue.add_experiment("Default")["experiment_id"]
        )
        request = {
            "name": _text(body.get("display_name"), "a display_name"),
            "pipeline": pipeline_name(package[0]),
            "experiment_id": self.catalogue.experiment(str(experiment_id))["experiment_id"],
            "parameters": parameters,
            "version": body.get("pipeline_version_reference"),
        }
        self.answer(_run(self.runs.view(self.runs.add(request, package, texts))))

    def _package(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        spec, reference = body.get("pipeline_spec"), body.get("pipeline_version_reference")
        if isinstance(reference, dict) and spec is None:
            ids = (str(reference.get(key)) for key in ("pipeline_id", "pipeline_version_id"))
            return self.catalogue.version(*ids).package
        if isinstance(spec, dict) and "pipeline_spec" in spec:
            return check_package([spec["pipeline_spec"], spec.get("platform_spec") or {}])
        return check_package([spec])


class OneRun(ApiHandler):
    """GET runs/ID."""

    def get(self, run_id: str) -> None:
        """Describe."""
        self.answer(_run(self.runs.view(run_id)))


class StepLog(ApiHandler):
    """GET runs/ID/nodes/NODE/log; a node is a step here."""

    def get(self, run_id: str, step: str) -> None:
        """The end of what it printed."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(self.runs.log(run_id, step)["text"])


class Terminate(ApiHandler):
    """POST runs/ID:terminate."""

    def post(self, run_id: str) -> None:
        """Stop it."""
        self.runs.stop(run_id)
        self.answer({})


def _pipeline(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "pipeline_id": pipeline.pipeline_id,
        "display_name": pipeline.name,
        "name": pipeline.name,
        "description": pipeline.description,
        "created_at": pipeline.created_at,
    }


def _version(pipeline: Pipeline, version: PipelineVersion) -> dict[str, Any]:
    return {
        "pipeline_id": pipeline.pipeline_id,
        "pipeline_version_id": version.version_id,
        "display_name": version.name,
        "name": version.name,
        "description": version.description,
        "created_at": version.created_at,
        "pipeline_spec": version.package[0],
    }


def _run(view: dict[str, Any]) -> dict[str, Any]:
    error = view["error"]
    message = f"{error['step']}: {error['type']}: {error['message']}" if error else ""
    return {
        "run_id": view["run_id"],
        "display_name": view["name"],
        "experiment_id": view["experiment_id"],
        "state": view["state"],
        "created_at": view["created_at"],
        "storage_state": "AVAILABLE",
        "runtime_config": {"parameters": view["parameters"]},
        "run_details": {"task_details": [_task(s) for s in view["steps"] if "started" in s]},
        **({"pipeline_version_reference": view["version"]} if view["version"] else {}),
        **({"finished_at": view["finished_at"]} if view["finished_at"] else {}),
        **({"error": {"code": 13, "message": message}} if error else {}),
    }


def _task(step: dict[str, Any]) -> dict[str, Any]:
    has_ended = step["state"] != "RUNNING"
    ended = {"end_time": timestamp(step["started"] + step["seconds"])} if has_ended else {}
    return {
        "display_name": f"{step['name'].replace('_', '-')}-step",  # Kale's name for its task
        "state": step["state"],
        "start_time": timestamp(step["started"]),
        "child_tasks": [{"pod_name": step["name"]}],
        **ended,
    }


BASE = "/apis/v2beta1"
ROUTES = [
    (rf"{BASE}/healthz", Health),
    (rf"{BASE}/experiments", Experiments),
    (rf"{BASE}/experiments/([^/:]+)", Experiment),
    (rf"{BASE}/pipelines", Pipelines),
    (rf"{BASE}/pipelines/upload", UploadPipeline),
    (rf"{BASE}/pipelines/upload_version", UploadVersion),
    (rf"{BASE}/pipelines/([^/:]+)", OnePipeline),
    (rf"{BASE}/pipelines/([^/:]+)/versions", Versions),
    (rf"{BASE}/pipelines/([^/:]+)/versions/([^/:]+)", OneVersion),
    (rf"{BASE}/runs", RunList),
    (rf"{BASE}/runs/([^/:]+)", OneRun),
    (rf"{BASE}/runs/([^/:]+):terminate", Terminate),
    (r"/apis/v1alpha1/runs/([^/:]+)/nodes/([^/:]+)/log", StepLog),
]
