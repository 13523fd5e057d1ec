"""Manifests and sweeps: the pydantic models, and reading them from bytes with every fault named."""

from job.manifest.base import Since, later_defaults
from job.manifest.document import parse_json_object
from job.manifest.models import Manifest
from job.manifest.optimizers import Optimizer
from job.manifest.parsing import apply_overrides, parse_manifest, validate
from job.manifest.sweep import MAX_RUNS, Configuration, Sweep, expand

__all__ = [
    "MAX_RUNS",
    "Configuration",
    "Manifest",
    "Optimizer",
    "Since",
    "Sweep",
    "apply_overrides",
    "expand",
    "later_defaults",
    "parse_json_object",
    "parse_manifest",
    "validate",
]
