"""What `import job` offers in Python: the commands as functions, which return what the commands print.

    job.plan      a sweep as planned                          job.load_runs   the results as pandas tables
    job.submit    a sweep sent out, or carried out here       job.load_model  the network of a finished run

Errors are those of the commands, `job.errors.JobError`, and so are the defaults.
"""

from __future__ import annotations
