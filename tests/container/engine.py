"""The image in a real Docker engine, and a real S3 API that its containers reach."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import docker
from docker.models.containers import Container
from moto.server import ThreadedMotoServer

HARDENED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "user": "12345:54321",
}
"""What a careful cluster demands; the uid is one that the image does not know."""
BUCKET = "bucket"
PLOTS = ("accuracy", "class_accuracy", "confusion", "loss", "samples")


@dataclass(frozen=True)
class Bucket:
    """A bucket that this process and the containers see, each under its own address."""

    client: Any
    environment: dict[str, str]
    """What leads boto3 in a container to it."""
    uri: str = f"s3://{BUCKET}"

    def put(self, key: str, document: object) -> str:
        """Store `document` as JSON; returns its URI."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document).encode())
        return f"{self.uri}/{key}"

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


@contextmanager
def serve_bucket(engine: docker.DockerClient) -> Iterator[Bucket]:
    """An S3 server (moto) on the address under which containers know this machine, with an empty bucket."""
    subnet = ipaddress.ip_network(engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"])
    server = ThreadedMotoServer(ip_address=str(next(subnet.hosts())), port=0, verbose=False)  # the bridge's own
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    client = session.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"])
    client.create_bucket(Bucket=BUCKET)
    try:
        yield Bucket(client, environment)
    finally:
        client.close()
        server.stop()


@contextmanager
def start(
    engine: docker.DockerClient, image: str, *arguments: str, environment: dict[str, str] | None = None, **options: Any
) -> Iterator[Container]:
    """A running container, removed at the end."""
    settings = {"JOB_THREADS": "1"} | (environment or {})
    container = engine.containers.run(image, list(arguments), detach=True, environment=settings, **options)
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def finish(container: Container, *, timeout_seconds: float = 300) -> tuple[int, str]:
    """Exit code and output of `container` once it has ended."""
    code = container.wait(timeout=timeout_seconds)["StatusCode"]
    return code, container.logs().decode()
