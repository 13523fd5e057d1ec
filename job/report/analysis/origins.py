"""What made the runs: code, versions, image, precision, device and data, and what of it differs between runs.

Two runs of one configuration that differ in it are two experiments. The report may show them together, and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from job.report.analysis.wording import count, join
from job.report.read.frames import FACTS
from job.runs import is_same_commit

DIGESTS = ("git_sha", "image_digest", "data_sha256", "weights_sha256")
UNKNOWN = "not recorded"
Origin = Mapping[str, str | None]


def find_differences(pairs: Iterable[tuple[Origin, Origin]]) -> list[str]:
    """What differs within the pairs, such as `torch 2.11.0 against 2.15.0`; what is not known differs from nothing."""
    differing: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for ours, theirs in pairs:
        if ours is theirs:  # as nearly always: `list_origins` makes equal ones the same
            continue
        for fact in FACTS:
            our, their = ours.get(fact), theirs.get(fact)
            if our is None or their is None or (fact == "git_sha" and is_same_commit(our, their)):
                continue
            if our != their:
                left, right = differing.setdefault(fact, ({}, {}))
                left[show_fact(fact, our)] = right[show_fact(fact, their)] = None
    return [
        f"{FACTS[fact]} {join(list(left))} against {join(list(right))}" for fact, (left, right) in differing.items()
    ]


def list_origins(runs: pd.DataFrame) -> list[Origin]:
    """The facts of every row of `Runs.runs`. Equal ones are the same object."""
    columns = [[None if value != value else value for value in runs[fact]] for fact in FACTS]  # NaN is unequal to NaN
    rows = list(zip(*columns, strict=True))
    origins = {row: dict(zip(FACTS, row, strict=True)) for row in dict.fromkeys(rows)}
    return [origins[row] for row in rows]


def varying_facts(origins: Sequence[Origin]) -> list[str]:
    """The facts that have more than one value among the runs of which anything is recorded."""
    known = [origin for origin in origins if not is_unknown(origin)]
    found = []
    for fact in FACTS:
        values = {origin.get(fact) for origin in known}
        if fact == "weights_sha256":
            values.discard(None)  # a network without pretrained weights has none
        if len(values) > 1:
            found.append(fact)
    return found


def tell_mixture(origins: Sequence[Origin]) -> str | None:
    """What not all runs have in common, as sentences; None where they are alike, or where nothing is known of any."""
    num_unknown = sum(map(is_unknown, origins))
    if num_unknown == len(origins):
        return None
    told = []
    for fact in varying_facts(origins):
        counts = Counter(show_fact(fact, origin.get(fact)) for origin in origins if not is_unknown(origin))
        values = [f"{value} ({count(number, 'run')})" for value, number in counts.most_common(5)]
        told.append(f"{FACTS[fact]} {join(values)}")
    sentences = [f"Not all runs were made alike: {'; '.join(told)}."] if told else []
    if num_unknown:
        sentences.append(f"What made {count(num_unknown, 'run')} of {len(origins)} is not recorded.")
    return " ".join(sentences) or None


def tell_origin(origins: Sequence[Origin], facts: Sequence[str], *, anything_unknown: bool) -> str:
    """The values that `origins` have of `facts`, such as `torch 2.11.0 and 2.15.0, code 222684c`.

    With `anything_unknown` runs of which nothing is recorded are told as well.
    """
    known = [origin for origin in origins if not is_unknown(origin)]
    told = []
    for fact in facts if known else []:
        values = dict.fromkeys(show_fact(fact, origin.get(fact)) for origin in known)
        told.append(f"{FACTS[fact]} {join(list(values))}")
    if anything_unknown and len(known) < len(origins):
        told.append("partly not recorded" if known else UNKNOWN)
    return ", ".join(told) or ("recorded" if anything_unknown else "")


def is_unknown(origin: Origin) -> bool:
    """Whether nothing at all is recorded of what made the run."""
    return all(value is None for value in origin.values())


def show_fact(fact: str, value: str | None) -> str:
    """The value as sentences show it: a digest by its first seven digits, with what is told behind it (`-dirty`)."""
    if value is None:
        return UNKNOWN
    if fact not in DIGESTS:
        return value[:40]
    digest, mark, remark = value.removeprefix("sha256:").partition("-")
    return f"{digest[:7]}{mark}{remark[:20]}"
