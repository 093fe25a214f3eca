"""A server of S3 on this machine: moto's, with an empty bucket `bucket`, for this process and those that it starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "bucket"


@contextmanager
def moto_server() -> Iterator[str]:
    """Give the URL of a server that listens until the block ends."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def empty_bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # boto3 has no types
    """Return a client of an empty S3 with a bucket, for which the environment has the credentials."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "the-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{moto}/moto-api/reset").raise_for_status()
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


@contextmanager
def no_rights(moto: str) -> Iterator[None]:
    """Refuse every call for the length of the block, as a policy does."""
    httpx.post(f"{moto}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        yield
    finally:
        httpx.post(f"{moto}/moto-api/reset-auth", content=b"inf").raise_for_status()
