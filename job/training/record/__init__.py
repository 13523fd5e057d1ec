"""What is told about a run and what is kept of it: progress, log, checkpoints, result."""
