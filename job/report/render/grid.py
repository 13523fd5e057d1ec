"""A table as text, for the page and for the Markdown alike; `grids` has those of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from job.report.analysis.wording import NOTHING, percent

MOST_ROWS = 100
"""So many rows of a table are shown; the CSV files hold all."""


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table."""

    text: str
    order: float | None = None
    """The number that sorts the column; None where the text does, or where there is nothing."""
    note: str = ""
    """Said more softly behind the text."""


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    cells: Sequence[Cell]
    label: str = ""
    """The configuration that the row is about, as in the legends of the figures."""
    optimizer: str = ""
    is_marked: bool = False
    """Whether the configuration is within reach of the best."""


@dataclass(frozen=True)
class Grid:
    """A table with its title; `columns` of texts are listed in `texts`, the others hold numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    texts: frozenset[str] = frozenset()
    num_left_out: int = 0
    """Rows beyond MOST_ROWS."""

    def compact(self) -> Grid:
        """Without the columns in which no row has a value; the first one stays."""
        kept = [
            place
            for place in range(len(self.columns))
            if place == 0 or any(row.cells[place].text not in ("", NOTHING) for row in self.rows)
        ]
        rows = [replace(row, cells=[row.cells[place] for place in kept]) for row in self.rows]
        return replace(self, columns=[self.columns[place] for place in kept], rows=rows)


def build_grid(title: str, columns: Sequence[str], rows: Iterable[Row], *, texts: Iterable[str] = ()) -> Grid:
    """A table of at most MOST_ROWS rows, without empty columns."""
    listed = list(rows)
    left_out = max(0, len(listed) - MOST_ROWS)
    return Grid(title, columns, listed[:MOST_ROWS], frozenset(texts), left_out).compact()


def show_percent(fraction: float | None) -> Cell:
    """A fraction in percent."""
    return Cell(percent(fraction), fraction)


def show_significant(value: float | None) -> Cell:
    """A number with three digits that count."""
    return Cell(NOTHING if value is None else f"{value:.3g}", value)


def show_number(value: float | None, digits: int) -> Cell:
    """A number with `digits` decimals."""
    return Cell(NOTHING if value is None else f"{value:.{digits}f}", value)
