"""Model URIs of the scheme s3:, against a server that speaks S3."""

from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from kalecast.store import StoreError, fetch, publish


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="models")
    yield "models"
    server.stop()


def test_publish_and_fetch(bucket: str):
    uri = publish(b"one", f"s3://{bucket}/team/kalecast/", "forecaster", "v1")
    assert uri == f"s3://{bucket}/team/kalecast/forecaster.onnx"
    publish(b"two", f"s3://{bucket}/team/kalecast", "forecaster", "v2")
    assert fetch(uri) == b"two"
    assert fetch(f"s3://{bucket}/team/kalecast/forecaster-v1.onnx") == b"one"


def test_a_version_is_never_overwritten(bucket: str):
    store = f"s3://{bucket}/team"
    publish(b"one", store, "forecaster", "v1")
    publish(b"one", store, "forecaster", "v1")  # a repeated step
    with pytest.raises(StoreError, match=r"team/forecaster-v1\.onnx' is there, with other content"):
        publish(b"two", store, "forecaster", "v1")
    assert fetch(f"{store}/forecaster-v1.onnx") == fetch(f"{store}/forecaster.onnx") == b"one"


def test_a_bucket_needs_no_folder(bucket: str):
    assert fetch(publish(b"one", f"s3://{bucket}", "forecaster", "v1")) == b"one"


def test_what_is_missing_is_named(bucket: str):
    with pytest.raises(StoreError, match=f"s3://{bucket}/none"):
        fetch(f"s3://{bucket}/none.onnx")
    with pytest.raises(StoreError, match="s3://elsewhere/forecaster-v1"):
        publish(b"one", "s3://elsewhere", "forecaster", "v1")
