"""Experiments and pipelines, as long as the stand-in lives."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kalecast.pipelines.lab.local_kfp.api_errors import ApiError


def now() -> str:
    """This moment as KFP writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class PipelineVersion:
    """One upload of a pipeline."""

    version_id: str
    name: str
    description: str
    package: list[dict[str, Any]]
    created_at: str = field(default_factory=now)


@dataclass
class Pipeline:
    """A pipeline of some name and its uploads, oldest first."""

    pipeline_id: str
    name: str
    description: str
    versions: list[PipelineVersion] = field(default_factory=list)
    created_at: str = field(default_factory=now)


class Catalogue:
    """What was created and uploaded so far."""

    def __init__(self) -> None:
        self.experiments: dict[str, dict[str, str]] = {}
        self.pipelines: dict[str, Pipeline] = {}

    def add_experiment(self, name: str, description: str = "") -> dict[str, str]:
        """The experiment of that name, made where there is none.

        Its id follows from its name: Kale writes it into the notebook, which should not change
        with every start.
        """
        experiment_id = _id_of("experiment", name)
        return self.experiments.setdefault(
            experiment_id,
            {
                "experiment_id": experiment_id,
                "display_name": name,
                "description": description,
                "created_at": now(),
                "storage_state": "AVAILABLE",
            },
        )

    def experiment(self, experiment_id: str) -> dict[str, str]:
        """The experiment of that id, or an `ApiError`."""
        if experiment_id not in self.experiments:
            raise ApiError(404, f"Experiment {experiment_id} not found.")
        return self.experiments[experiment_id]

    def add_pipeline(self, name: str, description: str, package: list[dict[str, Any]]) -> Pipeline:
        """A new pipeline with its first version."""
        pipeline_id = _id_of("pipeline", name)
        if pipeline_id in self.pipelines:
            raise ApiError(409, f"A pipeline {name!r} exists already: upload a version of it.")
        pipeline = Pipeline(pipeline_id, name, description)
        self.pipelines[pipeline_id] = pipeline
        self.add_version(pipeline_id, name, description, package)
        return pipeline

    def add_version(
        self, pipeline_id: str, name: str, description: str, package: list[dict[str, Any]]
    ) -> PipelineVersion:
        """A new version of a pipeline."""
        version = PipelineVersion(str(uuid.uuid4()), name, description, package)
        self.pipeline(pipeline_id).versions.append(version)
        return version

    def pipeline(self, pipeline_id: str) -> Pipeline:
        """The pipeline of that id, or an `ApiError`."""
        if pipeline_id not in self.pipelines:
            raise ApiError(404, f"Pipeline {pipeline_id} not found.")
        return self.pipelines[pipeline_id]

    def version(self, pipeline_id: str, version_id: str) -> PipelineVersion:
        """The version of those ids, or an `ApiError`."""
        for version in self.pipeline(pipeline_id).versions:
            if version.version_id == version_id:
                return version
        raise ApiError(404, f"Version {version_id} of pipeline {pipeline_id} not found.")


def _id_of(kind: str, name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"kalecast:{kind}:{name}"))
