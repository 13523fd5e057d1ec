"""The origin of a result: the code, packages and image that made it from its manifest, and how two origins differ."""

from __future__ import annotations

from collections.abc import Mapping

from job.runs.result import Environment

PACKAGES = ("torch", "torchvision")
"""The packages whose version can change a result."""
UNKNOWN = "unknown"
"""What the image records as its commit when it was built without one."""


def describe_origin(environment: Environment | None) -> dict[str, str]:
    """What made a result, as far as its record says: `version`, `code`, `torch`, `torchvision` and `image`.

    `version` is that of this program, `code` is a git commit, `image` is a digest. Parts that are unknown are left out.
    """
    if environment is None:
        return {}
    return build_origin(
        version=environment.package_version,
        code=environment.git_sha,
        **{name: environment.packages.get(name) for name in PACKAGES},
        image=environment.image_digest,
    )


def build_origin(**parts: str | None) -> dict[str, str]:
    """Those of `parts` that are known."""
    return {name: value for name, value in parts.items() if value and value != UNKNOWN}


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The parts in which two origins (`describe_origin`) differ, with both values, in the order of `first`.

    A part that is unknown in one of them is no difference. A commit may be shortened on one side.
    """
    return {
        name: (value, second[name])
        for name, value in first.items()
        if name in second and value != second[name] and not (name == "code" and is_same_commit(value, second[name]))
    }


def is_same_commit(first: str, second: str) -> bool:
    """Whether two names of a commit mean the same, although one may be shortened."""
    (one, _, one_dirty), (other, _, other_dirty) = first.partition("-"), second.partition("-")
    return one_dirty == other_dirty and (one.startswith(other) or other.startswith(one))
