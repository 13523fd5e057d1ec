"""`python -m job` is `job`."""

from job.cli import main

main()
