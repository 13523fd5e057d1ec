"""What made a result, and how two origins differ: `job submit --stale` and the report go by it."""

from __future__ import annotations

from typing import Any

import pytest

from job.runs import Environment, describe_origin, differences

COMMIT, OTHER = "222684c56dd0" + "0" * 28, "884bce7aa5fe" + "0" * 28


def environment(**fields: Any) -> Environment:
    known: dict[str, Any] = {
        "package_version": "0.1.0", "python": "3.11", "platform": "Linux", "device": "cpu", "driver": None,
        "packages": {"torch": "2.11.0", "torchvision": "0.26.0", "numpy": "2.0"}, "cuda": None,
        "cpu_capability": "AVX2", "num_threads": 2, "precision": "fp32", "git_sha": COMMIT, "image_digest": "sha256:1",
        "instance_type": None, "data_sha256": "00", "weights_sha256": None,
    }  # fmt: skip
    return Environment.model_validate(known | fields)


def test_origin_holds_what_is_known_and_nothing_else() -> None:
    assert describe_origin(environment()) == {
        "version": "0.1.0", "code": COMMIT, "torch": "2.11.0", "torchvision": "0.26.0", "image": "sha256:1",
    }  # fmt: skip
    assert describe_origin(environment(git_sha=None, image_digest=None, packages={})) == {"version": "0.1.0"}
    assert describe_origin(None) == {}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, {}),
        ({"python": "3.12", "platform": "other", "device": "NVIDIA A10G", "num_threads": 8}, {}),
        ({"git_sha": OTHER}, {"code": (COMMIT, OTHER)}),
        ({"git_sha": None, "image_digest": None, "packages": {}}, {}),
        ({"git_sha": "unknown"}, {}),  # an image that was built without a commit
        ({"git_sha": COMMIT[:12]}, {}),
        ({"git_sha": f"{COMMIT}-dirty"}, {"code": (COMMIT, f"{COMMIT}-dirty")}),
        ({"image_digest": "sha256:2"}, {"image": ("sha256:1", "sha256:2")}),
        ({"package_version": "0.2.0"}, {"version": ("0.1.0", "0.2.0")}),
        ({"packages": {"torch": "2.12.0", "torchvision": "0.26.0", "numpy": "1"}}, {"torch": ("2.11.0", "2.12.0")}),
    ],
    ids=str,
)
def test_origins_differ_in_what_is_known_of_both(fields: dict[str, Any], found: dict[str, tuple[str, str]]) -> None:
    first, second = describe_origin(environment()), describe_origin(environment(**fields))
    assert differences(first, second) == found
    assert differences(second, first) == {name: (b, a) for name, (a, b) in found.items()}
