"""Runs as two tables, which hold the runs of the last export alone: `runs.csv` and `epochs.csv`, a row for each."""

from __future__ import annotations

import csv
import io

from job.errors import ObjectMissing
from job.storage import Store, open_store
from job.trackers.recorded import RecordedRun
from job.trackers.stamps import Outcome, Stamp, judge

DEFAULT = "csv"
RUNS, EPOCHS = "runs.csv", "epochs.csv"
Row = dict[str, object]


class CsvTables:
    """The two tables in a folder or under an s3:// URI."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._there = {row["run"]: row["attempt_id"] for row in _read(store, RUNS)}
        self._runs: list[Row] = []
        self._epochs: list[Row] = []
        self.advice = f"pandas.read_csv({store.locate(RUNS)!r})"

    def add(self, run: RecordedRun, *, with_model: bool) -> Outcome:  # noqa: ARG002
        """Of weights the tables tell the place alone, `with_model` or not."""
        key: Row = {"run": run.keys.prefix}
        self._runs.append({**key, **run.facts, **run.parameters, **run.final})
        self._epochs += [
            key | {"epoch": epoch.epoch, "at": epoch.at.isoformat()} | epoch.values for epoch in run.epochs
        ]
        found = self._there.get(run.keys.prefix)
        return judge(Stamp(found, with_model=False) if found else None, run, with_model=False)

    def close(self) -> None:
        for name, rows in ((EPOCHS, self._epochs), (RUNS, self._runs)):  # the stamps lie in the second
            content = _table(rows)
            if content != _content(self._store, name):
                self._store.write(name, content)


def open_tracker(place: str) -> CsvTables:
    """The tables at a folder or s3:// URI."""
    return CsvTables(open_store(place))


def _content(store: Store, name: str) -> bytes | None:
    try:
        return store.read(name)
    except ObjectMissing:
        return None


def _read(store: Store, name: str) -> list[dict[str, str]]:
    """The rows of an earlier table that this program wrote."""
    rows = csv.DictReader(io.StringIO((_content(store, name) or b"").decode(errors="replace"), newline=""))
    return [row for row in rows if {"run", "attempt_id"} <= row.keys()]


def _table(rows: list[Row]) -> bytes:
    """`rows` as CSV; a field that a row lacks is empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
