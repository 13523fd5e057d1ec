"""Manifests: the pydantic models, and reading them from bytes with every fault named."""

from job.manifest.models import Manifest
from job.manifest.optimizers import Optimizer
from job.manifest.parsing import apply_settings, parse_manifest

__all__ = ["Manifest", "Optimizer", "apply_settings", "parse_manifest"]
