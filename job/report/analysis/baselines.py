"""What configurations of one optimizer are measured against: their attributes, torch's defaults and the baseline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from job.manifest import Manifest
from job.report.analysis.configurations import Attributes, Configuration
from job.report.analysis.wording import show_value
from job.report.read.frames import flatten_manifest


def read_attributes(manifest: str) -> dict[str, Any]:
    """The attributes of a manifest given as JSON."""
    flat = flatten_manifest(manifest)
    schedule = {key.partition(".")[2]: value for key, value in flat.items() if key.startswith("schedule.")}
    name = schedule.pop("name")
    details = [f"{key} {show_value(value)}" for key, value in schedule.items() if value]
    own = {key: value for key, value in flat.items() if not key.startswith(("schedule.", "dataset."))}
    return own | {"schedule": ", ".join([str(name), *details])}


@cache
def read_defaults(optimizer: str) -> Attributes:
    """What torch's defaults, and ours for the rest, give for `optimizer`."""
    manifest = Manifest.model_validate({"name": "default", "optimizer": {"name": optimizer}})
    return read_attributes(manifest.model_dump_json())


def varying_attributes(family: Iterable[Configuration]) -> list[str]:
    """The attributes with more than one value, in the manifest's order."""
    values: dict[str, set[Any]] = defaultdict(set)
    for configuration in family:
        for attribute, value in configuration.attributes.items():
            values[attribute].add(value)
    return [attribute for attribute, seen in values.items() if len(seen) > 1]


def find_baseline(family: Sequence[Configuration]) -> Configuration:
    """The configuration that most others differ from in exactly one attribute.

    Of several, as in a grid, that with the most scores, then with the most default values. One without
    any score is no baseline where there is another.
    """
    varying = varying_attributes(family)
    scored = [configuration for configuration in family if configuration.scores] or family
    neighbourhoods: Counter[tuple[str, tuple[Any, ...]]] = Counter(
        (attribute, _others(configuration, attribute, varying)) for configuration in family for attribute in varying
    )

    def rank(configuration: Configuration) -> tuple[int, int, int, str]:
        num_neighbours = sum(
            neighbourhoods[attribute, _others(configuration, attribute, varying)] - 1 for attribute in varying
        )
        defaults = read_defaults(configuration.optimizer)
        num_defaults = sum(configuration.attributes.get(attribute) == defaults.get(attribute) for attribute in varying)
        return num_neighbours, len(configuration.scores), num_defaults, configuration.digest

    return max(scored, key=rank)


def _others(configuration: Configuration, attribute: str, varying: Iterable[str]) -> tuple[Any, ...]:
    return tuple(configuration.attributes.get(other) for other in varying if other != attribute)
