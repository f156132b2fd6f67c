"""Model URIs of the scheme s3:, against a server that speaks S3."""

import os
from collections.abc import Iterator

import boto3
import pytest
import requests

from kalecast.artifact import store
from kalecast.artifact.store import StoreError, fetch, fetch_data, publish
from kalecast.data.series import load_series


def test_of_two_publishers_of_one_version_one_alone_succeeds(
    bucket: str, monkeypatch: pytest.MonkeyPatch
):
    """Both have looked and found nothing, when the first one writes."""
    monkeypatch.setattr(store, "_found", lambda uri: None)
    both = f"s3://{bucket}"
    publish(b"one", both, "forecaster", "v1")
    with pytest.raises(StoreError, match="is there, with other content"):
        publish(b"two", both, "forecaster", "v1")
    assert fetch(f"{both}/forecaster-v1.onnx") == fetch(f"{both}/forecaster.onnx") == b"one"


def test_what_is_missing_is_named(bucket: str):
    with pytest.raises(StoreError, match=f"s3://{bucket}/none"):
        fetch(f"s3://{bucket}/none.onnx")
    with pytest.raises(StoreError, match="s3://elsewhere/forecaster-v1"):
        publish(b"one", "s3://elsewhere", "forecaster", "v1")


def test_data_are_read_from_a_bucket(bucket: str):
    rows = b"ds,y\n2026-01-01 00:00,1\n2026-01-01 01:00,2\n"
    boto3.client("s3").put_object(Bucket=bucket, Key="sales/shop.csv", Body=rows)
    frame = load_series(f"s3://{bucket}/sales/shop.csv")
    assert frame["y"].tolist() == [1.0, 2.0]
    assert set(frame["unique_id"]) == {"shop"}


def test_data_that_cannot_be_had_are_named(bucket: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StoreError, match=rf"'s3://{bucket}/none.csv': there is none \(NoSuchKey"):
        fetch_data(f"s3://{bucket}/none.csv")
    with pytest.raises(StoreError, match=r"there is none \(NoSuchBucket"):
        fetch_data("s3://elsewhere/none.csv")
    boto3.client("s3").put_object(Bucket=bucket, Key="large.csv", Body=b"x" * 2**20)
    monkeypatch.setattr(store, "LARGEST_DATA", 2**19)
    with pytest.raises(StoreError, match=f"at most 0 MiB, 's3://{bucket}/large.csv' has 1 MiB"):
        fetch_data(f"s3://{bucket}/large.csv")


@pytest.fixture
def closed_bucket(bucket: str) -> Iterator[str]:
    """A bucket whose server checks who may what, and refuses everything."""
    address = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    requests.post(address, data=b"0", timeout=10)
    yield bucket
    requests.post(address, data=b"inf", timeout=10)


def test_keys_that_do_not_open_are_said(closed_bucket: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StoreError, match=r"these keys do not open it \(InvalidAccessKeyId"):
        fetch_data(f"s3://{closed_bucket}/any.csv")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers keys
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(StoreError, match="no keys are set: AWS_ACCESS_KEY_ID"):
        fetch_data(f"s3://{closed_bucket}/any.csv")
