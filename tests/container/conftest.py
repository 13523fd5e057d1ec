"""The engine, the image and the bucket that the tests of the container share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from tests.container.engine import Bucket, serve_bucket

IMAGE = os.environ.get("IMAGE", "job:local")
HERE = Path(__file__).parent
# typer sets this while it reads a command's options and takes it away again. moto's threads copy the environment at the
# same time, and would end a container's job with a KeyError.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))  # moto's own connections
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


def _absent(reason: str) -> None:
    """Skip, or fail where a machine has promised an engine (REQUIRE_DOCKER)."""
    if os.environ.get("REQUIRE_DOCKER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        _absent(f"no Docker engine: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    try:
        engine.images.get(IMAGE)
    except ImageNotFound:
        _absent(f"no image {IMAGE}: make image")
    return IMAGE


@pytest.fixture(scope="session")
def s3(engine: docker.DockerClient) -> Iterator[Bucket]:
    with serve_bucket(engine) as bucket:
        yield bucket
