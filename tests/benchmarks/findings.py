"""What a section of the GPU check finds: rows that are in a file as soon as they are known.

Whatever ends the section, what it had found until then can be read.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job.errors import JobError

Document = dict[str, Any]
PASSED, FAILED, NOT_TRIED = "passed", "failed", "not tried"


class NotTried(Exception):
    """This cannot be tried here; the message says why, which is no failure."""


class Findings:
    """The rows of one section, and facts beside them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.document: Document = {"rows": []}

    def tell(self, **facts: Any) -> None:
        """Add facts about the whole section."""
        self.document |= facts
        write_json(self._path, self.document)

    @contextmanager
    def row(self, name: str) -> Iterator[Document]:
        """A row to be filled in the block. What the block raises becomes its reason, and the section goes on."""
        row: Document = {"name": name, "status": PASSED, "reason": None}
        started = time.perf_counter()
        try:
            yield row
        except NotTried as error:
            row |= {"status": NOT_TRIED, "reason": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the next row is tried
            row |= {"status": FAILED, "reason": name_error(error)}
        row["seconds"] = time.perf_counter() - started
        self.document["rows"].append(row)
        self.tell()


def judge(rows: list[Document]) -> Document:
    """Status and reason of a section with these rows; a row without status is a measurement that was made."""
    failed = [row for row in rows if row.get("status") == FAILED]
    if failed:
        first = f"{failed[0]['name']}: {failed[0]['reason']}"
        return {"status": FAILED, "reason": first if len(rows) == 1 else f"{len(failed)} of {len(rows)}: {first}"}
    if rows and all(row.get("status") == NOT_TRIED for row in rows):
        return {"status": NOT_TRIED, "reason": rows[0]["reason"]}
    return {"status": PASSED, "reason": None}


def name_error(error: Exception) -> str:
    """The message of an error of this project; of another one its class too. Its first lines."""
    said = " ".join(str(error).split())[:500]
    return said if isinstance(error, JobError) else f"{type(error).__name__}: {said}"


def last_line(said: str) -> str:
    """Of what a program wrote, where it says why it failed."""
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"


def read_events(said: str) -> list[Document]:
    """The events that `job` logged, among other lines."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{") and line.endswith("}")]


def write_json(path: Path, document: Document) -> None:
    """As a whole or not at all, so that whoever is killed meanwhile leaves what stood there before."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(document, indent=1))
    os.replace(draft, path)
