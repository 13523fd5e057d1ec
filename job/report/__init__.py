"""The report over an output's runs, from its records alone; torch is not needed.

`load_runs` gives the numbers as pandas tables, `write_report` everything that they say.
"""

from job.report.read.frames import Runs
from job.report.read.load import load_runs
from job.report.read.reference import read_reference
from job.report.render.write import WrittenReport, write_report

__all__ = ["Runs", "WrittenReport", "load_runs", "read_reference", "write_report"]
