"""The JSON document that a manifest or a sweep is written in: read strictly, changed at a path, shown in messages.

What its fields mean is left to `job.manifest.parsing`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from job.errors import ManifestError

MAX_BYTES = 1024 * 1024
"""A manifest is a few hundred bytes; anything near this size is not one."""
MAX_FAULTS = 100
"""More faults than this are counted, not listed."""

JSON_WORDS = {"true": "true", "false": "false", "none": "null", "null": "null"}
"""What JSON writes for a word that another language, or another case of letters, has for it."""
_JSON_WORD = re.compile(rf"({'|'.join(JSON_WORDS)})\b", re.IGNORECASE)
_FRACTIONS = re.compile(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN|-?\d+[.eE][\d.eE+-]*')
"""What JSON reads as a float, and strings, so that what stands in them is passed over."""


def parse_json_object(content: bytes, *, source: str) -> dict[str, Any]:
    """The JSON object in `content`.

    Raises `ManifestError` for what is not JSON or not an object, and for what two readers could understand differently:
    a duplicate key, NaN, infinity.
    """
    if len(content) > MAX_BYTES:
        raise ManifestError(f"{source}: {len(content)} bytes is too large; a manifest has at most {MAX_BYTES}")
    if not content.strip():
        raise ManifestError(f"{source}: is empty; must be a JSON object")
    try:
        text = content.decode("utf-8-sig")
        document = load(text)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{source}: not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise ManifestError(f"{source}: nested too deeply") from error
    except json.JSONDecodeError as error:
        word = _JSON_WORD.match(error.doc, error.pos)
        if word and error.msg == "Expecting value":
            fault = f"{word[0]} must be written {JSON_WORDS[word[0].lower()]}, or in quotes where a text is meant,"
        else:
            fault = error.msg
        raise ManifestError(f"{source}: not JSON: {fault} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:  # a key that stands twice, or an integer of thousands of digits
        raise ManifestError(f"{source}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{source}: must be a JSON object, is {show(document)}")
    faults = find_infinite(document, text)
    if faults:
        shown = [f"{source}: {fault}" for fault in faults[:MAX_FAULTS]]
        more = [f"{source}: and {len(faults) - MAX_FAULTS} faults more"] if len(faults) > MAX_FAULTS else []
        raise ManifestError(*shown, *more)
    return document


def load(text: str) -> Any:
    """The value of the JSON `text`. Minus zero becomes zero, so that equal configurations have the same digest.

    Raises `ValueError`, also for a key that stands twice in one object, because readers differ in which one counts.
    """
    return json.loads(text, parse_float=lambda number: float(number) + 0.0, object_pairs_hook=_refuse_duplicates)


def find_infinite(document: Any, text: str) -> list[str]:
    """A fault for each number of `document` that is not finite, with the line of `text` that it stands in."""
    fractions = (found for found in _FRACTIONS.finditer(text) if found[0][0] != '"')
    places = [found.start() for found in fractions if not math.isfinite(float(found[0]))]
    if not places:
        return []
    infinite = [(path, value) for path, value in _walk_fractions(document) if not math.isfinite(value)]
    return [
        f"{path} is {json.dumps(value)} in line {text.count(chr(10), 0, place) + 1}; must be a finite number"
        for (path, value), place in zip(infinite, places, strict=True)
    ]


def _walk_fractions(document: Any) -> Iterator[tuple[str, float]]:
    """Every float in `document` with its dotted path, in the order of the text."""
    left = [("", document)]
    while left:
        path, value = left.pop()
        if isinstance(value, float):
            yield path, value
        elif isinstance(value, dict):
            left += [(f"{path}.{show_key(key)}".lstrip("."), child) for key, child in reversed(value.items())]
        elif isinstance(value, list):
            left += [(f"{path}[{index}]", child) for index, child in reversed(list(enumerate(value)))]


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {show(key)} stands twice in one object")
    return found


def set_path(document: dict[str, Any], path: str, value: Any) -> None:
    """Put `value` at the dotted `path` of `document`. Raises `ValueError` where the path leads through a value."""
    *parents, key = path.split(".")
    for parent in parents:
        child = document.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"{parent} is {show(child)}, it has no fields")  # noqa: TRY004 - the document is at fault
        document = child
    document[key] = value


def show_key(key: str) -> str:
    """`key` as it is if it is a short word, else as JSON and cut: it may hold line breaks, or be a megabyte long."""
    return key if re.fullmatch(r"\w{1,40}", key, re.ASCII) else show(key)


def show(value: object) -> str:
    """`value` as JSON, cut after 80 characters, so that messages stay readable whatever is in the file."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
