"""Run ids: which manifests are the same run, whatever they are called and whatever version read them."""

from __future__ import annotations

import hashlib
import json

from job.manifest import Manifest, later_defaults


def run_id(manifest: Manifest) -> str:
    """`<name>-s<seed>-<digest>`; the digest covers everything but the name."""
    return f"{manifest.name}-s{manifest.seed}-{configuration_digest(manifest)}"


def configuration_digest(manifest: Manifest, *, ignore: frozenset[str] = frozenset({"name"})) -> str:
    """The first 10 hexadecimal digits of SHA-256 over the canonical JSON of `manifest` without `ignore`.

    Defaults are included, except those of fields that came after the first schema version (`job.manifest.base` has the
    rule): an id stays what it is when the program learns something new.
    Ignoring the seed as well gives what the runs of one configuration over several seeds share.
    """
    content = manifest.model_dump(mode="json", exclude=later_defaults(manifest) | dict.fromkeys(ignore, True))
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
