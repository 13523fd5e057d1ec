"""The report over an output's runs, from its records alone; torch is not needed.

`load_runs` gives the numbers as pandas tables, `write_report` writes everything that they say, `propose_next` gives the
sweep that would settle what they leave open. There are three rooms, one above the other: in `read` records become
tables, in `analysis` these become sentences and charts as data, and in `render` those become files. The packages that
all this needs are the extra `report`.

What is named here is imported when it is asked for: `job race` needs no pictures, which take a second to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from job.report.analysis.next import Proposal, propose_next
    from job.report.read.frames import Runs
    from job.report.read.load import load_runs
    from job.report.read.reference import read_reference
    from job.report.render.pdf import find_browser
    from job.report.render.summary import check_expectation, parse_expectation
    from job.report.render.write import WrittenReport, write_report

__all__ = [
    "Proposal", "Runs", "WrittenReport", "check_expectation", "find_browser", "load_runs", "parse_expectation",
    "propose_next", "read_reference", "write_report",
]  # fmt: skip
_ROOMS = {
    "analysis.next": ("Proposal", "propose_next"),
    "read.frames": ("Runs",),
    "read.load": ("load_runs",),
    "read.reference": ("read_reference",),
    "render.pdf": ("find_browser",),
    "render.summary": ("check_expectation", "parse_expectation"),
    "render.write": ("WrittenReport", "write_report"),
}


def __getattr__(name: str) -> Any:
    """Called for what is not imported yet."""
    for module, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"job.report.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
