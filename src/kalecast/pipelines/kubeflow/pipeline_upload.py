"""A compiled pipeline as a version on Kubeflow Pipelines, uploaded once for each content."""

from dataclasses import dataclass
from typing import Any

from kalecast.pipelines.compiled_pipeline import CompiledPipeline
from kalecast.pipelines.kubeflow.remote_kfp import PAGE, RemoteKfp, by_name


@dataclass(frozen=True)
class UploadedVersion:
    """A pipeline version on KFP."""

    pipeline_id: str
    version_id: str
    is_new: bool


def upload(kfp: RemoteKfp, compiled: CompiledPipeline) -> UploadedVersion:
    """The version with this content, uploaded where there is none yet.

    The first version of a pipeline gets the pipeline's name, whatever is requested: there the
    name that follows from the content stands in the description.
    """
    name, description = compiled.version_name, compiled.description
    pipeline_id = _pipeline_id(kfp, compiled.name)
    known = _versions(kfp, pipeline_id) if pipeline_id else []
    for version in known:
        if name in (version.display_name, *(version.description or "").split()):
            return UploadedVersion(version.pipeline_id, version.pipeline_version_id, False)
    path = str(compiled.path)
    if pipeline_id:
        made = kfp.do(
            lambda: kfp.client.upload_pipeline_version(
                path, name, pipeline_id=pipeline_id, description=description
            )
        )
        return UploadedVersion(pipeline_id, made.pipeline_version_id, True)
    pipeline = kfp.do(
        lambda: kfp.client.upload_pipeline(
            path, compiled.name, f"{description} {name}".strip(), namespace=kfp.namespace
        )
    )
    (first,) = _versions(kfp, pipeline.pipeline_id)
    return UploadedVersion(pipeline.pipeline_id, first.pipeline_version_id, True)


def _pipeline_id(kfp: RemoteKfp, name: str) -> str | None:
    """The profile's own pipeline of that name."""
    found = kfp.query(
        lambda: kfp.client.list_pipelines(filter=by_name(name), namespace=kfp.namespace)
    ).pipelines
    return str(found[0].pipeline_id) if found else None


def _versions(kfp: RemoteKfp, pipeline_id: str) -> list[Any]:
    return kfp.all_of(
        lambda token: kfp.client.list_pipeline_versions(
            pipeline_id, page_token=token, page_size=PAGE, sort_by="created_at desc"
        ),
        "pipeline_versions",
    )
