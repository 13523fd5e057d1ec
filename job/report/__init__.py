"""The report over an output's runs, from its records alone; torch is not needed."""

from job.report.page import read_results, write_report

__all__ = ["read_results", "write_report"]
