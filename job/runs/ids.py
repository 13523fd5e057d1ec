"""Run ids: which manifests are the same run, whatever they are called and whatever version read them."""

from __future__ import annotations

import hashlib
import json

from job.manifest import Manifest


def run_id(manifest: Manifest) -> str:
    """`<name>-s<seed>-<digest>`; the digest covers everything but the name, defaults included."""
    return f"{manifest.name}-s{manifest.seed}-{configuration_digest(manifest)}"


def configuration_digest(manifest: Manifest, *, ignore: frozenset[str] = frozenset({"name"})) -> str:
    """The first 10 hexadecimal digits of SHA-256 over the canonical JSON of `manifest` without `ignore`.

    Ignoring the seed as well gives what the runs of one configuration over several seeds share.
    """
    content = manifest.model_dump(mode="json", exclude=set(ignore))
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
