"""Run ids, and the digest in them, which depends on neither the name of a manifest nor the version that reads it."""

from __future__ import annotations

import hashlib
import json

from job.manifest import Manifest, later_defaults


def run_id(manifest: Manifest) -> str:
    """`<name>-s<seed>-<digest>`; the digest covers everything but the name."""
    return f"{manifest.name}-s{manifest.seed}-{configuration_digest(manifest)}"


def configuration_digest(manifest: Manifest, *, ignore: frozenset[str] = frozenset({"name"})) -> str:
    """The first 10 hexadecimal digits of SHA-256 over the canonical JSON of `manifest` without `ignore`.

    Defaults are included, except those of fields that came after the first schema version, so that an id stays the same
    when manifests get new fields (`job.manifest.base` has the rule). With the seed in `ignore` too, the digest is the
    same for all seeds of a configuration.
    """
    content = manifest.model_dump(mode="json", exclude=later_defaults(manifest) | dict.fromkeys(ignore, True))
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
